"""Handshakes under way, of TLS and of WebSocket: bounded in number and in time, and counted when they fail.

Until its handshake is over a connection is nobody's: it costs us memory and, for TLS, a signature, and gives nothing.
When there are as many as there may be, the address that has most of them makes room, so that no address alone can keep
the others out.
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

    __slots__ = ("_accepted", "_counters", "_hosts", "_loop", "_max", "_patience", "_under_way")

    def __init__(self, bounds: Bounds, loop: asyncio.AbstractEventLoop, counters: NetCounters) -> None:
        self._loop = loop
        self._counters = counters
        self._max = bounds.handshakes_max
        self._patience = bounds.handshake
        self._under_way: dict[Shaking, tuple[asyncio.TimerHandle, str]] = {}
        """Each with its timer, and the address of the client that began it."""
        self._hosts: dict[str, dict[Shaking, None]] = {}
        """Those that clients began, by address, the oldest first."""
        self._accepted = 0
        """How many those are."""

    def begin(self, shaking: Shaking, host: str = "") -> bool:
        """False: there are too many already; it is not to go on.

        `host`: of the client that began it. What we open ourselves ("") is not counted, so that no flood keeps us from
        a trunk.
        """
        if host:
            if self._accepted >= self._max and not self._make_room(host):
                self._count(HandshakeFailure.FULL)
                return False
            self._accepted += 1
            self._hosts.setdefault(host, {})[shaking] = None
        self._under_way[shaking] = self._loop.call_later(self._patience, self._late, shaking), host
        return True

    def done(self, shaking: Shaking) -> bool:
        """It is over, and good. False: it was over before."""
        found = self._under_way.pop(shaking, None)
        if found is None:
            return False
        timer, host = found
        timer.cancel()
        if host:
            self._accepted -= 1
            same = self._hosts[host]
            del same[shaking]
            if not same:
                del self._hosts[host]
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

    def _make_room(self, host: str) -> bool:
        """For one more of this address, at the cost of one that has more."""
        most = max(self._hosts.values(), key=len)
        if len(self._hosts.get(host, ())) + 1 >= len(most):
            return False
        oldest = next(iter(most))
        self.failed(oldest, HandshakeFailure.FULL)
        oldest.give_up()
        return True

    def _late(self, shaking: Shaking) -> None:
        self.failed(shaking, HandshakeFailure.TIMEOUT)
        shaking.give_up()

    def _count(self, failure: HandshakeFailure) -> None:
        self._counters.handshakes_failed[failure.value] += 1
