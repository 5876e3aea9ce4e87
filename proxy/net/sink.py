"""What the sockets tell, and to whom: `Sink`, implemented by the driver, and the counters both sides share."""

from __future__ import annotations

import enum
from collections.abc import Collection
from typing import Final, Protocol

from proxy.sip.flow import Flow
from proxy.sip.message import ParseError

STREAMS: Final = ("TCP", "TLS", "WS", "WSS")

MEDIA_RESULTS: Final = ("done", "refused", "timeout", "down")
"""refused: rtpengine said no. timeout: it said nothing. down: it was not asked, for it said nothing a moment ago."""


class Sink(Protocol):
    """Called from the event loop; never raises, never waits. May call back into `send` of the socket that calls it."""

    def message(self, data: bytes, flow: Flow) -> None:
        """A whole datagram, or one message framed out of a stream."""

    def flow_failed(self, flow: Flow) -> None:
        """Nothing can be sent to this peer: refused, unreachable, connection broken or never opened."""

    def in_use(self) -> Collection[Flow]:
        """The flows of connections that are needed though silent; asked before any of them is closed as idle."""

    def framing_failed(self, flow: Flow, error: ParseError) -> None:
        """The stream cannot be cut into messages any more; it is closed once the sink has had its say."""


class HandshakeFailure(enum.Enum):
    """Why a TLS or WebSocket handshake came to nothing. The value is a metric label."""

    FULL = "full"  # too many were under way
    TIMEOUT = "timeout"
    GONE = "gone"  # the peer closed the connection in the middle of it
    TLS = "tls"  # no TLS, or no version or cipher in common
    CERTIFICATE = (
        "certificate"  # the peer's, or ours in its eyes: none, expired, unknown signer, another name
    )
    UPGRADE = "upgrade"  # no WebSocket, another subprotocol than sip, an origin that may not connect


class NetCounters:
    """What happens and goes wrong on sockets. Plain integers, one object for each process."""

    __slots__ = (
        "certificate_expires_at",
        "connections",
        "connections_refused",
        "dropped_in",
        "dropped_out",
        "keepalives",
        "handshakes_failed",
        "media",
        "unreachable",
    )

    def __init__(self) -> None:
        self.dropped_in = 0
        """Datagrams the kernel threw away because our receive buffer was full."""
        self.dropped_out = 0
        """Messages thrown away because a send queue was full."""
        self.keepalives = 0
        """CRLF and STUN of clients that were answered."""
        self.unreachable = 0
        """Peers reported unreachable: ICMP, connect failures, broken connections."""
        self.certificate_expires_at = float("inf")
        """Unix seconds of the first of our certificates to expire; 0: it has."""
        self.connections = dict.fromkeys(STREAMS, 0)
        """Open now, by transport."""
        self.connections_refused = 0
        """Connections not taken because of `connections_max`."""
        self.handshakes_failed: dict[str, int] = {failure.value: 0 for failure in HandshakeFailure}

        self.media = dict.fromkeys(MEDIA_RESULTS, 0)
        """Session descriptions for rtpengine, by what came of them."""

    @property
    def dropped(self) -> int:
        """Messages lost to a full queue, in either direction."""
        return self.dropped_in + self.dropped_out

    @property
    def connections_open(self) -> int:
        return sum(self.connections.values())
