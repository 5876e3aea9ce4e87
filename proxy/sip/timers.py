"""Every deadline of the process, as data: one loop timer serves them all.

Nearly all timers of SIP have one of a few constant delays, so what is added to such a delay later is also due later: a
FIFO lane per delay keeps them sorted for nothing. The heap holds the head of each lane in use, and the odd deadlines.

Entries of a lane are never removed by hand (a cancel forgotten is a leak, one too many is a race): the handler
compares the token with what its owner has become. A stale entry costs one such comparison, and while it waits 24
bytes and the reference to its owner; so an owner drops its heavy fields when it ends, not when its timers have run.
Odd deadlines may be hours away (the end of a call whose caller hangs up in a minute), so those can be cancelled: the
entry lets go of its owner at once, and the heap is swept when more than half of it is dead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any, Final

Handler = Callable[[Any, int, float], object]
"""Called as `handler(owner, token, now)`; what it returns is ignored."""

# Delays that get a lane; the transaction layer needs about twenty. Beyond it a delay that is not constant after all
# goes to the heap, where it costs O(log n) but leaves nothing behind.
LANES_MAX: Final = 64

# Dead entries left in the heap before a sweep is worth while. Precedent: asyncio sweeps its cancelled timers at 100.
SWEEP_MIN: Final = 100

_NEVER: Final = float("inf")


class Lane:
    """The entries of one delay and handler. Whoever has it adds to it without a look-up."""

    __slots__ = ("_owners", "_queued", "_starts", "_timers", "_tokens", "delay", "handler")

    def __init__(self, timers: Timers, delay: float, handler: Handler) -> None:
        self.delay = delay
        self.handler = handler
        self._timers = timers
        # Three deques of things that exist anyway, not one of tuples: nothing for the garbage collector to walk.
        self._starts: deque[float] = deque()
        self._owners: deque[object] = deque()
        self._tokens: deque[int] = deque()
        self._queued = False

    def add(self, owner: object, token: int, now: float) -> None:
        """Due at `now` + `delay`. A `now` before the last one makes this entry late, never early."""
        self._starts.append(now)
        self._owners.append(owner)
        self._tokens.append(token)
        if not self._queued:
            self._queued = True
            self._timers.queue(self, now + self.delay)

    def run(self, limit: float, now: float) -> None:
        """Handles what is due by `limit`, then queues the lane again if anything is left. For `Timers.expire` only."""
        starts, handler = self._starts, self.handler
        next_start, next_owner, next_token = starts.popleft, self._owners.popleft, self._tokens.popleft
        # Compared as `start + delay <= limit`, exactly as the deadline was computed: no other rounding.
        delay = self.delay
        try:
            while starts and starts[0] + delay <= limit:
                next_start()
                handler(next_owner(), next_token(), now)
        finally:
            if starts:
                self._timers.queue(self, starts[0] + delay)
            else:
                self._queued = False

    def __len__(self) -> int:
        return len(self._starts)


class TimerHandle:
    """One odd deadline, to be cancelled with `Timers.cancel`."""

    __slots__ = ("handler", "owner", "token")

    def __init__(self, handler: Handler, owner: object, token: int) -> None:
        self.handler: Handler | None = handler
        """None once it rang or was cancelled."""
        self.owner: object = owner
        self.token = token


class Timers:
    """Deadlines in monotonic seconds."""

    __slots__ = ("_dead", "_heap", "_lanes", "_sequence", "earliest")

    def __init__(self) -> None:
        # (deadline, tie breaker, what is due)
        self._heap: list[tuple[float, int, Lane | TimerHandle]] = []
        self._dead = 0
        self._lanes: dict[tuple[float, Handler], Lane] = {}
        self._sequence = 0
        self.earliest = _NEVER
        """Nothing is due before this. The driver re-arms when it is below what is armed; exact after `expire`."""

    def lane(self, delay: float, handler: Handler) -> Lane:
        """The lane of this delay and handler, to keep for as long as the timers live. For constant delays only."""
        lane = self._lanes.get((delay, handler))
        if lane is None:
            lane = self._lanes[(delay, handler)] = Lane(self, delay, handler)
        return lane

    def after(self, delay: float, handler: Handler, owner: object, token: int, now: float) -> None:
        """Due `delay` seconds from `now`. O(1) for the few constant delays: each has a lane."""
        lane = self._lanes.get((delay, handler))
        if lane is None:
            if len(self._lanes) >= LANES_MAX:
                self.at(now + delay, handler, owner, token)
                return
            lane = self.lane(delay, handler)
        lane.add(owner, token, now)

    def at(self, deadline: float, handler: Handler, owner: object, token: int) -> TimerHandle:
        """Due at an arbitrary moment, at the next `expire` when that is past. O(log n)."""
        handle = TimerHandle(handler, owner, token)
        self._sequence += 1
        heappush(self._heap, (deadline, self._sequence, handle))
        if deadline < self.earliest:
            self.earliest = deadline
        return handle

    def cancel(self, handle: TimerHandle) -> None:
        """It will not ring. Cancelling twice, or what rang already, changes nothing. O(1), amortised."""
        if handle.handler is None:
            return
        handle.handler = None
        handle.owner = None
        self._dead += 1
        if self._dead > SWEEP_MIN and 2 * self._dead > len(self._heap):
            self._heap = [entry for entry in self._heap if _alive(entry[2])]
            heapify(self._heap)
            self._dead = 0

    def queue(self, lane: Lane, deadline: float) -> None:
        """The head of `lane` is due at `deadline`. For `Lane` only."""
        self._sequence += 1
        heappush(self._heap, (deadline, self._sequence, lane))
        if deadline < self.earliest:
            self.earliest = deadline

    def expire(self, now: float) -> None:
        """Calls the handler of each entry that is due, in the order of deadlines. Handlers may add entries."""
        try:
            # Read anew each time round: a handler may cancel, and that may sweep.
            while (heap := self._heap) and heap[0][0] <= now:
                due = heappop(heap)[2]
                if isinstance(due, Lane):
                    # As far as no other deadline comes first, a lane runs without touching the heap.
                    due.run(heap[0][0] if heap and heap[0][0] < now else now, now)
                elif (handler := due.handler) is None:
                    self._dead -= 1
                else:
                    # Who keeps the handle of what rang must not be kept by it in turn.
                    owner = due.owner
                    due.handler = due.owner = None
                    handler(owner, due.token, now)
        finally:
            self.earliest = self._heap[0][0] if self._heap else _NEVER

    def next_deadline(self) -> float | None:
        """The earliest deadline, or that of a cancelled entry before it; None when there is none."""
        return self._heap[0][0] if self._heap else None

    def __len__(self) -> int:
        """Entries waiting, stale ones included. Walks the heap: for figures and tests."""
        return sum(len(due) if isinstance(due, Lane) else int(_alive(due)) for _, _, due in self._heap)


def _alive(due: Lane | TimerHandle) -> bool:
    return isinstance(due, Lane) or due.handler is not None
