"""`callgate explain`: what it says of a call is what the running callgate then does."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from config.load import load
from config.units import instant_of
from policies.payers import LiveLease, Usage, Window
from proxy.app.explain import Imagined, NoSuchCall
from proxy.app.explained import lines
from proxy.app.usage import OTHER_COUNTERS, Seen, look
from tests.app.running import SUBSCRIBERS, run, running, write_files

NOON = float(instant_of("2026-06-01T12:00:00Z"))
MAIN = """
domains: [example.com]
listen: ["udp://192.0.2.1:5060"]
trunks:
  provider: {targets: ["sip:192.0.2.20"], from: ["192.0.2.20/32"], identity: none}
  pbx: {targets: ["sip:192.0.2.10"], from: ["192.0.2.10/32"], identity: from}
  voice: {targets: ["sip:192.0.2.30"], worker: w2}
routes:
  - {match: "^7", to: voice}
  - {match: "^[0-9]+$", to: provider}
workers:
  w1: {kind: official}
  w2: {kind: private, owner: alice, granted_to: [group alice]}
refusals: {worker: 488}
"""
PLANS = """
plans:
  free: {auto_activate: true, categories: {softphone: {call_duration: 2m, fail_calls: 5 per 1h}}}
  company:
    all_workers: yes
    group_size: 2
    categories:
      softphone: {call_duration: {value: 1h, mutable: true}, success_calls: 3 per 1d}
      gateway: {lines: 2}
      group: {}
"""
PEOPLE = """
subscribers:
  alice:
    accounts: [{user: alice, password: x, mode: softphone}, {user: pbx, password: x, mode: gateway}]
    activations: [{plan: company, since: 2026-01-01, until: 2027-01-01, options: {softphone.call_duration: 30m}}]
    group: {members: [bob]}
  bob: {accounts: [{user: bob, password: x, mode: softphone}]}
  carol: {accounts: [{user: carol, password: x, mode: softphone, worker: w1}]}
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, text in (("callgate", MAIN), ("plans", PLANS), ("subscribers", PEOPLE)):
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path / "callgate.yaml"


def told(files: Path, who: str, to: str, by: str = "", **usage: Usage | str) -> dict[str, Any]:
    """`usage`: by payer."""
    call = Imagined(load(files), who, to, by, NOON)
    known: dict[tuple[str, str], Usage | str] = {
        (one.payer, one.mode): usage.get(one.payer, "nobody asked") for one in call.limits()
    }
    found = call.told(Seen(known))
    json.dumps(found)
    assert lines(found)
    return found


def used(success: int = 0, fail: int = 0, calls: int = 0, pending: int = 0) -> Usage:
    leases = tuple(LiveLease(f"l{i}", "out", False, 9_000) for i in range(pending))
    opened = 1_000_000
    return Usage(
        opened + 600_000, None, Window(0, None), Window(fail, opened), Window(success, opened), calls, leases
    )


class TestWho:
    def test_a_call_of_an_account_out(self, files: Path) -> None:
        found = told(files, "bob", "+4930")
        assert (found["from"], found["to"]) == ("bob@example.com", "sip:+4930@example.com")
        # The routes know no +.
        assert found["answer"]["reason"] == "no_route"
        found = told(files, "sip:bob@example.com", "sip:4930@example.com")
        assert found["to_trunk"] == "provider"
        [leg] = found["legs"]
        assert (leg["direction"], leg["payer"], leg["refusal"]) == ("out", "bob", None)
        assert found["answer"] == {"decision": "admitted, if the counters let it"}

    def test_two_legs_have_each_its_own(self, files: Path) -> None:
        found = told(files, "bob", "pbx")
        assert [(leg["direction"], leg["payer"], leg["mode"]) for leg in found["legs"]] == [
            ("out", "bob", "softphone"),
            ("in", "alice", "gateway"),
        ]
        assert set(found["legs"][1]["limits"]) == {
            "all_workers", "call_duration", "total_duration", "success_calls", "fail_calls", "sip_accounts", "lines"
        }  # fmt: skip

    def test_who_is_no_account_comes_by_a_trunk_or_not_at_all(self, files: Path) -> None:
        assert told(files, "stranger", "alice")["answer"]["reason"] == "unknown_caller"
        found = told(files, "stranger", "alice", "provider")
        assert [leg["direction"] for leg in found["legs"]] == ["in"]
        # A trunk whose calls come from outside names nobody of ours, whatever it says.
        assert [leg["direction"] for leg in told(files, "bob", "alice", "provider")["legs"]] == ["in"]
        assert [leg["direction"] for leg in told(files, "bob", "alice", "pbx")["legs"]] == ["out", "in"]
        assert told(files, "stranger", "4930", "provider")["answer"]["reason"] == "unknown_caller"

    @pytest.mark.parametrize(("to", "by"), [("alice", "nowhere"), ("sip:", ""), ("sip:a b@c", "")])
    def test_what_is_no_call(self, files: Path, to: str, by: str) -> None:
        with pytest.raises(NoSuchCall):
            Imagined(load(files), "alice", to, by, NOON)


class TestWhy:
    def test_the_group_pays_and_lends_what_may_be_lent(self, files: Path) -> None:
        [leg] = told(files, "bob", "71")["legs"]
        assert leg["payer"] == "group:alice"
        assert leg["why"] == "bob is a member of alice's group and uses alice's Worker w2"
        assert leg["group"] == {
            "owner": "alice",
            "members_with_access": 1,
            "group_size": 2,
            "why": "the only active plan that names it",
        }
        assert set(leg["limits"]) == {
            "all_workers", "call_duration", "total_duration", "success_calls", "fail_calls"
        }  # fmt: skip
        assert leg["limits"]["call_duration"] == {
            "value": "30m",
            "plan": "company@20260101T000000Z",
            "chosen_at_activation": True,
            "why": "the only active plan that names it",
            "others": [],
            "applies": True,
        }
        assert leg["workers"] == [
            {"worker": "w2", "allowed": True, "why": "a plan of the payer has all_workers"}
        ]
        assert leg["valid_until"] == "2027-01-01T00:00:00.000Z"

    def test_the_losers_are_told(self, files: Path) -> None:
        [leg] = told(files, "alice", "4930")["legs"]
        assert leg["limits"]["call_duration"]["why"] == "the highest value"
        assert leg["limits"]["call_duration"]["others"] == ["2m from free@auto"]
        assert leg["limits"]["success_calls"]["plan"] == "company@20260101T000000Z"
        assert [(plan["plan"], plan["by_itself"]) for plan in leg["plans"]] == [
            ("company", False),
            ("free", True),
        ]

    def test_a_refused_worker_with_the_configured_status(self, files: Path) -> None:
        assert told(files, "carol", "4930")["answer"] == {
            "decision": "refused",
            "reason": "worker",
            "status": 488,
            "phrase": "SIP account has disallowed settings",
            "warning": "worker: the payer may not use the Worker w1: it is not free, and no active plan of the payer "
            "has all_workers",
        }


class TestCounters:
    def test_what_is_left_is_admitted(self, files: Path) -> None:
        found = told(files, "alice", "4930", alice=used(success=2))
        assert found["answer"] == {"decision": "admitted"}
        usage = found["legs"][0]["usage"]
        assert (usage["calls"], usage["total_duration"]) == (0, None)
        assert usage["success_calls"] == {
            "used": "2",
            "of": "3 per 1d",
            "window_ends": "1970-01-02T00:16:40.000Z",
            "counter": "company@20260101T000000Z:softphone:success_calls",
        }

    def test_what_is_used_up_is_refused(self, files: Path) -> None:
        answer = told(files, "alice", "4930", alice=used(success=3))["answer"]
        assert (answer["status"], answer["reason"]) == (402, "success_calls")
        assert answer["warning"] == (
            "success_calls reached: the limit on answered calls is 3 per 1d; resets in 85800 s (23h50m)"
        )

    def test_attempts_that_are_pending_hold_their_places(self, files: Path) -> None:
        answer = told(files, "alice", "4930", alice=used(success=1, calls=2, pending=2))["answer"]
        assert answer["reason"] == "success_calls"
        assert "resets" not in answer["warning"]

    def test_lines(self, files: Path) -> None:
        assert told(files, "bob", "pbx", alice=used(calls=2), bob=used())["answer"]["status"] == 486


def test_it_agrees_with_the_callgate_that_runs(tmp_path: Path) -> None:
    async def main() -> None:
        path = write_files(tmp_path)
        async with running(path) as world:

            async def said() -> dict[str, Any]:
                call = Imagined(load(path), "alice", "bob", "", NOON)
                return call.told(await look(load(path).config.store, call.limits(), call.called()))

            found = await said()
            assert (found["answer"], found["to_contacts"]) == ({"decision": "admitted"}, 1)
            line, _ = await world.talk()
            found = await said()
            assert (found["answer"]["status"], found["answer"]["phrase"]) == (486, "No lines for call")
            assert found["legs"][0]["usage"]["calls"] == 1
            final, _ = await world.alice.call(world.bob.address)
            assert (final.status, final.reason) == (486, "No lines for call")
            assert await world.alice.hang_up(line) == 200
            (tmp_path / "subscribers.yaml").write_text(
                SUBSCRIBERS + "  carol: {accounts: [{user: carol, password: x, mode: softphone}],"
                " activations: [{plan: plain, since: 2026-01-01}]}\n"
            )
            call = Imagined(load(path), "alice", "carol", "", NOON)
            absent = call.told(await look(load(path).config.store, call.limits(), call.called()))
            assert (absent["to_contacts"], absent["answer"]["status"]) == (0, 480)
            assert any("not registered" in line for line in lines(absent))

    run(main())


def test_counters_of_other_activations_are_left_alone(tmp_path: Path) -> None:
    """Plans that were edited and not reloaded: asking by them would put their counters in force under running calls."""

    async def main() -> None:
        path = write_files(tmp_path)
        async with running(path) as world:
            line, _ = await world.talk()
            (tmp_path / "plans.yaml").write_text(
                "plans:\n  one-line: {categories: {gateway: {lines: 1, success_calls: 5 per 1d}}}\n"
                "  plain: {categories: {softphone: {}}}\n"
            )
            call = Imagined(load(path), "alice", "bob", "", NOON)
            found = await look(load(path).config.store, call.limits(), call.called())
            assert found.usages["alice", "gateway"] == OTHER_COUNTERS
            assert isinstance(found.usages["bob", "softphone"], Usage)
            await world.server.reload()
            while not isinstance(
                (await look(load(path).config.store, call.limits(), call.called())).usages[
                    "alice", "gateway"
                ],
                Usage,
            ):
                await asyncio.sleep(0.01)
            assert await world.alice.hang_up(line) == 200

    run(main())


def test_a_store_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    path = write_files(tmp_path, store='{url: "redis://127.0.0.1:1/0", spool: {path: spool}}')
    call = Imagined(load(path), "alice", "bob", "", NOON)
    found = asyncio.run(look(load(path).config.store, call.limits(), call.called()))
    assert str(found.usages["alice", "gateway"]).startswith("the store cannot be asked: cannot connect")
    assert call.told(found)["answer"] == {"decision": "admitted, if the counters let it"}
