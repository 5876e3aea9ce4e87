"""Where callgate's time goes: one callgate under load with cProfile or perf."""

from __future__ import annotations

import io
import pstats
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from load.bench import Bench, bench
from load.peers.callgate import Callgate
from load.processes import RunFailed, program

SETTLE_S = 3.0
ROWS = 60

# The console script's own way in. The profiler starts at SIGUSR1, so that reading the files is not in it; it writes its
# statistics when callgate has drained after SIGTERM.
PROFILED = """\
import cProfile, signal
from proxy.cli import main
profile = cProfile.Profile()
signal.signal(signal.SIGUSR1, lambda signum, frame: profile.enable())
try:
    main()
finally:
    profile.disable()
    profile.dump_stats({path!r})
"""


def profile(tool: str, *, rate: float, payers: int, seconds: float, command: Sequence[str] = ()) -> str:
    """A table of functions, dearest first. `tool`: "cprofile" (Python functions) or "perf" (down to the kernel)."""
    folder = Path(tempfile.mkdtemp(prefix="callgate-profile-"))
    try:
        profiled = _cprofile if tool == "cprofile" else _perf
        return profiled(folder, rate, payers, seconds, command)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _cprofile(folder: Path, rate: float, payers: int, seconds: float, command: Sequence[str]) -> str:
    if command:
        raise RunFailed("cProfile runs the sources; perf takes any --callgate")
    found = folder / "profile"
    peer = Callgate([sys.executable, "-c", PROFILED.format(path=str(found))])
    with bench(peer, payers) as up:
        up.proxy.popen.send_signal(signal.SIGUSR1)
        calls = _load(up, rate, seconds)
        up.proxy.stop(grace_s=20)
        if not found.exists():
            raise RunFailed(f"callgate left no profile:\n{up.proxy.tail()}")
    table = io.StringIO()
    pstats.Stats(str(found), stream=table).sort_stats("tottime").print_stats(ROWS)
    return f"{calls} calls at {rate:g}/s; divide by that for the share of a call\n{table.getvalue()}"


def _perf(folder: Path, rate: float, payers: int, seconds: float, command: Sequence[str]) -> str:
    data = folder / "perf.data"
    with bench(Callgate(command), payers) as up:
        caller = up.call(rate, int(rate * (SETTLE_S + seconds)))
        time.sleep(SETTLE_S)
        record = [program("perf"), "record", "-q", "-F", "1999", "-o", str(data), "-p", str(up.proxy.pid)]
        record += ["--", "sleep", f"{seconds:g}"]
        subprocess.run(record, check=True, timeout=seconds + 20)
        up.stop(caller)
    report = [program("perf"), "report", "-i", str(data), "--stdio", "--percent-limit", "0.4", "--sort"]
    return "".join(
        subprocess.run([*report, by], capture_output=True, text=True, check=True, timeout=60).stdout
        for by in ("dso", "dso,symbol")
    )


def _load(up: Bench, rate: float, seconds: float) -> int:
    caller = up.call(rate, int(rate * seconds))
    caller.child.wait(seconds + 30)
    calls = caller.counts().succeeded
    up.stop(caller)
    return calls
