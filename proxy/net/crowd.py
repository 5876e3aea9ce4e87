"""Connections that clients opened, by address: when there are as many as there may be, who has most makes room.

So that no address alone can keep the others out. What goes first is a connection over which nothing whole has come,
then the one that has been idle longest. Each refusal costs a look at every address; then there is nothing to lose.
"""

from __future__ import annotations

from proxy.net.connection import Connection


class Crowd:
    """One for each process."""

    __slots__ = ("_hosts",)

    def __init__(self) -> None:
        self._hosts: dict[str, dict[Connection, None]] = {}
        """The oldest first."""

    def add(self, connection: Connection, host: str) -> None:
        """It stands."""
        self._hosts.setdefault(host, {})[connection] = None

    def remove(self, connection: Connection, host: str) -> None:
        """It is gone."""
        same = self._hosts.get(host, {})
        same.pop(connection, None)
        if not same:
            self._hosts.pop(host, None)

    def make_room(self, host: str) -> bool:
        """For one more connection from this address or to it, at the cost of an address that has more."""
        most = max(self._hosts.values(), key=len, default={})
        if len(self._hosts.get(host, ())) + 1 >= len(most):
            return False
        # Sorting is stable: of equals the oldest.
        worst = min(most, key=lambda connection: (connection.proven, -connection.idle))
        worst.transport.abort()
        return True
