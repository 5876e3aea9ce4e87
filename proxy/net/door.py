"""Who is not listened to, and who sends more than anybody should: looked at before a datagram is parsed.

While nobody is shunned a datagram costs one look at an empty set. Floods are found by sampling: of each EVERY datagrams
read the sender of one is noted, so that a source of 1,000 a second stands out within the second and the other 63 of 64
cost an addition a burst.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from proxy.engine.site import site_of

EVERY: Final = 64
"""Datagrams that one sample stands for."""
SAMPLED_MAX: Final = 4096
"""Addresses counted in one period; a flood from more of them than that is for a firewall."""
ARRIVALS_OVER: Final = 5
"""Periods over which connections and handshakes are counted, of so many times as much: all phones of an office come
anew at the moment that a restart of ours or its own line broke their connections."""


class _Tally:
    """Who sent how much in one period."""

    __slots__ = ("_counts", "_on_flood", "_period", "_since", "_told", "_toll")

    def __init__(self, toll: float, period: float, on_flood: Callable[[str], None]) -> None:
        """`toll`: samples; of 0 nothing is counted."""
        self._toll = toll
        self._period = period
        self._on_flood = on_flood
        self._counts: dict[str, int] = {}
        self._told: set[str] = set()
        self._since = 0.0

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, host: str, now: float, times: int) -> None:
        """So many samples of this address."""
        if not self._toll:
            return
        counts = self._counts
        if now - self._since > self._period or len(counts) >= SAMPLED_MAX:
            counts.clear()
            self._told.clear()
            self._since = now
        site = site_of(host)
        # The address for itself, too: its neighbours' share is no fault of its own, nor theirs if it floods alone.
        for one in (host,) if site == host else (host, site):
            seen = counts[one] = counts.get(one, 0) + times
            if seen > self._toll and one not in self._told:
                self._told.update((host, site) if one == host else (site,))
                self._on_flood(one)


class Door:
    """One for each process."""

    __slots__ = ("_arrivals", "_coming", "_messages", "left", "refused", "shunned")

    def __init__(
        self, count: int = 0, period: float = 1.0, on_flood: Callable[[str], None] = lambda host: None
    ) -> None:
        """`on_flood(host)` once a period for each address that sent more than `count` datagrams in it, or, where no
        address of it did alone, for each site (engine/site.py); of 0 never."""
        self.shunned: set[str] = set()
        self.refused = 0
        """Datagrams and connections of those, dropped unread."""
        self.left = EVERY
        """Datagrams until the next sample; the sockets count it down."""
        self._messages = _Tally(count / EVERY, period, on_flood)
        self._arrivals = _Tally(count / EVERY * ARRIVALS_OVER, period * ARRIVALS_OVER, on_flood)
        self._coming = EVERY

    def shuns(self, host: str) -> bool:
        """Whether this address is not listened to, itself or the whole of its site."""
        shunned = self.shunned
        return host in shunned or (":" in host and site_of(host) in shunned)

    def heard(self, host: str, size: int, items: int, now: float) -> None:
        """A read of a stream, whatever it was made of: as many datagrams as it had messages, or kilobytes."""
        self.left -= max(items, size >> 10)
        if self.left <= 0:
            self.sample(host, now, 1 + -self.left // EVERY)

    def sample(self, host: str, now: float, times: int = 1) -> None:
        """The sender of one datagram in EVERY, `times` over; `now` in the loop's seconds."""
        self.left = EVERY
        self._messages.add(host, now, times)

    def arrived(self, host: str, cost: int, now: float) -> None:
        """A client's connection or handshake, which costs us as much as so many datagrams."""
        self._coming -= cost
        if self._coming <= 0:
            self._coming += EVERY
            self._arrivals.add(host, now, 1)
