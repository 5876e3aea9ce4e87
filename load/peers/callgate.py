"""callgate as anybody would run it: `callgate serve -c FILE`, with its configuration written for the run."""

from __future__ import annotations

import http.client
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from load.peers import Place
from load.processes import Child, Processes, wait_until
from load.sipp import CALLER_HOST, account
from load.store import Store

METRICS_HOST = "127.0.0.1"
START_S = 60.0  # thousands of subscribers are read and checked first

# Every limit is set, so that every part of the scripts works, and high enough that none is reached.
PLANS = """\
plans:
  load:
    all_workers: yes
    categories:
      gateway:
        call_duration: 10h
        total_duration: 80000h per 30d
        success_calls: 1000000 per 30d
        fail_calls: 1000000 per 30d
        sip_accounts: 10
        lines: 100000
"""
SINCE = "2026-01-01"

CONFIG = """\
domains: [example.com]
listen: ["udp://{host}:{port}"]
processes: {processes}
store: {{url: "{store}", deadline: 2s, spool: {{path: spool}}}}
metrics: {{listen: "{metrics_host}:{metrics_port}"}}
admin: {{socket: admin.sock}}
plans: plans.yaml
subscribers: subscribers.yaml
trunks:
  callers: {{from: ["{caller}/32"], identity: from}}
  callee: {{targets: ["sip:{callee_host}:{callee_port}"]}}
routes:
  - {{match: "^\\\\+?[0-9]+$", to: callee}}
limits: {{calls_max: 1000000, transactions_max: 4000000, pending_admissions_max: 100000}}
log: {{level: error}}
"""


class Callgate:
    """The peer. `command`: what to run instead of the installed `callgate`, for profiling."""

    __slots__ = ("_command",)

    def __init__(self, command: Sequence[str] = ()) -> None:
        self._command = list(command) or [str(Path(sys.executable).with_name("callgate"))]

    @property
    def name(self) -> str:
        return "callgate"

    def start(self, processes: Processes, store: Store, place: Place) -> Child:
        """Start it; returned when /readyz says that it takes calls."""
        metrics = _free_tcp_port()
        argv = [*self._command, "serve", "-c", str(write_files(place, store.url, metrics))]
        child = processes.start("callgate", argv, place.folder / "callgate.log", cwd=place.folder)
        wait_until("/readyz", lambda: _ready(metrics), child, START_S)
        return child

    def own_memory_bytes(self, place: Place) -> int | None:
        """It keeps no such account."""
        return None


def write_files(place: Place, store_url: str, metrics_port: int) -> Path:
    """callgate.yaml, which is returned, and the two files it names."""
    values = {
        "host": place.host,
        "port": place.port,
        "processes": place.processes,
        "store": store_url,
        "metrics_host": METRICS_HOST,
        "metrics_port": metrics_port,
        "caller": CALLER_HOST,
        "callee_host": place.callee_host,
        "callee_port": place.callee_port,
    }
    config = place.folder / "callgate.yaml"
    config.write_text(CONFIG.format(**values), encoding="utf-8")
    (place.folder / "plans.yaml").write_text(PLANS, encoding="utf-8")
    (place.folder / "subscribers.yaml").write_text(subscribers(place.payers), encoding="utf-8")
    return config


def payer(name: str) -> str:
    """The subscriber who pays for this account's calls."""
    return f"s{name}"


def subscribers(payers: int) -> str:
    """subscribers.yaml: each a payer of its own, with one account and the one plan."""
    rows = (
        f"  {payer(name)}: {{accounts: [{{user: {name}, password: secret, mode: gateway}}], "
        f"activations: [{{plan: load, since: {SINCE}, until: 2099-01-01}}]}}"
        for name in map(account, range(payers))
    )
    return "subscribers:\n" + "\n".join(rows) + "\n"


def _free_tcp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((METRICS_HOST, 0))
        return int(probe.getsockname()[1])


def _ready(port: int) -> bool:
    connection = http.client.HTTPConnection(METRICS_HOST, port, timeout=1)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
