"""One peer between SIPp and a Redis of its own, up and taking calls; and the figures read from it."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from load import procfs, sipp
from load.capture import Capture, Delay
from load.peers import Peer, Place
from load.processes import Child, Processes, RunFailed
from load.sipp import Sipp
from load.store import Store

HOLD_S = 1.0  # how long a call lasts where its length is not the matter
DRAIN_S = 6.0  # how much later than planned SIPp may end before the rate counts as too high


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU of one admitted call, INVITE to BYE, in microseconds, and what a call asked of Redis."""

    rate: float
    calls: int
    proxy_us: float
    store_us: float
    trips: float
    """Scripts run in Redis for each call."""

    @property
    def total_us(self) -> float:
        return self.proxy_us + self.store_us


@dataclass(frozen=True, slots=True)
class _Reading:
    proxy_s: float
    store_s: float
    scripts: int
    calls: int


class Bench:
    """A peer with its store and its callee."""

    def __init__(self, peer: Peer, processes: Processes, folder: Path, payers: int, workers: int = 1) -> None:
        self._processes = processes
        self._folder = folder
        self._callers = 0
        sipp.write_payers(folder / "payers.csv", payers)
        self.store = Store(processes, folder)
        self.callee: Sipp = sipp.callee(processes, folder)
        port = sipp.free_port(sipp.PROXY_HOST)
        callee = (sipp.CALLEE_HOST, self.callee.port)
        self.place = Place(folder, sipp.PROXY_HOST, port, *callee, payers=payers, processes=workers)
        self.peer = peer
        self.proxy: Child = peer.start(processes, self.store, self.place)

    def call(self, rate: float, calls: int, hold_s: float = HOLD_S) -> Sipp:
        """Start a caller."""
        self._callers += 1
        name = f"caller{self._callers}"
        return sipp.caller(
            self._processes, self._folder, self.place.port, name=name, rate=rate, calls=calls, hold_s=hold_s
        )

    def stop(self, caller: Sipp) -> None:
        """End a caller and whatever calls it still has."""
        self._processes.stop(caller.child)

    def try_rate(self, rate: float, seconds: float) -> str:
        """Offer `rate` for `seconds`. "" when every call succeeded with no retransmission, else what went wrong."""
        before = self.callee.counts()
        started = time.monotonic()
        caller = self.call(rate, int(rate * seconds))
        code = caller.child.wait(seconds + HOLD_S + DRAIN_S)
        took = time.monotonic() - started
        counts, after = caller.counts(), self.callee.fresh_counts()
        self.stop(caller)
        retransmissions = counts.retransmissions + after.retransmissions - before.retransmissions
        if code is None:
            return f"late: {counts.in_progress} calls still open"
        if counts.failed or after.failed > before.failed:
            failed = f"{counts.failed} calls failed for caller, {after.failed - before.failed} for callee"
            return f"{failed}: {caller.first_error()[:200]}"
        if retransmissions:
            return f"{retransmissions} retransmissions"
        if took > (seconds + HOLD_S) * 1.05 + 0.5:
            return "the caller could not keep the rate"
        return ""

    def cost(self, rate: float, settle_s: float, window_s: float) -> Cost:
        """CPU per call at a steady rate, over a window that begins when calls have been coming for `settle_s`.

        With `settle_s` > 32 s (64·T1, RFC 3261 §17) the window also holds the end of earlier calls' transactions.
        """
        caller = self.call(rate, int(rate * (settle_s + window_s + 3)))
        time.sleep(settle_s)
        before = self._read(caller)
        time.sleep(window_s - 0.5)  # the statistics come once a second: this ends at the right one
        after = self._read(caller)
        caller.child.wait(HOLD_S + DRAIN_S)
        counts = caller.counts()
        self.stop(caller)
        if counts.failed:
            raise RunFailed(
                f"{counts.failed} calls failed at {rate:g}/s\n{caller.first_error()}\n{self.proxy.tail()}"
            )
        calls = after.calls - before.calls
        return Cost(
            rate=rate,
            calls=calls,
            proxy_us=(after.proxy_s - before.proxy_s) / calls * 1e6,
            store_us=(after.store_s - before.store_s) / calls * 1e6,
            trips=(after.scripts - before.scripts) / calls,
        )

    def delay(self, rate: float, seconds: float) -> Delay:
        """Set-up delay added at a steady rate."""
        caller = self.call(rate, int(rate * (seconds + 1)))
        time.sleep(1.0)
        capture = Capture(self._processes, self._folder, self.place.port, self.place.callee_port)
        time.sleep(seconds - 1.0)
        found = capture.finish()
        caller.child.wait(HOLD_S + DRAIN_S)
        self.stop(caller)
        return found

    def hold(self, calls: int, rate: float, hold_s: float) -> Sipp:
        """Bring `calls` calls up and leave them up; the caller that has them."""
        caller = self.call(rate, calls, hold_s)
        deadline = time.monotonic() + calls / rate * 1.5 + 10
        while caller.counts().in_progress < calls:
            counts = caller.counts()
            if counts.failed or not caller.child.running() or time.monotonic() > deadline:
                raise RunFailed(
                    f"of {calls} calls to hold: {counts}\n{caller.first_error()}\n{self.proxy.tail()}"
                )
            time.sleep(0.1)
        return caller

    def idle_cpu(self, seconds: float) -> float:
        """CPU seconds a second that proxy and store use while no call comes or goes."""
        pids = (self.proxy.pid, self.store.child.pid)
        before = sum(map(procfs.cpu_seconds, pids))
        time.sleep(seconds)
        return (sum(map(procfs.cpu_seconds, pids)) - before) / seconds

    def memory_bytes(self) -> int:
        """Memory of all the proxy's processes."""
        return procfs.pss_bytes(self.proxy.pid)

    def _read(self, caller: Sipp) -> _Reading:
        counts = caller.fresh_counts()
        return _Reading(
            proxy_s=procfs.cpu_seconds(self.proxy.pid),
            store_s=procfs.cpu_seconds(self.store.child.pid),
            scripts=self.store.script_calls(),
            calls=counts.succeeded,
        )


@contextmanager
def bench(peer: Peer, payers: int, workers: int = 1) -> Iterator[Bench]:
    """A Bench in a folder of its own; everything is ended and removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="callgate-load-"))
    try:
        with Processes() as processes:
            yield Bench(peer, processes, folder, payers, workers)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
