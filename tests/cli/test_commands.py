"""What each command prints and with which code it exits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from proxy.app.reload import Reloaded
from proxy.cli import main
from proxy.demo.story import Failed, Story
from proxy.ops.http import Requests, Services
from tests.app.running import run, write_files

COMMANDS = (
    "serve",
    "check",
    "calls",
    "hangup",
    "payer",
    "release",
    "registrations",
    "reload",
    "trunks",
    "bans",
    "unban",
    "explain",
    "demo",
)


def callgate(*words: str) -> Result:
    return CliRunner().invoke(main, words, catch_exceptions=False)


def test_help_explains_every_command() -> None:
    said = callgate("--help")
    assert said.exit_code == 0
    for command in COMMANDS:
        assert f"\n  {command} " in said.stdout
        assert len(callgate(command, "--help").stdout) > 200
    assert set(COMMANDS) == set(main.commands)


def test_version() -> None:
    assert callgate("--version").stdout == f"callgate {version('callgate')}\n"


def test_check_of_right_files(tmp_path: Path) -> None:
    path = write_files(tmp_path)
    said = callgate("check", "-c", str(path))
    assert said.exit_code == 0
    assert said.stdout == f"{path}: right. 2 plans, 2 subscribers, 2 accounts, 0 trunks, 0 routes\n"
    assert not (tmp_path / "store").exists()


def test_check_names_file_line_and_field_of_each_mistake(tmp_path: Path) -> None:
    path = write_files(tmp_path, metrics="{listn: x}")
    subscribers = tmp_path / "subscribers.yaml"
    subscribers.write_text(subscribers.read_text().replace("plan: plain", "plan: plane"))
    said = callgate("check", "-c", str(path))
    assert said.exit_code == 2
    first, second = said.stdout.splitlines()
    assert first.startswith(f"{path}:4: metrics.listn: ")
    assert second.startswith(f"{subscribers}:7: subscribers.bob.activations[0].plan: ")


def test_check_of_a_file_that_is_not_there(tmp_path: Path) -> None:
    said = callgate("check", "-c", str(tmp_path / "none.yaml"))
    assert said.exit_code == 2
    assert str(tmp_path / "none.yaml") in said.stdout


def test_a_wrong_word_on_the_command_line() -> None:
    assert callgate("serv").exit_code == 2
    assert callgate("hangup").exit_code == 2


class Proxy:
    """A running callgate, as far as the control socket shows."""

    def __init__(self, reloaded: Reloaded | None = None) -> None:
        self.cut: list[str] = []
        self.reloaded = reloaded or Reloaded(plans=2, subscribers=1)

    def calls(self) -> list[dict[str, Any]]:
        return [
            {
                "call_id": "c1@host",
                "state": "answered",
                "caller": "alice@example.com",
                "callee": "+49\x1b[2J",
                "payers": ["alice", "bob"],
                "mode": "gateway",
                "started": "2026-01-01T00:00:00.000Z",
                "answered": "2026-01-01T00:00:01.000Z",
                "talked_s": 61.4,
            }
        ]

    def registrations(self) -> list[dict[str, Any]]:
        known = {"account": "alice@example.com", "trunk": "provider", "address": "49301@sip.example.net"}
        return [
            {
                **known,
                "state": "registered",
                "expires_in_s": 290,
                "status": 200,
                "reason": "OK",
                "failures": 0,
            },
            {
                **known,
                "state": "failed",
                "expires_in_s": None,
                "status": 403,
                "reason": "No\x1b",
                "failures": 2,
            },
        ]

    def bans(self) -> list[dict[str, Any]]:
        return [{"address": "192.0.2.66", "cause": "brute_force", "for_s": 590}]

    def unban(self, address: str) -> int:
        return 1 if address in ("", "192.0.2.66") else 0

    def trunks(self) -> list[dict[str, Any]]:
        return [
            {
                "trunk": "provider",
                "health": True,
                "targets": [
                    {
                        "uri": "sip:192.0.2.1",
                        "priority": 1,
                        "weight": 3,
                        "state": "suspect",
                        "addresses": [
                            {
                                "address": "udp:192.0.2.1:5060",
                                "state": "suspect",
                                "cause": "timeout",
                                "since_s": 3.0,
                                "until_s": 27.4,
                            }
                        ],
                    },
                    {"uri": "sip:b.test", "priority": 2, "weight": 1, "state": "unknown", "addresses": []},
                ],
            }
        ]

    def hangup(self, call_id: str) -> int:
        self.cut.append(call_id)
        return 1 if call_id == "c1@host" else 0

    def requests(self) -> Requests:
        async def calls(_: Mapping[str, Any]) -> Any:
            return self.calls()

        async def registrations(_: Mapping[str, Any]) -> Any:
            return self.registrations()

        async def trunks(_: Mapping[str, Any]) -> Any:
            return self.trunks()

        async def bans(_: Mapping[str, Any]) -> Any:
            return self.bans()

        async def unban(body: Mapping[str, Any]) -> Any:
            return {"bans": self.unban(body["address"])}

        async def hangup(body: Mapping[str, Any]) -> Any:
            return {"calls": self.hangup(body["call_id"])}

        async def reload(_: Mapping[str, Any]) -> Any:
            return {"reloaded": not self.reloaded.problems, **asdict(self.reloaded)}

        return {
            ("GET", "/calls"): calls,
            ("GET", "/registrations"): registrations,
            ("GET", "/trunks"): trunks,
            ("GET", "/bans"): bans,
            ("POST", "/unban"): unban,
            ("POST", "/hangup"): hangup,
            ("POST", "/reload"): reload,
        }


def asked(path: Path, *words: str, proxy: Proxy | None = None) -> Result:
    """A command beside a running Proxy."""
    results: list[Result] = []

    async def main() -> None:
        services = Services()
        await services.start_control(path.parent / "callgate.sock", (proxy or Proxy()).requests())
        results.append(await asyncio.to_thread(callgate, *words, "-c", str(path)))
        await services.close()

    run(main())
    return results[0]


def test_calls_as_a_table_and_as_json(tmp_path: Path) -> None:
    path = write_files(tmp_path)
    table = asked(path, "calls").stdout.splitlines()
    assert table[0].split() == ["CALL-ID", "STATE", "CALLER", "CALLEE", "PAYER", "MODE", "TALKED"]
    assert table[1].split() == [
        "c1@host", "answered", "alice@example.com", "+49\\x1b[2J", "alice,bob", "gateway", "61", "s",
    ]  # fmt: skip
    assert json.loads(asked(path, "calls", "--json").stdout) == Proxy().calls()


def test_registrations_as_a_table_and_as_json(tmp_path: Path) -> None:
    path = write_files(tmp_path)
    table = asked(path, "registrations").stdout.splitlines()
    assert table[0].split() == ["ACCOUNT", "TRUNK", "AS", "STATE", "EXPIRES", "STATUS"]
    assert table[1].split()[3:] == ["registered", "290", "s", "200", "OK"]
    assert table[2].split()[3:] == ["failed", "403", "No\\x1b"]
    assert json.loads(asked(path, "registrations", "--json").stdout) == Proxy().registrations()


def test_bans_as_a_table_and_lifted(tmp_path: Path) -> None:
    path = write_files(tmp_path)
    assert asked(path, "bans").stdout.splitlines()[1].split() == ["192.0.2.66", "brute_force", "590", "s"]
    assert json.loads(asked(path, "bans", "--json").stdout) == Proxy().bans()
    assert asked(path, "unban", "192.0.2.66").stdout == "lifted 1 ban\n"
    assert asked(path, "unban", "--all").stdout == "lifted 1 ban\n"
    missed = asked(path, "unban", "192.0.2.67")
    assert (missed.exit_code, "192.0.2.67 is not banned" in missed.stderr) == (1, True)
    assert asked(path, "unban").exit_code == 2


def test_trunks_as_a_table_and_as_json(tmp_path: Path) -> None:
    path = write_files(tmp_path)
    table = asked(path, "trunks").stdout.splitlines()
    assert table[1].split() == [
        "provider", "sip:192.0.2.1", "1", "3", "suspect", "udp:192.0.2.1:5060", "suspect", "timeout", "27", "s",
    ]  # fmt: skip
    assert table[2].split() == ["provider", "sip:b.test", "2", "1", "unknown"]
    assert json.loads(asked(path, "trunks", "--json").stdout) == Proxy().trunks()


def test_hangup(tmp_path: Path) -> None:
    path = write_files(tmp_path)
    done = asked(path, "hangup", "c1@host")
    assert (done.exit_code, done.stdout) == (0, "cut 1 call\n")
    missed = asked(path, "hangup", "c2@host")
    assert missed.exit_code == 1
    assert "there is no call c2@host" in missed.stderr


def test_reload(tmp_path: Path) -> None:
    path = write_files(tmp_path)
    done = asked(path, "reload")
    assert (done.exit_code, done.stdout) == (
        0,
        "reloaded: 2 plans, 1 subscriber; 0 payers with calls looked at anew\n",
    )
    partly = Proxy(Reloaded(plans=2, subscribers=1, payers=1, restart_only=("listen", "store")))
    assert asked(path, "reload", proxy=partly).stdout == (
        "reloaded: 2 plans, 1 subscriber; 1 payer with calls looked at anew\n"
        "these settings change with a restart only: listen, store\n"
    )
    assert json.loads(asked(path, "reload", "--json", proxy=partly).stdout) == {
        "reloaded": True,
        "problems": [],
        "plans": 2,
        "subscribers": 1,
        "payers": 1,
        "restart_only": ["listen", "store"],
    }


def test_a_reload_with_a_mistake_says_where(tmp_path: Path) -> None:
    path = write_files(tmp_path)
    # Where the running one reads its files from is its own matter: it tells what it found there.
    problem = "/etc/callgate/plans.yaml:7: plans.office.lines: is no option"
    found = asked(path, "reload", proxy=Proxy(Reloaded((problem,))))
    assert (found.exit_code, found.stdout, found.stderr) == (2, "", f"{problem}\n")
    found = asked(path, "reload", "--json", proxy=Proxy(Reloaded((problem,))))
    assert found.exit_code == 2
    assert json.loads(found.stdout)["problems"] == [problem]
    # A mistake in the files that it was pointed to is told likewise.
    (tmp_path / "subscribers.yaml").write_text("subscribers: {bob: {acounts: []}}\n")
    found = asked(path, "reload")
    assert found.exit_code == 2
    assert "subscribers.yaml:1: subscribers.bob.acounts: " in found.stderr


def test_explain(tmp_path: Path) -> None:
    path = write_files(tmp_path)
    said = callgate("explain", "-c", str(path), "--from", "alice", "--to", "bob", "--at", "2026-06-01")
    assert said.exit_code == 0
    assert said.stdout.startswith("alice@example.com calls sip:bob@example.com at 2026-06-01T00:00:00.000Z\n")
    assert (
        "  lines           1 from one-line@20260101T000000Z: the only active plan that names it\n"
        in said.stdout
    )
    assert "  used            not known: the store cannot be asked: " in said.stdout
    assert said.stdout.endswith("\nThe call would be admitted, if the counters let it.\n")
    as_json = callgate("explain", "-c", str(path), "--from", "alice", "--to", "+49", "--json")
    assert json.loads(as_json.stdout)["answer"]["reason"] == "no_route"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--to", "sip:"), "no SIP address"),
        (("--to", "bob", "--by", "nobody"), "there is no trunk nobody"),
        (("--to", "bob", "--at", "noon"), "noon"),
    ],
)
def test_explain_of_what_cannot_be_said(words: tuple[str, ...], why: str, tmp_path: Path) -> None:
    said = callgate("explain", "-c", str(write_files(tmp_path)), "--from", "alice", *words)
    assert said.exit_code == 1
    assert why in said.stderr


def test_asking_nobody(tmp_path: Path) -> None:
    said = callgate("calls", "-c", str(write_files(tmp_path)))
    assert said.exit_code == 1
    assert "no callgate runs here" in said.stderr


def test_the_demo_comes_true() -> None:
    told: list[str] = []
    run(Story(told.append, cut_after=1).tell())
    text = "\n".join(told)
    for word in (
        "200 OK",
        "486 No lines for call",
        "Warning: 399",
        "Reason: SIP ;cause=",
        "line is free again",
    ):
        assert word in text


def test_the_demo_fails_when_something_does_not_happen_as_told() -> None:
    """With two lines nothing is refused, and the demonstration must not say that it was."""
    with pytest.raises(Failed, match="on her one line"):
        run(Story(lambda line: None, cut_after=1, lines=2).tell())
