"""SIP over WebSocket (RFC 7118): the server's side, on TCP or on TLS. One message of SIP is one of WebSocket.

The library `websockets` speaks RFC 6455 here, without its own I/O: upgrade, origin, masks, fragments, close codes.
A browser cannot be connected to, so there is no client's side: what goes to one goes over the connection it opened.
"""

from __future__ import annotations

import logging
from typing import Final

from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Origin, Subprotocol

from config.listen import WebSocket
from proxy.net.connection import Connection, Owner, Pipe
from proxy.net.handshakes import Handshakes
from proxy.net.sink import HandshakeFailure, Sink
from proxy.sip.grammar import MESSAGE_MAX
from proxy.sip.stream import PONG

SUBPROTOCOL: Final = Subprotocol("sip")
"""RFC 7118 §4.1."""

_NEVER_ANSWERED: Final = float("inf")

# Its lines are about single connections; what goes wrong we count.
_SILENT = logging.getLogger("callgate.websockets")
_SILENT.disabled = True


def allowed(settings: WebSocket) -> list[Origin | None] | None:
    """`websocket.origins` as the library wants it. None in it: no Origin at all, so no browser (RFC 6455 §10.2)."""
    if "*" in settings.origins:
        return None
    return [*(Origin(origin) for origin in settings.origins), None]


class WsConnection(Connection):
    """One client's."""

    __slots__ = ("_handshakes", "_parts", "_ping_after", "_pinged", "_protocol", "_silent")

    def __init__(
        self,
        owner: Owner,
        sink: Sink,
        handshakes: Handshakes,
        origins: list[Origin | None] | None,
        ping: float,
    ) -> None:
        super().__init__(owner, sink)
        self._handshakes = handshakes
        self._protocol = ServerProtocol(
            origins=origins, subprotocols=[SUBPROTOCOL], max_size=MESSAGE_MAX, logger=_SILENT
        )
        self._parts: list[bytes] = []
        """Of a message that comes in fragments; together at most MESSAGE_MAX, the library sees to that."""
        self._ping_after = ping
        self._pinged = False
        self._silent = 0.0
        """Seconds since something came, as of the last sweep."""

    # From below -------------------------------------------------------------------------------------------------------

    def stands(self, transport: Pipe) -> None:
        """Connection. The upgrade is still to come."""
        super().stands(transport)
        if not transport.is_closing() and not self._handshakes.begin(self, self.flow.host):
            transport.abort()

    def data_received(self, data: bytes) -> None:
        protocol = self._protocol
        if protocol.eof_sent:
            return
        self._silent = 0.0
        protocol.receive_data(data)
        events = protocol.events_received()
        self.owner.received(self.flow.host, len(data), len(events))
        if self.transport.is_closing():
            return
        for event in events:
            if isinstance(event, Request):
                self._upgrade(event)
            elif isinstance(event, Frame):
                self._frame(event)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._handshakes.failed(self, HandshakeFailure.GONE)
        super().connection_lost(exc)

    # From above -------------------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Connection. One message; text where it can be one (RFC 7118 §4.2), for that is what browsers show."""
        protocol = self._protocol
        if self._clogged:
            self.transport.abort()
            return
        if protocol.state is not State.OPEN:
            return
        self.active = True
        if _is_text(data):
            protocol.send_text(data)
        else:
            protocol.send_binary(data)
        self._flush()

    def end(self) -> None:
        """Connection."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(CloseCode.GOING_AWAY)
            self._flush()
        self.transport.close()

    def idled(self, period: float) -> float:
        """Connection. RFC 7118 §6: a browser's script cannot ping, so we do; who does not answer is gone."""
        self._silent += period
        if self._pinged and self._silent >= 2 * self._ping_after:
            return _NEVER_ANSWERED
        if not self._pinged and self._silent >= self._ping_after and self._protocol.state is State.OPEN:
            self._pinged = True
            self._protocol.send_ping(b"")
            self._flush()
        return super().idled(period)

    def give_up(self) -> None:
        """Shaking."""
        self.transport.abort()

    # Inside -----------------------------------------------------------------------------------------------------------

    def _upgrade(self, request: Request) -> None:
        protocol = self._protocol
        protocol.send_response(protocol.accept(request))
        if protocol.state is State.OPEN:
            self._handshakes.done(self)
        else:
            self._handshakes.failed(self, HandshakeFailure.UPGRADE)

    def _frame(self, frame: Frame) -> None:
        opcode = frame.opcode
        # Whatever came, the peer is there.
        self._pinged = False
        if opcode is Opcode.TEXT or opcode is Opcode.BINARY or opcode is Opcode.CONT:
            data = bytes(frame.data)
            if opcode is Opcode.TEXT and frame.fin and not _is_text(data):
                # RFC 6455 §8.1.
                self._protocol.fail(CloseCode.INVALID_DATA)
            elif frame.fin and not self._parts:
                self._message(data)
            else:
                if data:
                    # Of those with nothing in them there may be any number.
                    self._parts.append(data)
                if frame.fin:
                    data = b"".join(self._parts)
                    self._parts.clear()
                    self._message(data)
        elif opcode is not Opcode.CLOSE and self.proven:
            # A browser whose page does nothing for hours is registered all the same.
            self.active = True

    def _message(self, data: bytes) -> None:
        if data.strip(b"\r\n"):
            self.active = self.proven = True
            self._sink.message(data, self.flow)
        elif len(data) >= 4:
            # RFC 5626 §3.5.1 for clients that do here as on TCP.
            self.active = True
            self.send(PONG)

    def _flush(self) -> None:
        if self._clogged:
            # Pongs, for who does not read them.
            self.transport.abort()
        for data in self._protocol.data_to_send():
            if self.transport.is_closing():
                # Frames that came before the one that ended it are still answered by the library.
                return
            if data:
                self.transport.write(data)
            else:
                # RFC 6455 §7.1.1: the server closes first.
                if self._protocol.handshake_exc is not None:
                    self._handshakes.failed(self, HandshakeFailure.UPGRADE)
                self.transport.close()
                return


def _is_text(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
