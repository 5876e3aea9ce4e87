"""What an operator asks of a running callgate about a payer, and leases cleared: on real calls and a real store."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from proxy.app.control import ask
from proxy.cli import main
from proxy.engine.events import FloodSeen
from tests.app.running import Running, run, running, until, write_files

PLANS = """\
plans:
  one-line:
    categories: {gateway: {lines: 2, total_duration: 30m per 1d, fail_calls: 5 per 1h}}
  plain:
    categories: {softphone: {}}
"""


def files(folder: Path) -> Path:
    path = write_files(folder)
    (folder / "plans.yaml").write_text(PLANS)
    return path


async def asked(world: Running, method: str, target: str, body: dict[str, Any]) -> Any:
    return await asyncio.to_thread(ask, world.server.loaded.config.admin.socket, method, target, body)


def test_a_payer_its_limits_who_gave_them_and_what_is_used(tmp_path: Path) -> None:
    async def main_() -> None:
        async with running(files(tmp_path)) as world:
            line, _ = await world.talk()
            shown = (await asked(world, "GET", "/payer", {"payer": "alice"}))["modes"]
            assert shown["softphone"]["has_plan"] is False
            options, usage = shown["gateway"]["options"], shown["gateway"]["usage"]
            assert options["lines"] == {
                "value": "2",
                "plan": "one-line@20260101T000000Z",
                "why": "the only active plan that names it",
            }
            assert options["success_calls"]["value"] == "unlimited"
            assert usage["calls"] == 1
            assert 1_700 < usage["exhausts_in_s"] <= 1_800
            assert usage["fail_calls"]["used"] == "0"
            assert usage["total_duration"]["window_ends"] is not None
            assert usage["success_calls"] is None
            [lease] = usage["leases"]
            assert (lease["direction"], lease["state"], lease["call_id"]) == ("out", "talks", line.call_id)

            table = await asyncio.to_thread(
                CliRunner().invoke, main, ["payer", "alice", "-c", str(tmp_path / "callgate.yaml")]
            )
            assert table.exit_code == 0, table.output
            assert "softphone: no active plan contains it" in table.output
            row = next(text for text in table.output.splitlines() if text.startswith("  lines"))
            assert row.split()[:3] == ["lines", "2", "1"]
            assert line.call_id in table.output

    run(main_())


def test_a_cleared_lease_ends_its_call_and_frees_its_line(tmp_path: Path) -> None:
    async def main_() -> None:
        async with running(files(tmp_path)) as world:
            line, theirs = await world.talk()
            said = await asked(world, "POST", "/release", {"payer": "alice", "call": line.call_id})
            assert len(said["released"]) == 1
            for end in (line, theirs):
                _, reason = await end.ended
                assert reason == 'SIP ;cause=480 ;text="ended by the operator"'
            await until(lambda: not world.server.operator.calls())
            usage = (await asked(world, "GET", "/payer", {"payer": "alice"}))["modes"]["gateway"]["usage"]
            assert (usage["calls"], usage["leases"]) == (0, [])
            again = await asked(world, "POST", "/release", {"payer": "alice", "call": line.call_id})
            assert again["released"] == []

    run(main_())


def test_all_leases_of_a_payer_while_calls_come(tmp_path: Path) -> None:
    async def main_() -> None:
        async with running(files(tmp_path)) as world:
            first, second = (await world.talk())[0], (await world.talk())[0]
            said = await asked(world, "POST", "/release", {"payer": "alice", "all": True})
            assert len(said["released"]) == 2
            for end in (first, second):
                await end.ended
            # Both lines are free at once.
            await world.talk()
            await world.talk()

    run(main_())


def test_what_cannot_be_asked_is_told(tmp_path: Path) -> None:
    async def main_() -> None:
        async with running(files(tmp_path)) as world:
            path = str(tmp_path / "callgate.yaml")
            for words, code, told in (
                (["payer", "nobody"], 1, "there is no payer nobody"),
                (["release", "alice"], 2, "name a CALL, or say --all"),
                (["release", "alice", "none"], 1, "alice has no lease none"),
            ):
                said = await asyncio.to_thread(CliRunner().invoke, main, [*words, "-c", path])
                assert (said.exit_code, told in said.output) == (code, True), said.output
            assert world.server.operator.calls() == []

    run(main_())


@pytest.mark.parametrize(
    ("who", "named"),
    [
        ("203.0.113.66", "203.0.113.66"),
        ("2001:db8:1:2::9", "2001:db8:1:2::9"),
        ("2001:db8:1:2::9", "2001:DB8:1:2:0::a"),
        ("2001:db8:1:2::9", "2001:db8:1:2:0::/64"),
    ],
)
def test_a_ban_that_is_lifted_is_said_to_be(tmp_path: Path, who: str, named: str) -> None:
    """Of IPv6 a network is banned: to who named the address that he knew it said that this was not banned."""

    async def main_() -> None:
        async with running(files(tmp_path)) as world:
            world.server.driver.feed(FloodSeen(who))
            for wrong in ("203.0.113.67", "2001:db8::1", "203.0.113.66:5060", "2001:db8::/200"):
                assert await asked(world, "POST", "/unban", {"address": wrong}) == {"bans": 0}
            assert await asked(world, "POST", "/unban", {"address": named}) == {"bans": 1}
            assert await asked(world, "GET", "/bans", {}) == []

    run(main_())
