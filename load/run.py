"""`python -m load.run`: measure callgate and Kamailio in turn, and write the table of SPEC §7.

Full: the highest rates, CPU per call, set-up delay, memory and cost with many calls held; then load/results and the
README's table. --quick: CPU per call and delay at one rate, printed, for before and after a change. See load/README.md.
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from load import plan, report
from load.figures import Run
from load.peers import Peer
from load.peers.callgate import Callgate
from load.peers.kamailio import Kamailio
from load.plan import Plan
from load.processes import RunFailed, TimeIsUp, bounded
from load.procfs import machine
from load.profile import profile

ROOT = Path(__file__).resolve().parents[1]

KAMAILIO_CHILDREN = 2
PAYERS = 4000
QUICK_PAYERS = 1000  # few enough that each has called once before the window begins: a first call costs more
QUICK_BOUND_S = 180.0
FULL_BOUND_S = 5400.0


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m load.run", description="callgate and Kamailio side by side"
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--quick", action="store_true", help="CPU and delay at one rate, in two minutes")
    mode.add_argument("--tune", action="store_true", help="Kamailio with 1 to 4 children")
    mode.add_argument("--profile", choices=("cprofile", "perf"), help="where callgate's time goes")
    parser.add_argument("--only", choices=("callgate", "kamailio"), help="measure one of the two")
    parser.add_argument(
        "--callgate", default="", help="what to run as callgate: a copy, an older commit, a compiled one"
    )
    parser.add_argument("--parts", default="highest,cost,held", help="of a full run: these and `scaling`")
    parser.add_argument("--repeats", type=int, default=0, help="pairs of measurements (full 5, quick 2)")
    parser.add_argument(
        "--rate", type=float, default=0, help="calls/s for cost and delay (default: half the highest)"
    )
    parser.add_argument("--window", type=float, default=0, help="seconds measured (full 15, quick 8)")
    parser.add_argument("--settle", type=float, default=0, help="seconds of load before (full 36, quick 3)")
    parser.add_argument("--held", type=int, default=20_000, help="calls held for memory and growth")
    parser.add_argument("--payers", type=int, default=0, help="subscribers that call (full 4000, quick 1000)")
    parser.add_argument("--children", type=int, default=KAMAILIO_CHILDREN, help="Kamailio's UDP workers")
    parser.add_argument("--no-write", action="store_true", help="print the table, write nothing")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """The command. 0: measured; 1: something failed, and the text says what."""
    args = arguments(sys.argv[1:] if argv is None else argv)
    try:
        with bounded(QUICK_BOUND_S if args.quick or args.profile else FULL_BOUND_S):
            return perform(args)
    except (RunFailed, TimeIsUp) as failure:
        print(f"load: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("load: interrupted; everything it started is ended", file=sys.stderr)
        return 130


def perform(args: argparse.Namespace) -> int:
    """What the arguments ask for."""
    if args.profile:
        print(
            profile(
                args.profile,
                rate=args.rate or 500,
                payers=args.payers or QUICK_PAYERS,
                seconds=args.window or 10,
                command=shlex.split(args.callgate),
            )
        )
        return 0
    made = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%MZ")
    run = Run(made=made, commit=commit(), machine=machine(), settings={})
    if args.tune:
        plan.tune(args.payers or PAYERS, args.window or 5, say)
        return 0
    if args.quick:
        todo = _plan(args, repeats=2, window=8, settle=3, rate=500, payers=QUICK_PAYERS)
        plan.quick(run, todo, say)
        print(report.text(run))
        return 0
    todo = _plan(args, repeats=5, window=15, settle=36, rate=0, payers=PAYERS)
    try:
        plan.full(run, todo, args.parts.split(","), say)
    finally:
        print(report.text(run))  # what there is, also when the rest did not come about
    if not args.no_write:
        run.save()
        report.write_all(run)
    return 0


def _plan(
    args: argparse.Namespace, *, repeats: int, window: float, settle: float, rate: float, payers: int
) -> Plan:
    peers: list[Peer] = []
    if args.only != "kamailio":
        peers.append(Callgate(shlex.split(args.callgate)))
    if args.only != "callgate":
        peers.append(Kamailio(args.children))
    return Plan(
        peers=tuple(peers),
        payers=args.payers or payers,
        repeats=args.repeats or repeats,
        rate=args.rate or rate,
        settle_s=args.settle or settle,
        window_s=args.window or window,
        held=args.held,
    )


def commit() -> str:
    """The commit measured, with a + when the tree has changes."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return described.stdout.strip()


def say(line: str) -> None:
    """Progress, as it happens."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
