"""What could not be told to the store in its turn: brought in after the fact (late-8.lua), or kept in the spool."""

from __future__ import annotations

import asyncio
import base64
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from policies import keys
from policies.counters import StoreCounters
from policies.held import Held, Payer
from policies.lease import Outcome
from policies.spool import Belated, Spool, Waiting
from policies.store import NO_REPLY, Store

RETOLD_S: Final = 5.0
"""What was counted so shortly before a connection is told once more over the next one, if that may be to another
server: a master that replaces another has not heard of the last it did. What it has heard of is not counted again."""
RETELL_BATCH: Final = 50
RETELL_PAUSE_S: Final = 0.01
"""A second of 1,000 calls a second is retold in some 0.4 s, and calls in progress pass between."""
REPLAY_BATCH: Final = 200
"""Spooled outcomes sent at a time: some 3 ms of the store's time, so that calls in progress pass between."""

_CLOCK_MS: Final = 10
"""By so much an admission may seem older than it is: the loop's clock shows whole ms, of the beginning of its turn. One
that seems older than the state it made would be taken for lost with the store, and its outcome be counted twice."""

_LIVES: Final = "lives"
_ANSWERED: Final = "answered"

_Over = tuple[Held, Outcome | None, float]


class Settlement:
    """One for each limiter."""

    def __init__(
        self,
        store: Store,
        spool: Spool,
        heads: keys.Heads,
        counters: StoreCounters,
        planned: Callable[[Payer, Sequence[int]], None],
        lost: Callable[[Held], None],
        tell: Callable[[str], None],
        left: Callable[[str, str], None],
        passed: Callable[[], None],
    ) -> None:
        """`left`: told the mode and payer of a call that went on by what the spool says. `passed`: told when all that
        waits has been tried once since the store answers."""
        self._store = store
        self._spool = spool
        self._head = heads.late
        self._counters = counters
        self._planned = planned
        self._lost = lost
        self._tell = tell
        self._left = left
        self._passed = passed
        self._clock = asyncio.get_running_loop().time
        self._recent: deque[tuple[float, _Over]] | None = deque() if store.replaceable else None
        """What the store has counted, and when, for RETOLD_S."""
        self._retold: deque[tuple[float, _Over]] = deque()
        """What is to be told once more."""
        self._awaited = 0
        """Replies of this batch."""
        self._settled: list[Waiting] = []
        """Of this batch."""
        self._next = 0
        """Where in the spool the next batch begins: behind what could not be told, until all was tried."""

    def bring(self, held: Held, outcome: Outcome | None = None, ended_at: float = 0.0) -> None:
        """Tell the store all that is known of a leg. `outcome` None: it goes on; if it is over by now nothing is told,
        for a lease that is said to live is taken anew. Times are the loop's."""
        if outcome is None and held.leg.lease not in held.payer.held:
            return
        now = self._clock()
        packed = b"".join(
            (
                self._head,
                held.payer.keys,
                held.dialog_key,
                held.payer.arguments,
                held.packed,
                _tail(
                    outcome.value if outcome is not None else _LIVES,
                    now - held.answered_at if held.answered_at is not None else None,
                    now - ended_at if outcome is not None else 0.0,
                    held.leg.unbacked,
                    now - held.admitted_at if held.admitted_at is not None else None,
                    held.dialog if outcome is None else "",
                ),
            )
        )
        over = (held, outcome, ended_at)
        if not self._store.call(packed, self._brought, over):
            self.write_down(*over)

    def _brought(self, over: _Over, reply: Any) -> None:
        if reply is NO_REPLY:
            self.write_down(*over)
            return
        held, outcome, _ = over
        self._counters.leases_lapsed += reply[3]
        if outcome is None and held.leg.lease in held.payer.held:
            if reply[2]:
                held.told = True
            else:
                # It cannot be taken anew: an operator has cleared it (release-7.lua).
                self._lost(held)
        self._planned(held.payer, reply)

    def counted(self, held: Held, outcome: Outcome | None = None, ended_at: float = 0.0) -> None:
        """The store has said so."""
        recent = self._recent
        if recent is None:
            return
        now = self._clock()
        recent.append((now, (held, outcome, ended_at)))
        while recent[0][0] < now - RETOLD_S:
            recent.popleft()

    def on_link_up(self) -> None:
        """The store answers, or another one in its place."""
        self.replay()
        if not self._awaited:
            self._passed()
        if self._recent:
            since = self._clock() - RETOLD_S
            idle = not self._retold
            self._retold.extend(one for one in self._recent if one[0] >= since)
            self._recent.clear()
            if idle:
                self._retell()

    def _retell(self) -> None:
        for _ in range(min(RETELL_BATCH, len(self._retold))):
            _, (held, outcome, ended_at) = self._retold.popleft()
            if outcome is not None or held.leg.lease in held.payer.held:
                self.bring(held, outcome, ended_at)
        if self._retold:
            asyncio.get_running_loop().call_later(RETELL_PAUSE_S, self._retell)

    def write_down(self, held: Held, outcome: Outcome | None = None, ended_at: float = 0.0) -> None:
        """Into the spool: the store is away. Loop times become the wall clock's, for a later run may read them."""
        if outcome is None and held.answered_at is None:
            return  # nothing has happened yet that anyone would forget
        leg, payer = held.leg, held.payer
        offset = time.time() - self._clock()
        belated = Belated(
            payer=payer.limits.payer,
            mode=payer.limits.mode,
            arguments=base64.b64encode(payer.arguments).decode(),
            lease=leg.lease,
            direction=leg.direction,
            outcome=outcome.value if outcome is not None else _ANSWERED,
            answered_at=held.answered_at + offset if held.answered_at is not None else None,
            ended_at=ended_at + offset if outcome is not None else None,
            unheard=leg.unbacked,
            admitted_at=held.admitted_at + offset if held.admitted_at is not None else None,
            dialog=held.dialog if outcome is None else "",
        )
        if not self._spool.append(belated):
            self._tell("ALARM: an outcome is lost, the spool is full or its disk failed")

    def replay(self) -> None:
        """Tell the store what waits, oldest first, a batch at a time, until the spool is empty or the store away. What
        it does not take is passed over and tried again when all the others were: its node of a Cluster may be away."""
        if self._awaited or not len(self._spool) or not self._store.up:
            return
        batch = self._spool.first(REPLAY_BATCH, self._next)
        self._next = batch[-1].end if len(batch) == REPLAY_BATCH else 0
        for one in batch:
            if self._store.call(_packed(self._head, one.belated), self._replayed, one):
                self._awaited += 1

    def _replayed(self, one: Waiting, reply: Any) -> None:
        self._awaited -= 1
        if reply is not NO_REPLY:
            self._settled.append(one)
            if one.belated.outcome == _ANSWERED:
                self._left(one.belated.mode, one.belated.payer)
        if self._awaited:
            return
        settled, self._settled = self._settled, []
        if settled:
            self._spool.done(settled)
        if not self._next:
            self._passed()
        if settled:
            self.replay()


def _tail(
    outcome: str,
    answered_ago: float | None,
    ended_ago: float,
    unheard: bool,
    admitted_ago: float | None,
    dialog: str,
) -> bytes:
    """ARGV 6 … 11 of late-8.lua. Times in seconds."""
    return b"".join(
        (
            keys.bulk(outcome.encode()),
            keys.number(-1 if answered_ago is None else max(0, round(answered_ago * 1000))),
            keys.number(max(0, round(ended_ago * 1000))),
            keys.number(int(unheard)),
            keys.number(-1 if admitted_ago is None else max(0, int(admitted_ago * 1000) - _CLOCK_MS)),
            keys.bulk(dialog.encode("latin-1")),
        )
    )


def _packed(head: bytes, belated: Belated) -> bytes:
    now = time.time()
    return b"".join(
        (
            head,
            keys.call_keys(belated.payer, belated.mode),
            keys.dialog_key(belated.payer, belated.mode, belated.lease),
            base64.b64decode(belated.arguments),
            keys.bulk(belated.lease.encode()),
            keys.OUTGOING if belated.direction == "out" else keys.INCOMING,
            _tail(
                belated.outcome,
                now - belated.answered_at if belated.answered_at is not None else None,
                now - belated.ended_at if belated.ended_at is not None else 0.0,
                belated.unheard,
                now - belated.admitted_at if belated.admitted_at is not None else None,
                belated.dialog,
            ),
        )
    )
