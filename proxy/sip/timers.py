"""Every deadline of the process, as data: one loop timer serves them all.

Nearly all timers of SIP have one of a few constant delays, so what is added to such a delay later is also due later: a
FIFO lane per delay keeps them sorted for nothing: whose head is due first is found by a look at each of the few lanes.
The heap holds the odd deadlines.

Entries of a lane are never removed by hand (a cancel forgotten is a leak, one too many is a race): the handler
compares the token with what its owner has become. A stale entry costs one such comparison, and while it waits some 50
bytes and the reference to its owner; so an owner drops its heavy fields when it ends, not when its timers have run.
Odd deadlines may be hours away (the end of a call whose caller hangs up in a minute), so those can be cancelled: the
entry lets go of its owner at once, and the heap is swept when more than half of it is dead.
"""

from __future__ import annotations

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

# Entries of a lane that have rung and are still in its lists before they are cut off.
_RUNG_MAX: Final = 1_000

_NEVER: Final = float("inf")


class Lane:
    """The entries of one delay and handler. Whoever has it adds to it without a look-up."""

    __slots__ = ("_head", "_owners", "_starts", "_timers", "_tokens", "deadline", "delay", "handler")

    def __init__(self, timers: Timers, delay: float, handler: Handler) -> None:
        self.delay = delay
        self.handler = handler
        self.deadline = _NEVER
        """Of the first entry."""
        self._timers = timers
        # Three lists of things that exist anyway, not one of tuples: nothing for the garbage collector to walk. What is
        # before the head has rung; it is cut off now and then. (A deque would be called as any Python object is.)
        self._starts: list[float] = []
        self._owners: list[object] = []
        self._tokens: list[int] = []
        self._head = 0

    def add(self, owner: object, token: int, now: float) -> None:
        """Due at `now` + `delay`. A `now` before the last one makes this entry late, never early."""
        self._starts.append(now)
        self._owners.append(owner)
        self._tokens.append(token)
        if self.deadline == _NEVER:
            self.deadline = deadline = now + self.delay
            if deadline < self._timers.earliest:
                self._timers.earliest = deadline

    def run(self, limit: float, now: float) -> None:
        """Handles what is due by `limit`. For `Timers.expire` only."""
        starts, owners, tokens = self._starts, self._owners, self._tokens
        # Compared as `start + delay <= limit`, exactly as the deadline was computed: no other rounding.
        delay = self.delay
        at = self._head
        try:
            # A handler may add entries.
            while at < len(starts) and starts[at] + delay <= limit:
                owner, token = owners[at], tokens[at]
                owners[at] = None
                at += 1
                self.handler(owner, token, now)
        finally:
            if at == len(starts) or (at > _RUNG_MAX and 2 * at > len(starts)):
                del starts[:at], owners[:at], tokens[:at]
                at = 0
            self._head = at
            self.deadline = starts[at] + delay if starts else _NEVER

    def __len__(self) -> int:
        return len(self._starts) - self._head


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

    __slots__ = ("_dead", "_heap", "_in_line", "_lanes", "_sequence", "earliest")

    def __init__(self) -> None:
        # (deadline, tie breaker, what is due)
        self._heap: list[tuple[float, int, TimerHandle]] = []
        self._dead = 0
        self._lanes: dict[tuple[float, Handler], Lane] = {}
        self._in_line: list[Lane] = []
        self._sequence = 0
        self.earliest = _NEVER
        """Nothing is due before this. The driver re-arms when it is below what is armed; exact after `expire`."""

    def lane(self, delay: float, handler: Handler) -> Lane:
        """The lane of this delay and handler, to keep for as long as the timers live. For constant delays only."""
        lane = self._lanes.get((delay, handler))
        if lane is None:
            lane = self._lanes[(delay, handler)] = Lane(self, delay, handler)
            self._in_line.append(lane)
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
            self._heap = [entry for entry in self._heap if entry[2].handler is not None]
            heapify(self._heap)
            self._dead = 0

    def expire(self, now: float) -> None:
        """Calls the handler of each entry that is due, in the order of deadlines. Handlers may add entries."""
        try:
            while self._next(now):
                pass
        finally:
            earliest = self.next_deadline()
            self.earliest = earliest if earliest is not None else _NEVER

    def _next(self, now: float) -> bool:
        """Handles what is due first: a lane as far as no other deadline comes before. False: nothing is due."""
        # Read anew each time: a handler may cancel, and that may sweep.
        heap = self._heap
        odd = heap[0][0] if heap else _NEVER
        first: Lane | None = None
        deadline = others = _NEVER
        for lane in self._in_line:
            if lane.deadline < deadline:
                first, deadline, others = lane, lane.deadline, deadline
            elif lane.deadline < others:
                others = lane.deadline
        if first is not None and deadline <= odd:
            if deadline > now:
                return False
            first.run(min(others, odd, now), now)
            return True
        if odd > now:
            return False
        due = heappop(heap)[2]
        handler = due.handler
        if handler is None:
            self._dead -= 1
        else:
            # Who keeps the handle of what rang must not be kept by it in turn.
            owner = due.owner
            due.handler = due.owner = None
            handler(owner, due.token, now)
        return True

    def next_deadline(self) -> float | None:
        """The earliest deadline, or that of a cancelled entry before it; None when there is none."""
        earliest = self._heap[0][0] if self._heap else _NEVER
        for lane in self._in_line:
            if lane.deadline < earliest:
                earliest = lane.deadline
        return earliest if earliest != _NEVER else None

    def __len__(self) -> int:
        """Entries waiting, stale ones included. Walks the heap: for figures and tests."""
        return sum(map(len, self._in_line)) + sum(due.handler is not None for _, _, due in self._heap)
