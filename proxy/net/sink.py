"""What the sockets tell, and to whom: `Sink`, implemented by the driver, and the counters both sides share."""

from __future__ import annotations

from typing import Protocol

from proxy.sip.flow import Flow
from proxy.sip.message import ParseError


class Sink(Protocol):
    """Called from the event loop; never raises, never waits. May call back into `send` of the socket that calls it."""

    def message(self, data: bytes, flow: Flow) -> None:
        """A whole datagram, or one message framed out of a stream."""

    def flow_failed(self, flow: Flow) -> None:
        """Nothing can be sent to this peer: refused, unreachable, connection broken or never opened."""

    def framing_failed(self, flow: Flow, error: ParseError) -> None:
        """The stream cannot be cut into messages any more; it is closed once the sink has had its say."""


class NetCounters:
    """What goes wrong on sockets. Plain integers, one object for each process."""

    __slots__ = ("connections_open", "connections_refused", "dropped_in", "dropped_out", "unreachable")

    def __init__(self) -> None:
        self.dropped_in = 0
        """Datagrams the kernel threw away because our receive buffer was full."""
        self.dropped_out = 0
        """Messages thrown away because a send queue was full."""
        self.unreachable = 0
        """Peers reported unreachable: ICMP, connect failures, broken connections."""
        self.connections_open = 0
        self.connections_refused = 0
        """Connections not taken because of `connections_max`."""

    @property
    def dropped(self) -> int:
        """Messages lost to a full queue, in either direction."""
        return self.dropped_in + self.dropped_out
