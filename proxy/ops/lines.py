"""Lines of text to a file or a pipe, by a thread of their own: a slow disk never holds the event loop.

What is written within FLUSH_PERIOD leaves in one write. The buffer is bounded; what it has no room for is counted, and
the next line that fits says how many were lost.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from pathlib import Path

FLUSH_PERIOD = 0.1
"""Seconds; also the most that is lost to kill -9."""

LINES_MAX = 20_000
"""Ten seconds of 2,000 calls/s: some 8 MB."""


class LineWriter:
    """For one descriptor (`LineWriter(2)`) or a file that is appended to. `write` may be called by any thread."""

    def __init__(self, target: int | Path) -> None:
        """Raises: OSError when the file cannot be opened."""
        self.lost = 0
        """Lines thrown away since the start."""
        self._path = target if isinstance(target, Path) else None
        self._descriptor = _open(target) if isinstance(target, Path) else target
        self._lines: deque[str] = deque()
        self._unreported = 0
        self._reopen = False
        self._closing = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lines", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """One line, without its newline. Never waits."""
        lines = self._lines
        if len(lines) >= LINES_MAX:
            self.lost += 1
            self._unreported += 1
            return
        lines.append(line)
        if not self._wake.is_set():
            self._wake.set()

    def reopen(self) -> None:
        """Go on in a new file of the same name, as log rotation wants it. Nothing for a descriptor."""
        self._reopen = True
        self._wake.set()

    def close(self) -> None:
        """Write what there is, then stop."""
        self._closing.set()
        self._wake.set()
        self._thread.join()
        if self._path is not None:
            os.close(self._descriptor)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._closing.wait(FLUSH_PERIOD)
            self._wake.clear()
            self._flush()
        self._flush()

    def _flush(self) -> None:
        if self._reopen and self._path is not None:
            self._reopen = False
            try:
                fresh = _open(self._path)
            except OSError:
                # The old file is better than none.
                pass
            else:
                os.close(self._descriptor)
                self._descriptor = fresh
        # As many as there are now: what is written meanwhile has set the wake again.
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        if self._unreported:
            lines.append(f"({self._unreported} lines lost: too many at once)")
            self._unreported = 0
        if not lines:
            return
        data = memoryview(("\n".join(lines) + "\n").encode("utf-8", "replace"))
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            # Full disk, closed pipe: nobody is left to tell.
            self.lost += len(lines)


def _open(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
