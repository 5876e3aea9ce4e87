"""One stream connection: where messages end in it, its flow, and whether anything happens on it."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol, cast

from proxy.net.sink import Sink
from proxy.sip.flow import Flow
from proxy.sip.stream import PONG, FrameError, Framer, Keepalive

WRITE_BUFFER_MAX = 1 << 20
"""Bytes that wait for a peer that does not read; beyond that the connection is given up. Room for 1,000 messages."""


class Pipe(Protocol):
    """What a connection writes to: the socket itself, or the TLS above it (proxy.net.tls.Secured)."""

    def write(self, data: bytes, /) -> None: ...

    def close(self) -> None:
        """After what was written has left."""

    def abort(self) -> None: ...

    def is_closing(self) -> bool: ...

    def get_extra_info(self, name: str, default: Any = None) -> Any: ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...


class Owner(Protocol):
    """The listener a connection belongs to."""

    def opened(self, connection: Connection) -> Flow | None:
        """The connection's flow; None when there are too many connections already, or its peer is gone again."""

    def shuns(self, peer: tuple[Any, ...]) -> bool:
        """Nobody of this address is listened to; counted."""

    def received(self, host: str, size: int, items: int) -> None:
        """So much came in one read, made of so many messages. Who sends too much is shut out, the connection too."""

    def arrived(self, host: str, cost: int) -> None:
        """A client begins a connection or a handshake, which costs us as much as so many messages."""

    def lost(self, connection: Connection) -> None:
        """It is closed, whoever did it."""


class Connection(asyncio.Protocol):
    """Accepted or opened by us; once it stands there is no difference. Kinds differ in `data_received` and `send`."""

    __slots__ = (
        "_clogged",
        "_sink",
        "active",
        "dialled",
        "flow",
        "idle",
        "owner",
        "proven",
        "shared",
        "transport",
    )

    transport: Pipe
    flow: Flow

    def __init__(self, owner: Owner, sink: Sink, dialled: Flow | None = None) -> None:
        """`dialled`: the flow that we open it for."""
        self.owner = owner
        self._sink = sink
        self._clogged = False
        self.dialled = dialled
        self.active = True
        """Something whole came or left since the last sweep. Single bytes do not count, so trickling is idling."""
        self.idle = 0.0
        """Seconds without anything whole, as of the last sweep."""
        self.proven = dialled is not None
        """A whole message has come over it, or we opened it ourselves."""
        self.shared = dialled
        """The flow with conn = 0 that was sent over it, if any: it fails with the connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.stands(cast(asyncio.Transport, transport))

    def stands(self, transport: Pipe) -> None:
        """It can be written to from now on."""
        self.transport = transport
        flow = self.owner.opened(self)
        if flow is None:
            self.transport.abort()
            return
        self.flow = flow
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER_MAX)

    def connection_lost(self, exc: Exception | None) -> None:
        self.owner.lost(self)

    def send(self, data: bytes) -> None:
        """Write, or give the connection up when the peer has not read for WRITE_BUFFER_MAX bytes."""
        if self._clogged:
            self.transport.abort()
            return
        self.active = True
        self.transport.write(data)

    def end(self) -> None:
        """Close it, after what was sent."""
        self.transport.close()

    def idled(self, period: float) -> float:
        """A sweep: `period` seconds have gone by. How long nothing happened; infinite when the peer is found dead."""
        self.idle = 0.0 if self.active else self.idle + period
        self.active = False
        return self.idle

    def pause_writing(self) -> None:
        self._clogged = True

    def resume_writing(self) -> None:
        self._clogged = False


class PlainConnection(Connection):
    """SIP straight on the stream: TCP, and TLS above it."""

    __slots__ = ("_framer",)

    def __init__(self, owner: Owner, sink: Sink, dialled: Flow | None = None) -> None:
        super().__init__(owner, sink, dialled)
        self._framer = Framer()

    def data_received(self, data: bytes) -> None:
        items = self._framer.feed(data)
        if self.dialled is None:
            self.owner.received(self.flow.host, len(data), len(items))
            if self.transport.is_closing():
                return
        for item in items:
            if isinstance(item, bytes):
                self.active = self.proven = True
                self._sink.message(item, self.flow)
            elif isinstance(item, FrameError):
                self._sink.framing_failed(self.flow, item.error)
                self.transport.close()
                return
            else:
                self.active = True
                if item is Keepalive.PING:
                    # RFC 5626 §3.5.1: a double CRLF is answered with a single one.
                    self.send(PONG)
