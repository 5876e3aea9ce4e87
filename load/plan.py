"""In what order things are measured: both peers in turn, A B A B …, so that a drifting machine drifts for both."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from load.bench import Bench, Cost, bench
from load.capture import Delay
from load.figures import Run
from load.highest import highest
from load.peers import Peer
from load.peers.kamailio import Kamailio
from load.processes import RunFailed

Say = Callable[[str], None]

START_RATE = 1000.0
FEW_HELD = 100
HOLD_RATE = 400.0
TRANSACTIONS_GONE_S = 36.0  # 64·T1 = 32 s (RFC 3261 §17.1.2.2, RFC 6026 §8), and a margin
GROWTH_SETTLE_S = 8.0
IDLE_S = 12.0  # more than one round of lease renewals (every 10 s at a lease of 30 s)
WARM_CALLS = 400
WARM_RATE = 200.0
WARM_REST_S = (
    8.0  # Kamailio frees a transaction 5 s after its end; what callgate still has of so few is nothing
)
TUNE_CHILDREN = (1, 2, 3, 4)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, how long and how often."""

    peers: tuple[Peer, ...]
    payers: int
    repeats: int
    rate: float
    settle_s: float
    window_s: float
    held: int

    @property
    def step_s(self) -> float:
        """How long a rate is offered in the search for the highest."""
        return self.window_s / 2


def repeated(run: Run, peer: Peer, measure: Callable[[], None], say: Say) -> None:
    """Measure; a failure is noted and tried once more, for it may be the machine's. A second one is an error."""
    try:
        measure()
    except RunFailed as failure:
        run.failures.append(f"{peer.name}: {str(failure).partition(chr(10))[0]}")
        say(f"once more: {failure}")
        measure()


def quick(run: Run, todo: Plan, say: Say) -> None:
    """CPU per call and delay at the plan's rate."""
    run.settings = {"rate": todo.rate, "repeats": todo.repeats, "window_s": todo.window_s}
    for _ in range(todo.repeats):
        for peer in todo.peers:
            cost_and_delay(run, peer, todo, todo.rate, todo.rate, say)


def full(run: Run, todo: Plan, parts: list[str], say: Say) -> None:
    """The table of SPEC §7."""
    run.settings = {
        "repeats": todo.repeats,
        "window_s": todo.window_s,
        "settle_s": todo.settle_s,
        "payers": todo.payers,
        "held": todo.held,
        "held_few": FEW_HELD,
        **{f"{peer.name}_workers": getattr(peer, "children", 1) for peer in todo.peers},
    }
    rate = todo.rate
    delay_rate = todo.rate
    if "highest" in parts:
        _highest(run, todo, say)
        reached = {peer.name: run.median("highest", peer.name) or START_RATE for peer in todo.peers}
        rate = rate or round(min(reached.values()) / 2)
        # SPEC §7 asks for the delay at half of what Kamailio takes.
        delay_rate = delay_rate or round(reached.get("kamailio", min(reached.values())) / 2)
    rate, delay_rate = rate or START_RATE, delay_rate or START_RATE
    run.settings |= {"rate": rate, "delay_rate": delay_rate}
    if "cost" in parts:
        for _ in range(todo.repeats):
            for peer in todo.peers:
                measure = partial(cost_and_delay, run, peer, todo, rate, delay_rate, say)
                repeated(run, peer, measure, say)
    if "held" in parts:
        for _ in range(max(1, todo.repeats // 2)):
            for peer in todo.peers:
                repeated(run, peer, partial(held, run, peer, todo, rate, say), say)
    if "scaling" in parts:
        for peer in todo.peers:
            if peer.name == "callgate":
                scaling(run, peer, todo, say)


def _highest(run: Run, todo: Plan, say: Say) -> None:
    start = {peer.name: START_RATE for peer in todo.peers}
    for _ in range(todo.repeats):
        for peer in todo.peers:
            found = highest(peer, todo.payers, start[peer.name], todo.step_s, say)
            start[peer.name] = found / 1.1  # the next search begins near
            run.add("highest", peer.name, found)
            say(f"{peer.name}: highest rate {found:.0f}/s")


def cost_and_delay(run: Run, peer: Peer, todo: Plan, rate: float, delay_rate: float, say: Say) -> None:
    """CPU per call at `rate`, then the delay at `delay_rate`, on one fresh peer."""
    with bench(peer, todo.payers) as up:
        cost = up.cost(rate, todo.settle_s, todo.window_s)
        delay = up.delay(delay_rate, todo.window_s)
    _note(run, peer, cost, delay)
    say(
        f"{peer.name} {rate:.0f}/s: {cost.proxy_us:.0f} + {cost.store_us:.0f} µs a call, {cost.trips:.2f} scripts; "
        f"{delay_rate:.0f}/s: delay {delay.p50_ms:.2f} p50, {delay.p99_ms:.2f} p99 ms"
    )


def _note(run: Run, peer: Peer, cost: Cost, delay: Delay) -> None:
    run.add("cpu", peer.name, cost.total_us)
    run.add("cpu_proxy", peer.name, cost.proxy_us)
    run.add("cpu_store", peer.name, cost.store_us)
    run.add("trips", peer.name, cost.trips)
    run.add("delay_p50", peer.name, delay.p50_ms)
    run.add("delay_p99", peer.name, delay.p99_ms)


def held(run: Run, peer: Peer, todo: Plan, rate: float, say: Say) -> None:
    """CPU per call with few calls held, then on a fresh peer memory and CPU per call with many."""
    loaded_s = GROWTH_SETTLE_S + todo.window_s + 20
    with bench(peer, todo.payers) as up:
        up.hold(FEW_HELD, WARM_RATE, loaded_s)
        few = up.cost(rate, GROWTH_SETTLE_S, todo.window_s)
    with bench(peer, todo.payers) as up:
        up.call(WARM_RATE, WARM_CALLS).child.wait(WARM_CALLS / WARM_RATE + 10)
        time.sleep(WARM_REST_S)
        before = _memory(up)
        up.hold(todo.held, HOLD_RATE, todo.held / HOLD_RATE + TRANSACTIONS_GONE_S + IDLE_S + loaded_s + 30)
        time.sleep(TRANSACTIONS_GONE_S)
        memory = {key: (value - before[key]) / todo.held / 1000 for key, value in _memory(up).items()}
        keeping = up.idle_cpu(IDLE_S)
        many = up.cost(rate, GROWTH_SETTLE_S, todo.window_s)
    for key, value in memory.items():
        run.add(key, peer.name, value)
    run.add("keeping", peer.name, keeping / todo.held * 1000 * 1000)
    run.add("growth", peer.name, many.total_us / few.total_us)
    say(
        f"{peer.name} {todo.held} held: {memory['memory']:.1f} kB a call (+ {memory['memory_store']:.1f} in Redis), "
        f"{few.total_us:.0f} → {many.total_us:.0f} µs a call at {rate:.0f}/s, {keeping * 1000:.1f} ms/s to keep them"
    )


def _memory(up: Bench) -> dict[str, int]:
    """Bytes by figure."""
    own = up.peer.own_memory_bytes(up.place)
    return {
        "memory": up.memory_bytes(),
        "memory_store": up.store.memory_bytes(),
        **({"memory_own": own} if own is not None else {}),
    }


def scaling(run: Run, peer: Peer, todo: Plan, say: Say) -> None:
    """Two processes against one. Only where the generator has cores of its own does this say anything."""
    for _ in range(todo.repeats):
        one = highest(peer, todo.payers, START_RATE, todo.step_s, say)
        two = highest(peer, todo.payers, one, todo.step_s, say, workers=2)
        run.add("scaling", peer.name, two / one)


def tune(payers: int, seconds: float, say: Say) -> None:
    """What Kamailio reaches, and what a call costs it at one rate, by its number of children."""
    for children in TUNE_CHILDREN:
        peer = Kamailio(children)
        with bench(peer, payers) as up:
            cost = up.cost(START_RATE, 3, seconds)
        found = highest(peer, payers, START_RATE, seconds, lambda line: None)
        spent = f"{cost.proxy_us:.0f} + {cost.store_us:.0f} µs a call at {START_RATE:.0f}/s"
        say(f"{children} children: highest {found:.0f}/s; {spent}")
