"""Debian's rtpengine-daemon in user space (no kernel table), with an address of its own."""

from __future__ import annotations

import itertools
import re
import signal
from pathlib import Path

from load.processes import Child, Processes
from tests.e2e.net import await_listening, free_port
from tests.tools import require

_port_ranges = itertools.count(0)


class RtpengineDaemon:
    """Ends with the `Processes` it was started in, or by `kill`."""

    def __init__(self, processes: Processes, folder: Path, host: str) -> None:
        self.host = host
        self.port = free_port(host)
        self._processes = processes
        self._log = folder / "rtpengine.log"
        first = 40_000 + 400 * next(_port_ranges)
        self.child: Child = processes.start(
            "rtpengine",
            [
                require("rtpengine"),
                "--config-file=none",
                "--table=-1",
                f"--interface={host}",
                f"--listen-ng={host}:{self.port}",
                f"--port-min={first}",
                f"--port-max={first + 399}",
                "--foreground",
                "--log-stderr",
                "--log-level=6",
                "--num-threads=1",
                "--no-log-timestamps",
            ],
            self._log,
            cwd=folder,
            stop_signal=signal.SIGTERM,
        )
        await_listening(self.child, "UDP", host, self.port)

    def kill(self) -> None:
        self.child.popen.kill()
        self._processes.stop(self.child)

    def said(self, pattern: str) -> list[str]:
        """Lines of its log that match."""
        return [
            line for line in self._log.read_text(errors="replace").splitlines() if re.search(pattern, line)
        ]
