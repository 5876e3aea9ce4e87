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

    __slots__ = ("_counters", "_loop", "_max", "_patience", "_timers")

    def __init__(self, bounds: Bounds, loop: asyncio.AbstractEventLoop, counters: NetCounters) -> None:
        self._loop = loop
        self._counters = counters
        self._max = bounds.handshakes_max
        self._patience = bounds.handshake
        self._timers: dict[Shaking, asyncio.TimerHandle] = {}

    def begin(self, shaking: Shaking) -> bool:
        """False: there are too many already; it is not to go on."""
        if len(self._timers) >= self._max:
            self._count(HandshakeFailure.FULL)
            return False
        self._timers[shaking] = self._loop.call_later(self._patience, self._late, shaking)
        return True

    def done(self, shaking: Shaking) -> None:
        """It is over, and good."""
        timer = self._timers.pop(shaking, None)
        if timer is not None:
            timer.cancel()

    def failed(self, shaking: Shaking, failure: HandshakeFailure) -> None:
        """It came to nothing. What was done or failed before is not counted again."""
        timer = self._timers.pop(shaking, None)
        if timer is not None:
            timer.cancel()
            self._count(failure)

    def close(self) -> None:
        """Give all of them up, uncounted."""
        while self._timers:
            shaking, timer = self._timers.popitem()
            timer.cancel()
            shaking.give_up()

    def _late(self, shaking: Shaking) -> None:
        self.failed(shaking, HandshakeFailure.TIMEOUT)
        shaking.give_up()

    def _count(self, failure: HandshakeFailure) -> None:
        self._counters.handshakes_failed[failure.value] += 1
