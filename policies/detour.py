"""Commands that a Cluster's node did not take: sent on in the order they were asked for, and within their deadline.

A slot that changes its node while commands are under way would let a later command overtake an earlier one that comes
back with MOVED. So from the first one that comes back, a slot is on a detour: what is asked for meanwhile waits behind
it. A PING after what the old node was sent tells when all that could come back has. Then the first of them goes where
the answers point, until a node that has the slot carries it out; then the others follow at once.

While a slot is between two nodes neither carries out a script unless it has all of its keys (TRYAGAIN), and Redis moves
them one by one. A slot with few payers takes milliseconds; whose deadline passes before gets NO_REPLY.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from policies.counters import StoreCounters, StoreError
from policies.link import IN_FLIGHT_MAX, Link
from policies.slots import is_script, slot_of
from policies.store import NO_REPLY, Callback

RETRY_S: Final = 0.005
"""Between attempts where the answer was to try again."""
HOPS_AT_ONCE: Final = 3
"""Answers that point elsewhere and are followed at once; two nodes may point to each other for a while."""

LinkOf = Callable[[int], Link | None]
"""Who has a slot as far as we know."""


class Astray:
    """One command on a detour."""

    __slots__ = ("callback", "context", "expiry", "hops", "late", "packed", "plain", "slot", "told")

    def __init__(
        self, slot: int, packed: bytes, callback: Callback, context: Any, late: Callback | None
    ) -> None:
        self.slot = slot
        self.packed = packed
        self.plain = not is_script(packed)
        self.callback = callback
        self.context = context
        self.late = late
        self.hops = 0
        self.told = False
        """Whose command it is was told how it ended, or that nothing is known of it."""
        self.expiry: asyncio.TimerHandle | None = None


class Detour:
    """Of one slot."""

    __slots__ = ("ask_at", "asked", "behind", "fenced", "out", "pause", "queue", "slot")

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.queue: deque[Astray] = deque()
        """In the order they go."""
        self.behind: deque[Astray] = deque()
        """Asked for since; earlier ones may still come back."""
        self.fenced = True
        """They may."""
        self.out = False
        """The first of the queue is under way."""
        self.asked = False
        """It was asked for, at who gets the slot."""
        self.ask_at: Link | None = None
        """For its next attempt: who gets the slot but has not yet got all of it."""
        self.pause: asyncio.TimerHandle | None = None


class Detours:
    """Of one Cluster."""

    def __init__(self, link_of: LinkOf, counters: StoreCounters, deadline_s: float) -> None:
        self._link_of = link_of
        self._counters = counters
        self._deadline_s = deadline_s
        self._loop = asyncio.get_running_loop()
        self.slots: dict[int, Detour] = {}

    def begin(self, slots: Sequence[int], old: Link) -> None:
        """These slots leave a link that may be owing replies."""
        begun = [Detour(slot) for slot in slots if slot not in self.slots]
        self.slots.update((detour.slot, detour) for detour in begun)
        old.fence(self._past, begun)

    def join(self, slot: int, packed: bytes, callback: Callback, context: Any, late: Callback | None) -> bool:
        """A new command of a slot that is on a detour. False: too many wait."""
        detour = self.slots[slot]
        if len(detour.queue) + len(detour.behind) >= IN_FLIGHT_MAX:
            self._counters.errors[StoreError.BREAKER] += 1
            return False
        astray = self._astray(slot, self._loop.time() + self._deadline_s, packed, callback, context, late)
        (detour.behind if detour.fenced else detour.queue).append(astray)
        return True

    def come_back(
        self, old: Link, due: float, packed: bytes, callback: Callback, context: Any, late: Callback | None
    ) -> Astray:
        """A command that was sent straight to its node was not taken there."""
        astray = self._astray(slot_of(packed), due, packed, callback, context, late)
        self.join_again(astray, old)
        return astray

    def join_again(self, astray: Astray, old: Link) -> None:
        """Not taken, whether it had been the first in its queue or one that followed."""
        detour = self.slots.get(astray.slot)
        if detour is None:
            self.begin((astray.slot,), old)
            detour = self.slots[astray.slot]
        if not detour.queue or detour.queue[0] is not astray:
            detour.queue.append(astray)

    def point(self, astray: Astray, ask_at: Link | None, *, again: bool) -> None:
        """What the answer was: `ask_at` = who to ask for once; `again` = this was no direction, but "try again"."""
        detour = self.slots[astray.slot]
        if detour.queue[0] is not astray:
            return  # those before it have the same answer, or a newer one
        detour.out = False
        detour.ask_at = ask_at
        astray.hops += 1
        if again or astray.hops > HOPS_AT_ONCE:
            self._pause(detour)
        else:
            self._advance(detour)

    def close(self) -> None:
        """None of them goes any further."""
        detours, self.slots = list(self.slots.values()), {}
        for detour in detours:
            if detour.pause is not None:
                detour.pause.cancel()
            for astray in (*detour.queue, *detour.behind):
                self._tell(astray, NO_REPLY)

    def _astray(
        self, slot: int, due: float, packed: bytes, callback: Callback, context: Any, late: Callback | None
    ) -> Astray:
        astray = Astray(slot, packed, callback, context, late)
        astray.expiry = self._loop.call_at(due, self._expire, astray)
        return astray

    def _past(self, begun: Any, _reply: Any) -> None:
        detour: Detour
        for detour in begun:
            if self.slots.get(detour.slot) is detour:
                detour.fenced = False
                detour.queue.extend(detour.behind)
                detour.behind.clear()
                self._advance(detour)

    def _pause(self, detour: Detour) -> None:
        detour.pause = self._loop.call_later(RETRY_S, self._resume, detour)

    def _resume(self, detour: Detour) -> None:
        detour.pause = None
        self._advance(detour)

    def _advance(self, detour: Detour) -> None:
        """Send the next one, unless something is awaited first."""
        if detour.fenced or detour.out or detour.pause is not None:
            return
        queue = detour.queue
        while queue and queue[0].told:
            queue.popleft()
        if not queue:
            del self.slots[detour.slot]
            return
        astray, asked = queue[0], detour.ask_at
        detour.ask_at = None
        detour.asked = asked is not None
        if asked is not None:
            detour.out = asked.ask(astray.packed, self._found, astray, self._found_late, astray.plain)
        else:
            detour.out = self._send(astray)
        if not detour.out:
            self._pause(detour)

    def _send(self, astray: Astray) -> bool:
        link = self._link_of(astray.slot)
        if link is None:
            return False
        send = link.plain if astray.plain else link.call
        return send(astray.packed, self._found, astray, self._found_late)

    def _follow(self, detour: Detour) -> None:
        """The slot is where we think: all that waits goes there."""
        queue = detour.queue
        while queue:
            if not queue[0].told and not self._send(queue[0]):
                self._pause(detour)
                return
            queue.popleft()
        del self.slots[detour.slot]

    def _found(self, context: Any, reply: Any) -> None:
        astray: Astray = context
        detour = self.slots.get(astray.slot)
        if detour is not None and detour.queue and detour.queue[0] is astray:
            detour.out = False
            detour.queue.popleft()
            if reply is NO_REPLY or detour.asked:
                self._advance(detour)
            else:
                self._follow(detour)
        if not astray.told:
            self._tell(astray, reply)
        elif reply is not NO_REPLY:
            self._found_late(astray, reply)

    def _found_late(self, context: Any, reply: Any) -> None:
        astray: Astray = context
        if astray.late is not None:
            astray.late(astray.context, reply)

    def _expire(self, astray: Astray) -> None:
        self._counters.errors[StoreError.DEADLINE] += 1
        self._tell(astray, NO_REPLY)

    def _tell(self, astray: Astray, reply: Any) -> None:
        if not astray.told:
            astray.told = True
            if astray.expiry is not None:
                astray.expiry.cancel()
            astray.callback(astray.context, reply)
