"""How a phone's bytes go and come: one channel for each transport, blocking, a message at a time."""

from __future__ import annotations

import re
import socket
import ssl
from collections import deque
from typing import Protocol

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import Event, State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from config.listen import SECURE, WEBSOCKET, Certificate, Transport
from tests.certificates import authority
from tests.e2e.net import PATIENCE_S, Address

_LENGTH = re.compile(r"^Content-Length:\s*(\d+)", re.MULTILINE | re.IGNORECASE)
SERVER_NAME = "sip.example.com"


class Channel(Protocol):
    """To callgate and back."""

    socket: socket.socket

    def send(self, data: bytes) -> None: ...

    def receive(self) -> bytes:
        """The next whole message."""

    def close(self) -> None: ...


class Datagrams:
    """To who sent the last datagram; at first to callgate."""

    def __init__(self, sock: socket.socket, peer: Address) -> None:
        self.socket = sock
        self._peer = peer

    def send(self, data: bytes) -> None:
        self.socket.sendto(data, self._peer)

    def receive(self) -> bytes:
        data, self._peer = self.socket.recvfrom(65535)
        return data

    def close(self) -> None:
        self.socket.close()


class Stream:
    """TCP, or TLS on it."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._buffer = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> bytes:
        while True:
            head, blank, rest = self._buffer.partition(b"\r\n\r\n")
            found = _LENGTH.search(head.decode("latin-1"))
            length = int(found[1]) if found else 0
            if blank and len(rest) >= length:
                self._buffer = rest[length:]
                return head + blank + rest[:length]
            data = self.socket.recv(65535)
            assert data, "callgate closed the connection"
            self._buffer += data

    def close(self) -> None:
        self.socket.close()


class Frames:
    """WebSocket, on TCP or TLS. Without the library's own client: that reads in a thread while it writes in another,
    and one TLS connection does not bear that; in a hundred handshakes one hung."""

    def __init__(self, sock: socket.socket, port: int) -> None:
        self.socket = sock
        self._protocol = ClientProtocol(
            parse_uri(f"ws://{SERVER_NAME}:{port}/"), subprotocols=[Subprotocol("sip")]
        )
        self._events: deque[Event] = deque()
        self._protocol.send_request(self._protocol.connect())
        self._flush()
        answer = self._event()
        assert isinstance(answer, Response), answer
        assert self._protocol.handshake_exc is None, self._protocol.handshake_exc

    def send(self, data: bytes) -> None:
        self._protocol.send_text(data)
        self._flush()

    def receive(self) -> bytes:
        while True:
            frame = self._event()
            if isinstance(frame, Frame) and frame.opcode in (Opcode.TEXT, Opcode.BINARY):
                return bytes(frame.data)

    def close(self) -> None:
        if self._protocol.state is State.OPEN:
            self._protocol.send_close()
            self._flush()
        self.socket.close()

    def _event(self) -> Event:
        while not self._events:
            data = self.socket.recv(65535)
            assert data, "callgate closed the connection"
            self._protocol.receive_data(data)
            self._events += self._protocol.events_received()
            self._flush()
        return self._events.popleft()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            self.socket.sendall(data)


def open_channel(
    transport: Transport, local: Address, peer: Address, certificate: Certificate | None = None
) -> Channel:
    """`certificate`: shown over TLS when it is asked for."""
    family = socket.AF_INET6 if ":" in local[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM if transport == "UDP" else socket.SOCK_STREAM)
    sock.bind(local)
    sock.settimeout(PATIENCE_S)
    if transport == "UDP":
        return Datagrams(sock, peer)
    sock.connect(peer)
    if transport in SECURE:
        sock = _trusting(certificate).wrap_socket(sock, server_hostname=SERVER_NAME)
    return Frames(sock, peer[1]) if transport in WEBSOCKET else Stream(sock)


def accept(server: socket.socket, certificate: Certificate) -> Stream:
    """The next connection that somebody opens to us by TLS. Its client must show a certificate that the run knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority().path)
    server.settimeout(PATIENCE_S)
    sock, _ = server.accept()
    sock.settimeout(PATIENCE_S)
    return Stream(context.wrap_socket(sock, server_side=True))


def _trusting(certificate: Certificate | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority().path))
    if certificate is not None:
        context.load_cert_chain(certificate.certificate, certificate.key)
    return context
