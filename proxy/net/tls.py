"""TLS between a socket and a connection: to the socket a protocol, to the connection what it writes to.

Python's ssl does the work, on buffers in memory (SSLObject and two BIOs), not asyncio's or uvloop's transport around
them: those do not say that a handshake failed or why, let nobody bound how many are under way, and keep one context
for the life of a listener, where ours changes with each reload.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, cast

from proxy.net.connection import WRITE_BUFFER_MAX, Connection
from proxy.net.handshakes import Handshakes
from proxy.net.sink import HandshakeFailure

RECORD_MAX = 16384
"""Octets taken out of the TLS at one go: RFC 8446 §5.1, as many as a record has at most."""

OWN_WORDS_MAX = 1024
"""Octets that TLS may have to say of its own after so much was read. RFC 8446 §5.5 has keys changed after some 2**24
records; a peer that has us change ours more than 30 times in one does nothing else, and each costs us 20 µs."""

HANDSHAKE_COST = 4
"""Messages that a client's handshake counts for when floods are looked for: it takes a signature of ours."""

_SPEAKS_OF_CERTIFICATES = ("CERTIFICATE", "UNKNOWN_CA", "BAD_CERT")


class Secured(asyncio.Protocol):
    """The TLS of one connection, which learns of it (`stands`) once the handshake is over."""

    __slots__ = (
        "_connection",
        "_handshakes",
        "_incoming",
        "_outgoing",
        "_shaking",
        "_socket",
        "_tls",
        "ready",
    )

    _socket: asyncio.Transport

    def __init__(
        self,
        connection: Connection,
        context: ssl.SSLContext,
        handshakes: Handshakes,
        server_name: str | None = None,
        ready: asyncio.Future[None] | None = None,
    ) -> None:
        """`server_name`: who must be there, on a connection that we open; then `ready` is told how it went."""
        self._connection = connection
        self._handshakes = handshakes
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_name is None, server_hostname=server_name
        )
        self._shaking = False
        self.ready = ready

    # To the socket ----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        if self.ready is None:
            owner = self._connection.owner
            if peer is not None:
                owner.arrived(peer[0], HANDSHAKE_COST)
            if peer is None or owner.shuns(peer):
                # Before its handshake has cost us a signature.
                self._socket.abort()
                return
        host = peer[0] if self.ready is None and peer is not None else ""
        if not self._handshakes.begin(self, host):
            self._socket.abort()
            return
        self._shaking = True
        self._shake()

    def data_received(self, data: bytes) -> None:
        for at in range(0, len(data), RECORD_MAX):
            self._incoming.write(data[at : at + RECORD_MAX])
            if self._shaking:
                self._shake()
            if self._socket.is_closing():
                return
            if not self._shaking:
                self._read()

    def eof_received(self) -> None:
        # Without a close_notify before it, that is; TLS has no half-closed connections worth keeping.
        self._socket.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._handshakes.failed(self, HandshakeFailure.GONE)
        if self.ready is not None and not self.ready.done():
            self.ready.set_exception(exc or ConnectionResetError("closed in the middle of the handshake"))
        if hasattr(self._connection, "transport"):
            self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()

    # To the connection ------------------------------------------------------------------------------------------------

    def write(self, data: bytes, /) -> None:
        """Pipe."""
        if self._socket.is_closing():
            return
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._tls.write(rest) :]
        except ssl.SSLError:
            self._socket.abort()
            return
        self._flush()

    def close(self) -> None:
        """Pipe."""
        if self._socket.is_closing():
            return
        try:
            # RFC 8446 §6.1: close_notify, so that the peer knows nothing was cut off. Its own is not waited for.
            self._tls.unwrap()
        except ssl.SSLError:
            pass
        self._flush()
        self._socket.close()

    def abort(self) -> None:
        """Pipe."""
        self._socket.abort()

    def is_closing(self) -> bool:
        """Pipe."""
        return self._socket.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Pipe."""
        return self._socket.get_extra_info(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Pipe."""
        self._socket.set_write_buffer_limits(high=high, low=low)

    # Inside -----------------------------------------------------------------------------------------------------------

    def give_up(self) -> None:
        """Shaking."""
        self._shaking = False
        self._socket.abort()

    def _shake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except (ssl.SSLError, ValueError) as error:
            # ValueError: a server name that is none. The alert that says why goes out before the end.
            self._flush()
            self._shaking = False
            self._handshakes.failed(self, _failure_of(error))
            if self.ready is not None and not self.ready.done():
                self.ready.set_exception(error)
            self._socket.close()
            return
        self._shaking = False
        self._handshakes.done(self)
        self._flush()
        self._connection.stands(self)
        if self.ready is not None and not self.ready.done():
            self.ready.set_result(None)

    def _read(self) -> None:
        while True:
            try:
                data = self._tls.read(RECORD_MAX)
            except ssl.SSLWantReadError:
                # What TLS itself has to say: new keys, an answer to the peer's.
                if self._outgoing.pending > OWN_WORDS_MAX or self._unread() > WRITE_BUFFER_MAX:
                    self._socket.abort()
                    return
                self._flush()
                return
            except ssl.SSLError as error:
                # A peer that says close_notify, or whose records are no TLS.
                self._flush()
                if isinstance(error, ssl.SSLZeroReturnError):
                    self.close()
                else:
                    self._socket.abort()
                return
            if not data:
                self.close()
                return
            self._connection.data_received(data)
            if self._socket.is_closing():
                return

    def _unread(self) -> int:
        return self._socket.get_write_buffer_size() if self._outgoing.pending else 0

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._socket.write(self._outgoing.read())


def _failure_of(error: Exception) -> HandshakeFailure:
    reason = getattr(error, "reason", None) or ""
    if isinstance(error, ssl.SSLCertVerificationError) or any(
        word in reason for word in _SPEAKS_OF_CERTIFICATES
    ):
        return HandshakeFailure.CERTIFICATE
    return HandshakeFailure.TLS
