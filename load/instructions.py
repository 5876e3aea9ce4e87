"""`python -m load.instructions [FOLDER]`: instructions that callgate's own code takes for a whole call, by valgrind.

A count comes out the same on a busy machine as on an idle one, so it shows a change of a hundredth where a stopwatch
shows noise. What is counted is everything between a datagram read and a datagram handed to the socket: driver, engine,
limiter. Not in it: the kernel, the event loop, the connection to Redis, and Redis.

How: calls as SIPp makes them (`load/scenarios`) are played against a driver once and every datagram is kept; then a
fresh process with the same seed is given the same datagrams at the same moments under callgrind. Thus the phones
are not in the count, and a change of behaviour shows as another number of datagrams out.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import heapq
import os
import pickle
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from config.load import load
from load.peers import Place
from load.peers.callgate import write_files
from load.processes import program
from load.sipp import account
from policies.catalog import build
from policies.counters import StoreCounters
from policies.limiter import Limiter
from policies.link import Link
from proxy.driver import Driver
from proxy.engine import engine as engine_module
from proxy.engine.engine import Engine
from proxy.engine.events import TimerFired
from proxy.engine.snapshot import Snapshot
from proxy.ops.counters import CallCounters, Traffic
from proxy.sip.flow import Flow, FlowTable, Local

ROOT = Path(__file__).resolve().parents[1]

PAYERS = 200
TICK = 0.01  # between rings of the timer, as the driver has it
STEP = 0.001  # between calls: 1,000 calls/s
HELD = 0.2
T1 = "50ms"  # ten times as fast as SIP's, so that transactions end during a run of seconds
SETTLED = 3.4  # 64 * T1 and what HELD adds: from here on as many transactions end as begin
CALLER = ("127.0.0.1", 5061)
CALLEE = ("127.0.0.3", 5070)
PROXY = ("127.0.0.2", 5060)

_SDP = (
    "v=0\r\no=- 53655765 2353687637 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio 6000 RTP/AVP 8 0 101\r\n"
    "a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n"
)

Step = tuple[float, bytes, tuple[str, int]]
"""When, what, from where. b"" for a ring of the timer."""


class Answers(Link):
    """A store that grants everything, one turn later."""

    def __init__(self, limiter: Limiter) -> None:
        # None of the real link is made: it would connect.
        self.up = True
        heads = limiter._heads
        self._replies: list[tuple[bytes, Any]] = [
            (heads.admit, 0),
            (heads.answered, [1, 36_000_000, 1, 0]),
            (heads.ended, [1, -1, 1, 0]),
        ]
        self._asked: deque[tuple[Callable[[Any, Any], None], Any, Any]] = deque()

    def call(self, packed: bytes, callback: Any, context: Any, late: Any = None) -> bool:
        for head, reply in self._replies:
            if packed.startswith(head):
                self._asked.append((callback, context, reply))
        return True

    def reply(self) -> None:
        """What was asked is answered."""
        asked = self._asked
        while asked:
            callback, context, reply = asked.popleft()
            callback(context, reply)


class Network:
    """Keeps what is sent."""

    def __init__(self, local: Local) -> None:
        self.sent: list[tuple[bytes, Flow]] = []
        self.senders = {local: self._send}

    def _send(self, flow: Flow, data: bytes) -> None:
        self.sent.append((data, flow))


class Stand:
    """A driver with everything above it, a store and a network that are none, and a clock that is set."""

    def __init__(self, folder: Path) -> None:
        """Needs a running loop."""
        self.now = 1000.0
        loaded = load(folder / "callgate.yaml")
        local = Local("UDP", *PROXY, 4)
        self.flows = FlowTable(local)
        engine = Engine(
            Snapshot(loaded.config, build(loaded)), [self.flows], random.Random(1), "load", b"secret"
        )
        engine.core.wall_offset = 1_785_000_000.0
        self.driver = Driver(
            engine, Traffic(), Traffic(), CallCounters(), lambda record: None, clock=lambda: self.now
        )
        limiter = Limiter(
            self.driver,
            StoreCounters(),
            url="redis://127.0.0.1:1/0",
            instance="00000001",
            run=engine.core.instance,
            spool_path=folder / "spool",
        )
        self.store = Answers(limiter)
        limiter._link = self.store
        self.network = Network(local)
        self.driver.attach(limiter, self.network, None)  # type: ignore[arg-type]

    def take(self, step: Step) -> None:
        """One step, and what the store says to it."""
        self.now, data, peer = step
        if data:
            self.driver.message(data, self.flows.get(*peer))
        else:
            self.driver.feed(TimerFired())
        self.store.reply()


# The phones ----------------------------------------------------------------------------------------------------------


class Phones:
    """Caller and callee of every call: what they send, and when."""

    def __init__(self, calls: int) -> None:
        self._queue: list[tuple[float, int, bytes, tuple[str, int]]] = []
        self._number = 0
        for number in range(calls):
            self._say(1000.0 + number * STEP, CALLER, self._invite(number))
        for tick in range(int((calls * STEP + HELD + 0.1) / TICK)):
            self._say(1000.0005 + tick * TICK, PROXY, b"")

    def next(self) -> Step | None:
        """The next thing that is said."""
        if not self._queue:
            return None
        at, _, data, peer = heapq.heappop(self._queue)
        return at, data, peer

    def hear(self, data: bytes, flow: Flow, now: float) -> None:
        """Say what is to be said to this message."""
        head, _, _ = data.decode().partition("\r\n\r\n")
        start, *lines = head.split("\r\n")
        method = start.partition(" ")[0]
        if (flow.host, flow.port) == CALLEE:
            if method == "INVITE":
                tag = f"{self._number}uas1"
                self._say(now + 0.001, CALLEE, _answer(lines, "100 Trying", "", ""))
                self._say(now + 0.001, CALLEE, _answer(lines, "180 Ringing", tag, ""))
                self._say(now + 0.001, CALLEE, _answer(lines, "200 OK", tag, _SDP))
            elif method == "BYE":
                self._say(now + 0.001, CALLEE, _answer(lines, "200 OK", "", ""))
        elif start.startswith("SIP/2.0 200") and "CSeq: 1 INVITE" in lines:
            self._say(now + 0.001, CALLER, _within(lines, "ACK", 1))
            self._say(now + HELD, CALLER, _within(lines, "BYE", 2))

    def _say(self, at: float, peer: tuple[str, int], data: bytes) -> None:
        self._number += 1
        heapq.heappush(self._queue, (at, self._number, data, peer))

    def _invite(self, number: int) -> bytes:
        user = account(number % PAYERS)
        return _message(
            f"INVITE sip:4930{number % 1000:04d}@127.0.0.2:5060 SIP/2.0",
            [
                f"Via: SIP/2.0/UDP 127.0.0.1:5061;branch=z9hG4bK-4711-{number}-0",
                f"From: <sip:{user}@example.com>;tag=4711uac{number}",
                f"To: <sip:4930{number % 1000:04d}@example.com>",
                f"Call-ID: {number}-4711@127.0.0.1",
                "CSeq: 1 INVITE",
                f"Contact: <sip:{user}@127.0.0.1:5061>",
                "Max-Forwards: 70",
                "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS",
                "Content-Type: application/sdp",
            ],
            _SDP,
        )


def _message(start: str, lines: list[str], body: str = "") -> bytes:
    return "\r\n".join([start, *lines, f"Content-Length: {len(body)}", "", body]).encode()


def _of(lines: list[str], *names: str) -> list[str]:
    return [line for line in lines if line.partition(":")[0] in names]


def _answer(lines: list[str], status: str, tag: str, body: str) -> bytes:
    # SIPp puts several Via lines into one.
    vias = ", ".join(line[5:] for line in _of(lines, "Via"))
    kept = [f"Via: {vias}", *_of(lines, "Record-Route", "From", "To", "Call-ID", "CSeq")]
    if tag:
        kept = [f"{line};tag={tag}" if line.startswith("To:") else line for line in kept]
        kept.append(f"Contact: <sip:callee@{CALLEE[0]}:{CALLEE[1]}>")
    if body:
        kept += ["Allow: INVITE, ACK, CANCEL, BYE, OPTIONS", "Content-Type: application/sdp"]
    return _message(f"SIP/2.0 {status}", kept, body)


def _within(lines: list[str], method: str, cseq: int) -> bytes:
    [contact] = _of(lines, "Contact")
    call_id = _of(lines, "Call-ID")
    number = call_id[0][len("Call-ID: ") :].partition("-")[0]
    kept = [
        f"Via: SIP/2.0/UDP 127.0.0.1:5061;branch=z9hG4bK-4711-{number}-{4 if method == 'ACK' else 6}",
        *[line.replace("Record-Route", "Route") for line in reversed(_of(lines, "Record-Route"))],
        *_of(lines, "From", "To"),
        *call_id,
        f"CSeq: {cseq} {method}",
        "Max-Forwards: 70",
    ]
    return _message(f"{method} {contact.partition('<')[2].rstrip('>')} SIP/2.0", kept)


# The two runs --------------------------------------------------------------------------------------------------------


async def _record(folder: Path, calls: int) -> None:
    stand, phones, steps = Stand(folder), Phones(calls), []
    while (step := phones.next()) is not None:
        steps.append(step)
        stand.take(step)
        for data, flow in stand.network.sent:
            phones.hear(data, flow, stand.now)
        stand.network.sent.clear()
    (folder / "steps").write_bytes(pickle.dumps(steps))


async def _replay(folder: Path) -> None:
    steps: list[Step] = pickle.loads((folder / "steps").read_bytes())
    stand = Stand(folder)
    sent = stand.network.sent
    first = next(at for at, step in enumerate(steps) if step[0] > 1000 + SETTLED)
    last = next(at for at, step in enumerate(steps) if step[0] > steps[-1][0] - HELD - 0.1)
    # As in `callgate serve` (proxy/app/collector.py).
    gc.freeze()
    gc.disable()
    for step in steps[:first]:
        stand.take(step)
    sent.clear()
    measured, take = steps[first:last], stand.take
    _instrument("on")
    for step in measured:
        take(step)
    _instrument("off")
    came_in = sum(1 for step in measured if step[1])
    failures = stand.driver.failures
    print(f"in {came_in} out {len(sent)} failures {failures} engine {engine_module.__file__}")


def _instrument(switch: str) -> None:
    command = [program("callgrind_control"), f"--instr={switch}", str(os.getpid())]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _child(folder: Path, copy: Path, *options: str, under: tuple[str, ...] = ()) -> str:
    environment = {**os.environ, "PYTHONPATH": f"{copy}:{ROOT}", "PYTHONHASHSEED": "0"}
    command = [*under, sys.executable, "-P", "-m", "load.instructions", "--folder", str(folder), *options]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=1200)
    if done.returncode:
        raise SystemExit(f"load.instructions: {done.stderr[-300:]}")
    return done.stdout


def measure(copy: Path, calls: int, rows: int, keep: str | None = None) -> str:
    """The table of a run."""
    folder = Path(tempfile.mkdtemp(prefix="callgate-instructions-"))
    try:
        place = Place(folder, *PROXY, *CALLEE, payers=PAYERS, processes=1)
        config = write_files(place, "redis://127.0.0.1:1/0", 9)
        config.write_text(config.read_text() + f"timers: {{t1: {T1}}}\n")
        _child(folder, copy, "--record", str(calls + int(SETTLED / STEP)))
        found = Path(keep).resolve() if keep else folder / "callgrind.out"
        said = _child(
            folder,
            copy,
            "--replay",
            under=(
                program("valgrind"),
                "--tool=callgrind",
                "--instr-atstart=no",
                f"--callgrind-out-file={found}",
            ),
        )
        numbers = re.match(r"in (\d+) out (\d+) failures (\d+) engine (.*)", said)
        assert numbers is not None, said
        whole = int(numbers[1]) / 7
        own, inclusive = _annotated(found), _annotated(found, "--inclusive=yes")
        total = re.search(r"([0-9,]+) \(100.0%\)  PROGRAM TOTALS", own)
        assert total is not None, own
        each = int(total[1].replace(",", "")) / whole
        text = [f"{each:,.0f} instructions a call ({whole:,.0f} calls, {said.strip()})", ""]
        text += ["Functions with all they call:", *_table(inclusive, whole, rows), ""]
        text += ["Functions by themselves:", *_table(own, whole, rows)]
        return "\n".join(text)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _annotated(found: Path, *options: str) -> str:
    command = [program("callgrind_annotate"), "--auto=no", "--threshold=100", *options, str(found)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _table(text: str, calls: float, rows: int) -> list[str]:
    found = re.findall(r"^ *([0-9,]+) \([ 0-9.]+%\)  (?:\S*:)?(\S+) *(?:\[.*)?$", text, re.MULTILINE)
    return [f"{int(count.replace(',', '')) / calls:12,.0f}  {name}" for count, name in found[1 : rows + 1]]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m load.instructions", description="instructions a call")
    copy = str(ROOT / "build/compiled")
    parser.add_argument("copy", nargs="?", default=copy, help="a checkout, or a compiled copy of one")
    parser.add_argument("--calls", type=int, default=1000, help="calls counted, about")
    parser.add_argument("--rows", type=int, default=60, help="functions shown in each table")
    parser.add_argument("--keep", help="where to keep callgrind's own file, for kcachegrind")
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--record", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--replay", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.record:
        asyncio.run(_record(Path(args.folder), args.record))
    elif args.replay:
        asyncio.run(_replay(Path(args.folder)))
    else:
        print(measure(Path(args.copy).resolve(), args.calls, args.rows, args.keep))


if __name__ == "__main__":
    main()
