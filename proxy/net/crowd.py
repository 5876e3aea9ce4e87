"""Connections that clients opened, by address, of IPv6 by site (engine/site.py): when there are as many as there may
be, who has most makes room.

So that no address alone can keep the others out. What goes first is a connection over which nothing whole has come,
then the one that has been idle longest. Each refusal costs a look at every address; then there is nothing to lose.
"""

from __future__ import annotations

from proxy.engine.site import site_of
from proxy.net.connection import Connection


class Crowd:
    """One for each process."""

    __slots__ = ("_sites",)

    def __init__(self) -> None:
        self._sites: dict[str, dict[Connection, None]] = {}
        """The oldest first."""

    def add(self, connection: Connection, host: str) -> None:
        """It stands."""
        self._sites.setdefault(site_of(host), {})[connection] = None

    def remove(self, connection: Connection, host: str) -> None:
        """It is gone."""
        site = site_of(host)
        same = self._sites.get(site, {})
        same.pop(connection, None)
        if not same:
            self._sites.pop(site, None)

    def make_room(self, host: str) -> bool:
        """For one more connection from this address or to it, at the cost of an address that has more."""
        most = max(self._sites.values(), key=len, default={})
        if len(self._sites.get(site_of(host), ())) + 1 >= len(most):
            return False
        # Sorting is stable: of equals the oldest.
        worst = min(most, key=lambda connection: (connection.proven, -connection.idle))
        # At once: it is told lost in a later turn of the loop, and the next newcomer of this one needs another.
        del most[worst]
        worst.transport.abort()
        return True
