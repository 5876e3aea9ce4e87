"""Leases are kept alive: in bulk, one script for many leases of a payer, spread over the period.

A payer's leases are renewed together every 0.4 of a lease, and have all been by 0.5 of it. A batch that the store did
not take is kept and sent when it answers again; leases it no longer knows are brought in again (Settlement.bring).
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from policies import keys
from policies.counters import StoreCounters
from policies.held import Held, Payer
from policies.scripts import Scripts
from policies.settlement import Settlement
from policies.store import NO_REPLY, Store

EVERY: Final = 0.4
SPREAD: Final = 0.1
"""Parts of a lease: between renewals, and for sending what is due."""
BATCH_MAX: Final = 128
"""Leases in one script: some 150 µs of the store's time."""
TICK_S_MAX: Final = 0.1
"""Between looks at what is due: what 20,000 calls of as many payers need is then sent in turns of 1 ms."""
CATCH_UP_MAX: Final = 1_000
"""Batches sent at once when the store is back: some 10 ms of ours."""

_Batch = tuple[Payer, Sequence[str]]


class Renewal:
    """One for each limiter."""

    def __init__(
        self,
        store: Store,
        scripts: Scripts,
        counters: StoreCounters,
        settlement: Settlement,
        planned: Callable[[Payer, Sequence[int]], None],
        at_rest: Callable[[Payer], None],
        *,
        lease_s: float,
    ) -> None:
        self._store = store
        self._script = scripts.renew
        self._head_of_none = keys.evalsha(scripts.renew, 4)
        self._head_of_one = keys.evalsha(scripts.renew, 5)
        self._counters = counters
        self._settlement = settlement
        self._planned = planned
        self._at_rest = at_rest
        """Told of a payer that has no leases any more."""
        self._loop = asyncio.get_running_loop()
        self._every = EVERY * lease_s
        self._spread = SPREAD * lease_s
        self._tick_s = min(TICK_S_MAX, lease_s / 60)
        self._due: deque[tuple[float, Payer]] = deque()
        """In order of time, for the wait is the same for all."""
        self._batches: deque[_Batch] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._timer = self._loop.call_later(self._tick_s, self._tick)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def queue(self, payer: Payer) -> None:
        """The payer has leases now. It leaves the queue when it is its turn and it has none."""
        payer.queued = True
        self._due.append((self._loop.time() + self._every, payer))

    def renew_soon(self, held: Held) -> None:
        """A lease that the store may not know: at the next occasion."""
        held.payer.renewals += 1
        self._batches.append((held.payer, (held.leg.lease,)))

    def renew_all(self, payer: Payer) -> None:
        """All leases of the payer, now: some may have been cleared."""
        self._queue_batches(payer)
        self._send(len(self._batches))

    def ask(self, payer: Payer) -> None:
        """When its total_duration runs out now: another instance has moved that moment."""
        if payer.asked:
            payer.asked = 2
            return
        packed = b"".join((self._head_of_none, payer.keys, payer.arguments, keys.number(0)))
        if self._store.call(packed, self._told, (payer, payer.arguments)):
            payer.asked = 1

    def plan_anew(self, payer: Payer) -> None:
        """Its limits have changed: as `ask`, or with the first renewal when the store is back."""
        if payer.held and self._store.up:
            self.ask(payer)
        elif payer.held:
            self.renew_soon(next(iter(payer.held.values())))

    def _told(self, question: tuple[Payer, bytes], reply: Any) -> None:
        payer, arguments = question
        again, payer.asked = payer.asked == 2, 0
        if reply is not NO_REPLY:
            self._counters.leases_lapsed += reply[2]
            if arguments is payer.arguments:
                # Else it was asked by limits that are in force no more, and is asked again by those that are.
                self._planned(payer, reply)
        elif payer.held:
            # What is waited for comes with a renewal then, which is repeated until the store takes it.
            self.renew_soon(next(iter(payer.held.values())))
        if again:
            self.ask(payer)

    def catch_up(self) -> None:
        """The store is back, with all it knew or with nothing: every lease is asserted anew, many of them at once, for
        nobody is to be given the line of a call that runs."""
        for _, payer in self._due:
            if payer.held and not payer.renewals:
                self._queue_batches(payer)
        self._send(CATCH_UP_MAX)

    def _tick(self) -> None:
        self._timer = self._loop.call_later(self._tick_s, self._tick)
        now, due = self._loop.time(), self._due
        while due and due[0][0] <= now:
            _, payer = due.popleft()
            if not payer.held:
                payer.queued = False
                self._at_rest(payer)
                continue
            due.append((now + self._every, payer))
            if not payer.renewals:
                self._queue_batches(payer)
        self._send(math.ceil(len(self._batches) * self._tick_s / self._spread) + 1)
        self._settlement.replay()

    def _queue_batches(self, payer: Payer) -> None:
        leases = list(payer.held)
        for first in range(0, len(leases), BATCH_MAX):
            payer.renewals += 1
            self._batches.append((payer, leases[first : first + BATCH_MAX]))

    def _send(self, batches: int) -> None:
        if not self._store.up:
            return
        for _ in range(min(batches, len(self._batches))):
            batch = self._batches.popleft()
            if not self._renew(*batch):
                # Its node of a Cluster is away; those behind it may be on others.
                self._batches.append(batch)

    def _renew(self, payer: Payer, leases: Sequence[str]) -> bool:
        outgoing: list[bytes] = []
        incoming: list[bytes] = []
        for lease in leases:
            held = payer.held.get(lease)
            if held is not None:
                (outgoing if held.leg.direction == "out" else incoming).append(keys.bulk(lease.encode()))
        count = len(outgoing) + len(incoming)
        if not count:
            payer.renewals -= 1
            return True
        head = self._head_of_one if count == 1 else keys.evalsha(self._script, 4 + count)
        packed = b"".join(
            (head, payer.keys, payer.arguments, keys.number(len(outgoing)), *outgoing, *incoming)
        )
        return self._store.call(packed, self._renewed, (payer, leases, count))

    def _renewed(self, context: tuple[Payer, Sequence[str], int], reply: Any) -> None:
        payer, leases, count = context
        if reply is NO_REPLY:
            self._batches.append((payer, leases))
            return
        payer.renewals -= 1
        _, _, lapsed, *missing = reply
        self._counters.leases_lapsed += lapsed
        self._counters.leases_renewed += count - len(missing)
        for lease in missing:
            held = payer.held.get(lease.decode())
            if held is not None:
                self._settlement.bring(held)
        self._planned(payer, reply)
