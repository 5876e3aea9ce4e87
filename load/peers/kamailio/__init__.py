"""Kamailio 5.6 as Debian builds it, with callgate's own scripts for admission (kamailio.cfg says the rest)."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from load.peers import Place
from load.peers.kamailio.admission import admission
from load.processes import Child, Processes, program, wait_until
from load.store import Store

TEMPLATE = Path(__file__).parent / "kamailio.cfg"
SHARED_MIB = 1024
PRIVATE_MIB = 32


class Kamailio:
    """The peer. `children`: its UDP workers; how the default was chosen stands in load/README.md."""

    __slots__ = ("children",)

    def __init__(self, children: int) -> None:
        self.children = children

    @property
    def name(self) -> str:
        return "kamailio"

    def start(self, processes: Processes, store: Store, place: Place) -> Child:
        """Start it; returned when its control socket answers, which is after its workers have forked."""
        asks = admission(store, place)
        values = {
            "children": str(self.children),
            "host": place.host,
            "port": str(place.port),
            "control": str(_control(place)),
            "redis": str(store.socket),
            "callee": f"{place.callee_host}:{place.callee_port}",
            "admit": asks.admit,
            "answered": asks.answered,
            "ended_success": asks.ended_success,
            "ended_fail": asks.ended_fail,
        }
        config = place.folder / "kamailio.cfg"
        config.write_text(fill(TEMPLATE.read_text(encoding="utf-8"), values), encoding="utf-8")
        argv = [
            program("kamailio"),
            "-DD",
            "-E",
            "-f",
            str(config),
            "-x",
            "fm",
            "-X",
            "fm",
            "-Y",
            str(place.folder),
        ]
        argv += ["-m", str(SHARED_MIB), "-M", str(PRIVATE_MIB), "-P", str(place.folder / "kamailio.pid")]
        # SIGTERM, not SIGKILL: its first process ends the others.
        child = processes.start("kamailio", argv, place.folder / "kamailio.log")
        wait_until("its control socket", lambda: _ask(place, "core.uptime") is not None, child)
        return child

    def own_memory_bytes(self, place: Place) -> int | None:
        """Shared memory in use for transactions and dialogs, by its own accounts."""
        answer = _ask(place, "core.shmmem")
        used = re.search(r"\n\s*real_used: (\d+)", answer or "")
        return int(used[1]) if used else None


def fill(template: str, values: dict[str, str]) -> str:
    """The template with each `@name@` replaced. KeyError for a name without a value."""
    return re.sub(r"@([a-z_]+)@", lambda match: values[match[1]], template)


def _control(place: Place) -> Path:
    return place.folder / "kamailio.ctl"


def _ask(place: Place, command: str) -> str | None:
    if not _control(place).exists():
        return None
    argv = [program("kamcmd"), "-s", f"unix:{_control(place)}", command]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    return done.stdout if done.returncode == 0 else None
