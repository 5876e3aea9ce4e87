"""Where a message came from and where one goes: a `Flow`, and the `Local` socket it belongs to.

RFC 5626 §1 calls flow what is known by transport, local address and peer. There is one `Flow` object for each while it
is in use (`FlowTable` sees to that), so flows are compared with `is` and are dict keys at the price of a pointer.
"""

from __future__ import annotations

import weakref
from typing import Final

# Peers remembered though nothing holds them. Precedent: Kamailio's tcp_max_connections default is 2,048; a phone
# behind UDP costs us ~200 bytes, so four times as many cost under 2 MB.
IDLE_FLOWS_MAX: Final = 8192


class Local:
    """One of our listening sockets, as peers are told of it."""

    __slots__ = ("family", "host", "port", "transport")

    def __init__(self, transport: str, host: str, port: int, family: int) -> None:
        self.transport = transport
        """"UDP", "TCP", "TLS", "WS" or "WSS"."""
        self.host = host
        """The advertised host for Via and Record-Route; an IPv6 address has its brackets."""
        self.port = port
        self.family = family
        """4 or 6."""

    def __repr__(self) -> str:
        return f"Local({self.transport} {self.host}:{self.port})"


class Flow:
    """One peer on one transport of one of our sockets. Compared by identity."""

    __slots__ = ("__weakref__", "conn", "host", "local", "name", "open", "port", "transport")

    def __init__(
        self, transport: str, host: str, port: int, local: Local, conn: int = 0, name: str = ""
    ) -> None:
        self.transport = transport
        self.host = host
        """The peer's address; IPv6 without brackets."""
        self.port = port
        self.local = local
        self.conn = conn
        """0 for UDP. For streams the connection's number; 0 there means: any to this peer, or open one."""
        self.name = name
        """Over TLS and with conn = 0 the host name that the peer's certificate must have; "" = its address."""
        self.open = False
        """With conn > 0: the connection stands. Whoever holds it keeps this right and keeps the flow while it does."""

    @property
    def gone(self) -> bool:
        """A connection that stands no more: its number never comes back, so nothing can be sent there any more."""
        return self.conn > 0 and not self.open

    @property
    def reliable(self) -> bool:
        """Whether the transport retransmits by itself, so that Timers A, E, G stay off (RFC 3261 §17)."""
        return self.transport != "UDP"

    def __repr__(self) -> str:
        return f"Flow({self.transport} {self.host}:{self.port} conn={self.conn} at {self.local!r})"


class FlowTable:
    """Interns the flows of one `Local`.

    Bounded: a flow that nobody holds is forgotten once `idle_max` newer peers were seen.
    """

    __slots__ = ("_held", "_idle_max", "_recent", "local")

    def __init__(self, local: Local, idle_max: int = IDLE_FLOWS_MAX) -> None:
        self.local = local
        self._idle_max = idle_max
        self._recent: dict[tuple[str, int, int], Flow] = {}
        self._held: weakref.WeakValueDictionary[tuple[str, int, int], Flow] = weakref.WeakValueDictionary()

    def get(self, host: str, port: int, conn: int = 0) -> Flow:
        """The one flow to this peer. `host` is an IP address without brackets."""
        key = (host, port, conn)
        flow = self._recent.get(key)
        return flow if flow is not None else self._other(key, host, "")

    def named(self, host: str, port: int, name: str) -> Flow:
        """The one flow to whoever proves to be `name` at this address."""
        # No address has a bar in it.
        key = (f"{host}|{name}", port, 0)
        flow = self._recent.get(key)
        return flow if flow is not None else self._other(key, host, name)

    def _other(self, key: tuple[str, int, int], host: str, name: str) -> Flow:
        """One not seen lately."""
        if len(self._recent) >= self._idle_max:
            # Older flows live on only where a transaction, call or binding still holds them.
            self._held.update(self._recent)
            self._recent = {}
        flow = self._held.pop(key, None)
        if flow is None:
            flow = Flow(self.local.transport, host, key[1], self.local, key[2], name)
        self._recent[key] = flow
        return flow
