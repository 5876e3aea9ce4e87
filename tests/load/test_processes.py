"""Nothing outlives a run: not its normal end, not an exception, not kill -9 of the runner."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from load import procfs
from load.processes import Child, Processes, RunFailed, wait_until

ROOT = Path(__file__).resolve().parents[2]
# Prints its own pid and that of a child, then waits for ever; SIGTERM is not heard.
STUBBORN = """\
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print(child.pid, flush=True)
signal.pause()
"""
RUNNER = """\
import signal, sys
from pathlib import Path
from load.processes import Processes
with Processes() as processes:
    child = processes.start("sleeper", [sys.executable, "-c", "import signal; signal.pause()"], Path(sys.argv[1]))
    print(child.pid, flush=True)
    signal.pause()
"""


def gone(pid: int) -> bool:
    """Wait for the end of a process that is not ours to reap."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], 20)[0])
    finally:
        os.close(handle)


def test_the_whole_session_of_a_child_ends_however_stubborn(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Processes() as processes:
        child = processes.start("stubborn", [sys.executable, "-c", STUBBORN], log)
        wait_until("its child", lambda: child.tail().strip().isdigit(), child)
        grandchild = int(child.tail())
        assert procfs.tree(child.pid) == [child.pid, grandchild]
        processes.stop(child, grace_s=0.05)
    assert child.popen.returncode == -signal.SIGKILL
    assert gone(grandchild)


def test_an_exception_ends_all_of_them(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import signal; signal.pause()"]
    children: list[Child] = []

    def fails() -> None:
        with Processes() as processes:
            children.extend(processes.start(name, command, tmp_path / name) for name in ("a", "b"))
            raise RunFailed("something")

    with pytest.raises(RunFailed, match="something"):
        fails()
    assert [child.popen.returncode for child in children] == [-signal.SIGTERM] * 2


def test_kill_9_of_the_runner_ends_its_children(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RUNNER, str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as runner:
        assert runner.stdout is not None
        child = int(runner.stdout.readline())
        runner.kill()
    assert gone(child)


def test_who_dies_early_is_named_with_its_last_words(tmp_path: Path) -> None:
    with Processes() as processes:
        child = processes.start(
            "cannot", [sys.executable, "-c", "raise SystemExit('no such port')"], tmp_path / "log"
        )
        with pytest.raises(RunFailed, match=r"cannot ended \(1\) before it is ready:\nno such port"):
            wait_until("it is ready", lambda: False, child)


def test_what_cannot_be_started_is_told_by_its_name(tmp_path: Path) -> None:
    with (
        Processes() as processes,
        pytest.raises(RunFailed, match=r"^callgate cannot be started: /nonexistent/x: No such file"),
    ):
        processes.start("callgate", ["/nonexistent/x", "serve"], tmp_path / "log")
