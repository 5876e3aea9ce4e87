"""Child processes that cannot outlive the run: each in a session of its own, ended by its own pid, in reverse order.

Three ways out are covered. The normal one and Ctrl-C: `Processes.__exit__`. SIGTERM and the time bound: `bounded`
turns both into an exception, so that `__exit__` runs. kill -9 of the runner: PR_SET_PDEATHSIG ends each child.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType

PR_SET_PDEATHSIG = 1
STOP_GRACE_S = 3.0
POLL_S = 0.01

# Debian keeps daemons in sbin, which is not on every user's PATH.
_SEARCH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])

_libc = ctypes.CDLL(None, use_errno=True)


class RunFailed(Exception):
    """A process of the rig did not start, died, or was late. The text says which, and shows its last words."""


class TimeIsUp(Exception):
    """The whole run took longer than its bound."""


def program(name: str) -> str:
    """The path of a program; RunFailed when this machine has none of this name."""
    path = shutil.which(name, path=_SEARCH)
    if path is None:
        raise RunFailed(f"{name} is not installed; `make system` installs what the load runs need")
    return path


class Child:
    """One started process and where its output goes."""

    __slots__ = ("log", "name", "popen", "stop_signal")

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path, stop_signal: int) -> None:
        self.name = name
        self.popen = popen
        self.log = log
        self.stop_signal = stop_signal

    @property
    def pid(self) -> int:
        return self.popen.pid

    def running(self) -> bool:
        return self.popen.poll() is None

    def tail(self, lines: int = 15) -> str:
        """The last lines of its output."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def wait(self, timeout_s: float) -> int | None:
        """Its exit code, or None when it still runs after `timeout_s`."""
        try:
            return self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """End it and every process of its session: first politely, after `grace_s` for good."""
        if self.running():
            self.popen.send_signal(self.stop_signal)
            self.wait(grace_s)
        # The session's id is the pid of its first process, so nothing of anybody else's is in this group.
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.popen.wait()


class Processes:
    """The children started in a `with` block; all of them are gone when it ends."""

    def __init__(self) -> None:
        self._children: list[Child] = []

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in reversed(self._children):
            child.stop()

    def start(
        self,
        name: str,
        argv: Sequence[str],
        log: Path,
        *,
        stop_signal: int = signal.SIGTERM,
        cwd: Path | None = None,
    ) -> Child:
        """Start `argv` with its output in `log`.

        When the runner dies, the child gets `stop_signal`: SIGTERM for what has children of its own to end. RunFailed
        when there is no such program, or none that may be run.
        """
        with log.open("ab") as output:
            try:
                popen = subprocess.Popen(
                    list(argv),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=_dies_with_parent(stop_signal),
                    cwd=cwd,
                )
            except OSError as error:
                raise RunFailed(f"{name} cannot be started: {argv[0]}: {error.strerror}") from None
        child = Child(name, popen, log, stop_signal)
        self._children.append(child)
        return child

    def stop(self, child: Child, grace_s: float = STOP_GRACE_S) -> None:
        """End one child before the others."""
        child.stop(grace_s)
        self._children.remove(child)


def _dies_with_parent(signum: int) -> Callable[[], None]:
    parent = os.getpid()

    def prepare() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signum, 0, 0, 0)
        if os.getppid() != parent:  # the runner died between fork and prctl
            os._exit(1)

    return prepare


def wait_until(what: str, ready: Callable[[], bool], child: Child, timeout_s: float = 20.0) -> None:
    """Wait until `ready()`; RunFailed with the child's last words when it dies or is late."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        if not child.running():
            raise RunFailed(f"{child.name} ended ({child.popen.returncode}) before {what}:\n{child.tail()}")
        if time.monotonic() > deadline:
            raise RunFailed(f"{child.name}: {what} took longer than {timeout_s:g} s:\n{child.tail()}")
        time.sleep(POLL_S)


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Ctrl-C, SIGTERM and `seconds` passing raise in the main thread, so that every `with` block ends its children."""

    def late(signum: int, frame: FrameType | None) -> None:
        raise TimeIsUp(f"the run is longer than its bound of {seconds:g} s")

    def interrupted(signum: int, frame: FrameType | None) -> None:
        for again in (signal.SIGINT, signal.SIGTERM):  # the way out is not interrupted
            signal.signal(again, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, late)
    for asked in (signal.SIGINT, signal.SIGTERM):
        signal.signal(asked, interrupted)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def concluded(seconds: float, measure: Callable[[], list[str]], well: str) -> int:
    """Runs `measure` within `seconds` and prints what it found wrong, or that all is `well`; returns the exit code."""
    try:
        with bounded(seconds):
            wrong = measure()
    except (RunFailed, TimeIsUp) as failure:
        wrong = [str(failure)]
    except KeyboardInterrupt:
        wrong = ["interrupted"]
    print("\n".join(wrong) or well, flush=True)
    return 1 if wrong else 0
