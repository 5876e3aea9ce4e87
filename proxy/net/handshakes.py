"""Handshakes under way, of TLS and of WebSocket: bounded in number and in time, and counted when they fail.

Until its handshake is over a connection is nobody's: it costs us memory and, for TLS, a signature, and gives nothing.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from config.schema import Bounds
from proxy.net.sink import HandshakeFailure, NetCounters


class Shaking(Protocol):
    """A connection whose handshake is under way."""

    def give_up(self) -> None:
        """Close it at once."""


class Handshakes:
    """One for each process."""

    __slots__ = ("_accepted", "_counters", "_loop", "_max", "_patience", "_under_way")

    def __init__(self, bounds: Bounds, loop: asyncio.AbstractEventLoop, counters: NetCounters) -> None:
        self._loop = loop
        self._counters = counters
        self._max = bounds.handshakes_max
        self._patience = bounds.handshake
        self._under_way: dict[Shaking, tuple[asyncio.TimerHandle, bool]] = {}
        """Each with its timer, and whether a client began it."""
        self._accepted = 0
        """How many of them a client began."""

    def begin(self, shaking: Shaking, accepted: bool = True) -> bool:
        """False: there are too many already; it is not to go on.

        `accepted`: a client began it. What we open ourselves is not counted, so that no flood keeps us from a trunk.
        """
        if accepted and self._accepted >= self._max:
            self._count(HandshakeFailure.FULL)
            return False
        self._accepted += accepted
        self._under_way[shaking] = self._loop.call_later(self._patience, self._late, shaking), accepted
        return True

    def done(self, shaking: Shaking) -> bool:
        """It is over, and good. False: it was over before."""
        found = self._under_way.pop(shaking, None)
        if found is None:
            return False
        timer, accepted = found
        timer.cancel()
        self._accepted -= accepted
        return True

    def failed(self, shaking: Shaking, failure: HandshakeFailure) -> None:
        """It came to nothing. What was over before is not counted."""
        if self.done(shaking):
            self._count(failure)

    def close(self) -> None:
        """Give all of them up, uncounted."""
        for shaking in tuple(self._under_way):
            self.done(shaking)
            shaking.give_up()

    def _late(self, shaking: Shaking) -> None:
        self.failed(shaking, HandshakeFailure.TIMEOUT)
        shaking.give_up()

    def _count(self, failure: HandshakeFailure) -> None:
        self._counters.handshakes_failed[failure.value] += 1
