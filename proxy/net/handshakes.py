"""Handshakes under way, of TLS and of WebSocket: bounded in number and in time, and counted when they fail.

Until its handshake is over a connection is nobody's: it costs us memory and, for TLS, a signature, and gives nothing.
When there are as many as there may be, the address (of IPv6 the site, engine/site.py) that has most of them makes room,
so that no address alone can keep the others out.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from config.schema import Bounds
from proxy.engine.site import site_of
from proxy.net.sink import HandshakeFailure, NetCounters


class Shaking(Protocol):
    """A connection whose handshake is under way."""

    def give_up(self) -> None:
        """Close it at once."""


class Handshakes:
    """One for each process."""

    __slots__ = ("_accepted", "_counters", "_loop", "_max", "_patience", "_sites", "_under_way")

    def __init__(self, bounds: Bounds, loop: asyncio.AbstractEventLoop, counters: NetCounters) -> None:
        self._loop = loop
        self._counters = counters
        self._max = bounds.handshakes_max
        self._patience = bounds.handshake
        self._under_way: dict[Shaking, tuple[asyncio.TimerHandle, str]] = {}
        """Each with its timer, and the site of the client that began it."""
        self._sites: dict[str, dict[Shaking, None]] = {}
        """Those that clients began, by site, the oldest first."""
        self._accepted = 0
        """How many those are."""

    def begin(self, shaking: Shaking, host: str = "") -> bool:
        """False: there are too many already; it is not to go on.

        `host`: of the client that began it. What we open ourselves ("") is not counted, so that no flood keeps us from
        a trunk.
        """
        site = site_of(host)
        if site:
            if self._accepted >= self._max and not self._make_room(site):
                self._count(HandshakeFailure.FULL)
                return False
            self._accepted += 1
            self._sites.setdefault(site, {})[shaking] = None
        self._under_way[shaking] = self._loop.call_later(self._patience, self._late, shaking), site
        return True

    def done(self, shaking: Shaking) -> bool:
        """It is over, and good. False: it was over before."""
        found = self._under_way.pop(shaking, None)
        if found is None:
            return False
        timer, site = found
        timer.cancel()
        if site:
            self._accepted -= 1
            same = self._sites[site]
            del same[shaking]
            if not same:
                del self._sites[site]
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

    def _make_room(self, site: str) -> bool:
        """For one more of this site, at the cost of one that has more."""
        most = max(self._sites.values(), key=len)
        if len(self._sites.get(site, ())) + 1 >= len(most):
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
