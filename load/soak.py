"""Calls for hours: `python -m load.soak --minutes 60`. Nothing may fail, grow, or be left over.

A steady rate of calls, and some that are held all the time, go through one callgate. Each minute a row: calls that
succeeded and failed, SIPp's retransmissions, memory and open files of the proxy, memory of Redis. At the end every
lease must be gone. Exit code 1 if a call failed, a lease is left, or memory in the last quarter is more than GROWTH_MAX
times what it was in the second one (the first is for caches to fill).
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from load.bench import DRAIN_S, HOLD_S, Bench, bench
from load.peers.callgate import Callgate
from load.processes import concluded
from load.sipp import Sipp

GROWTH_MAX = 1.1
MINUTE_S = 60.0
PAYERS = 500


@dataclass(frozen=True, slots=True)
class Minute:
    """One row."""

    minute: int
    succeeded: int
    failed: int
    retransmissions: int
    proxy_kb: int
    files: int
    store_kb: int

    def __str__(self) -> str:
        return (
            f"{self.minute:6} {self.succeeded:10} {self.failed:7} {self.retransmissions:8} "
            f"{self.proxy_kb:10} {self.files:6} {self.store_kb:9}"
        )


HEAD = "minute  succeeded  failed  retrans.  proxy, kB  files  Redis, kB"


def soak(one: Bench, minutes: int, rate: float, held: int) -> list[str]:
    """Run it, and tell it row by row; what is wrong at the end."""
    keeper = one.hold(held, max(1.0, min(held, 100.0)), minutes * MINUTE_S + 60) if held else None
    caller = one.call(rate, int(rate * minutes * MINUTE_S))
    print(HEAD, flush=True)
    rows: list[Minute] = []
    started = time.monotonic()
    for minute in range(1, minutes + 1):
        time.sleep(max(0.0, started + minute * MINUTE_S - time.monotonic()))
        rows.append(_row(one, caller, minute))
        print(rows[-1], flush=True)
    caller.child.wait(HOLD_S + DRAIN_S)
    wrong = _wrong(rows, caller)
    one.stop(caller)
    if keeper is not None:
        keeper.child.wait(90.0)
        if keeper.counts().failed:
            wrong.append(f"{keeper.counts().failed} held calls failed: {keeper.first_error()}")
        one.stop(keeper)
    left = one.store.leases()
    if left:
        wrong.append(f"{left} leases are left")
    return wrong


def _row(one: Bench, caller: Sipp, minute: int) -> Minute:
    counts = caller.counts()
    return Minute(
        minute,
        counts.succeeded,
        counts.failed,
        counts.retransmissions,
        one.memory_bytes() // 1024,
        len(list(Path(f"/proc/{one.proxy.pid}/fd").iterdir())),
        one.store.memory_bytes() // 1024,
    )


def _wrong(rows: Sequence[Minute], caller: Sipp) -> list[str]:
    counts = caller.counts()
    wrong = [f"{counts.failed} calls failed: {caller.first_error()}"] if counts.failed else []
    quarter = len(rows) // 4
    if quarter:
        before = median(row.proxy_kb for row in rows[quarter : 2 * quarter])
        after = median(row.proxy_kb for row in rows[-quarter:])
        print(f"memory in the last quarter / in the second: {after / before:.3f}", flush=True)
        if after > before * GROWTH_MAX:
            wrong.append(f"memory grew from {before} kB to {after} kB")
    return wrong


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m load.soak", description="calls for hours")
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--rate", type=float, default=100.0, help="calls/s")
    parser.add_argument("--held", type=int, default=500, help="calls held all the time")
    parser.add_argument("--callgate", default="", help="what to run as callgate")
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)

    def measured() -> list[str]:
        with bench(Callgate(shlex.split(args.callgate)), PAYERS) as one:
            return soak(one, args.minutes, args.rate, args.held)

    return concluded(args.minutes * MINUTE_S + 600, measured, "nothing failed, nothing grew, nothing is left")


if __name__ == "__main__":
    sys.exit(main())
