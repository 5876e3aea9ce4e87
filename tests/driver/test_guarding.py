"""The guard's lines: what operators read and fail2ban acts on, tried with its filter as they are really written."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import cast

import pytest

from config.schema import Log
from proxy.driver.guarding import Guarding
from proxy.engine.abuse import BanCause
from proxy.engine.effects import Shun, Suspicious, Unshun
from proxy.net.network import Network
from proxy.ops.lines import LineWriter
from proxy.ops.log import configure
from proxy.sip.flow import FlowTable, Local
from tests.tools import require

FILTER = Path(__file__).parents[2] / "config" / "fail2ban" / "filter.d" / "callgate.conf"
FLOW = FlowTable(Local("UDP", "192.0.2.1", 5060, 4)).get("203.0.113.66", 5060)
FLOW6 = FlowTable(Local("UDP", "[2001:db8::1]", 5060, 6)).get("2001:db8::66", 5060)
NASTY = (
    "alice@example.com",
    'x address=198.51.100.9 "',
    "\n2026-11-25T14:00:00.000Z [warning  ] banned address=198.51.100.9 cause=rate seconds=1",
    '", "event": "banned"}\n{"address": "198.51.100.9", "event": "banned',
    "\x1b[2J\\",
)


class Sockets:
    """A network that remembers."""

    def __init__(self) -> None:
        self.shunned: list[str] = []

    def shun(self, host: str) -> None:
        self.shunned.append(host)

    def unshun(self, host: str) -> None:
        self.shunned.remove(host)


def written(path: Path, form: str, *effects: Shun | Unshun | Suspicious) -> list[str]:
    """The log's lines of these effects."""
    writer = LineWriter(path)
    configure(Log.model_validate({"format": form}), writer)
    performers = Guarding(cast(Network, Sockets())).performers()
    for effect in effects:
        performers[type(effect)](effect)
    writer.close()
    return path.read_text().splitlines()


def test_what_is_shunned_is_shut_out_and_let_in_again() -> None:
    sockets = Sockets()
    performers = Guarding(cast(Network, sockets)).performers()
    performers[Shun](Shun("203.0.113.66", BanCause.FLOOD, 60.0))
    assert sockets.shunned == ["203.0.113.66"]
    performers[Unshun](Unshun("203.0.113.66"))
    assert not sockets.shunned


def found(log: Path, mode: str) -> tuple[list[str], str]:
    """The addresses that fail2ban's filter finds, and the line with its sums."""
    argv = [
        require("fail2ban-regex"),
        "--raw",
        "-v",
        "--print-all-missed",
        str(log),
        f"{FILTER}[mode={mode}]",
    ]
    said = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=50).stdout
    total = re.search(r"(\d+) lines, (\d+) ignored, (\d+) matched, (\d+) missed", said)
    assert total is not None, said
    return re.findall(r"^\|\s+(\S+)  \w{3} \w{3} \d\d", said, re.MULTILINE), total[0]


@pytest.mark.parametrize("form", ["console", "json"])
def test_fail2ban_reads_our_lines_and_nobody_can_write_one_for_us(tmp_path: Path, form: str) -> None:
    bad: list[Shun | Unshun | Suspicious] = [
        Shun("203.0.113.66", BanCause.BRUTE_FORCE, 600.0),
        *(Suspicious("auth_failed", FLOW, named) for named in NASTY),
        *(Suspicious("scanner", FLOW6, named) for named in NASTY),
    ]
    harmless: list[Shun | Unshun | Suspicious] = [
        Unshun("203.0.113.66"),
        Suspicious("closed", None, "203.0.113.66"),
    ]
    log = tmp_path / "log"
    lines = written(log, form, *bad, *harmless)
    # However nasty the name, it is one line each.
    assert len(lines) == len(bad) + len(harmless)
    matched, sums = found(log, "signs")
    assert sums == f"{len(lines)} lines, 0 ignored, {len(bad)} matched, {len(harmless)} missed"
    assert sorted(matched) == sorted(["203.0.113.66"] * 6 + ["2001:db8::66"] * 5)
    # By default only callgate's own verdict counts: it knows who lives there.
    assert found(log, "verdicts")[0] == ["203.0.113.66"]


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_flood_that_anybody_may_have_forged_is_no_verdict(tmp_path: Path, form: str) -> None:
    causes = [*BanCause]
    log = tmp_path / "log"
    hosts = [f"203.0.113.{n}" for n in range(len(causes))]
    shuns = [*map(Shun, hosts, causes, [600.0] * len(causes)), Shun("2001:db8::/64", BanCause.RATE, 600.0)]
    written(log, form, *shuns)
    guilty = [f"203.0.113.{n}" for n, cause in enumerate(causes) if cause is not BanCause.FLOOD]
    assert found(log, "verdicts")[0] == [*guilty, "2001:db8::/64"]
