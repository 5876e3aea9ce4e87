"""What peers write on TLS and WebSocket connections, whole or broken at any place.

The invariant: nothing raises, whatever comes after whatever; what is no message is never handed on as one; and once a
connection is closed nothing more is written to it or heard from it.
"""

from __future__ import annotations

import asyncio
import functools
import random
import ssl
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from config.listen import Tls
from config.schema import Bounds
from proxy.net.connection import Connection, PlainConnection
from proxy.net.handshakes import Handshakes
from proxy.net.security import Security
from proxy.net.sink import NetCounters
from proxy.net.tls import Secured
from proxy.net.websocket import WsConnection
from proxy.sip.flow import Flow, FlowTable, Local
from proxy.sip.message import ParseError
from tests.certificates import authority

MESSAGE = (
    b"OPTIONS sip:a@example.com SIP/2.0\r\nVia: SIP/2.0/WS a.invalid;branch=z9hG4bK1\r\n"
    b"From: <sip:a@example.com>;tag=1\r\nTo: <sip:a@example.com>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n"
    b"Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


class Wire:
    """The socket of a connection."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.closed = False

    def write(self, data: bytes, /) -> None:
        assert not self.closed, "written to after its end"
        self.written += data

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.7", 40000) if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


class Side:
    """Our end: owner and sink of one connection."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.table = FlowTable(Local("WSS", "192.0.2.1", 443, 4))
        self.heard: list[bytes] = []

    def opened(self, connection: Connection) -> Flow | None:
        return self.table.get("192.0.2.7", 40000, 1)

    def shuns(self, peer: tuple[Any, ...]) -> bool:
        return False

    def received(self, host: str, size: int, items: int) -> None:
        pass

    def arrived(self, host: str, cost: int) -> None:
        pass

    def lost(self, connection: Connection) -> None:
        pass

    def message(self, data: bytes, flow: Flow) -> None:
        self.heard.append(data)

    def flow_failed(self, flow: Flow) -> None:
        pass

    def in_use(self) -> set[Flow]:
        return set()

    def framing_failed(self, flow: Flow, error: ParseError) -> None:
        pass


@functools.cache
def security() -> Security:
    return Security(Tls(certificates=(authority().issue("fuzzed", "a.example"),)), NetCounters())


def handshakes(loop: asyncio.AbstractEventLoop) -> Handshakes:
    return Handshakes(Bounds(), loop, NetCounters())


def upgrade() -> bytes:
    """The request of a browser."""
    client = ClientProtocol(parse_uri("ws://a.example/"), subprotocols=[Subprotocol("sip")])
    client.send_request(client.connect())
    return b"".join(client.data_to_send())


def masked(opcode: int, data: bytes, fin: bool = True) -> bytes:
    """One frame of a client (RFC 6455 §5.2), mask 0."""
    length = len(data)
    head = bytes([opcode | (0x80 if fin else 0)])
    head += bytes([0x80 | length]) if length < 126 else bytes([0x80 | 126]) + length.to_bytes(2, "big")
    return head + bytes(4) + data


frames = st.one_of(
    st.binary(max_size=40),
    st.just(masked(1, MESSAGE)),
    st.builds(
        masked,
        st.sampled_from([0, 1, 2, 3, 8, 9, 10, 0x41]),
        st.one_of(st.binary(max_size=200), st.just(MESSAGE), st.just(b"\r\n\r\n")),
        st.booleans(),
    ),
)


@given(
    begins=st.sampled_from(["upgrade", "rubbish"]),
    parts=st.lists(frames, max_size=8),
    seed=st.integers(0, 1 << 30),
    answering=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_websocket(begins: str, parts: list[bytes], seed: int, answering: bool) -> None:
    data = (upgrade() if begins == "upgrade" else b"") + b"".join(parts)
    loop = asyncio.new_event_loop()
    side = Side()
    connection = WsConnection(side, side, handshakes(loop), None, 30.0)
    try:
        connection.stands(side.wire)
        for piece in pieces(data, seed):
            if side.wire.closed:
                break
            connection.data_received(piece)
            if answering and not side.wire.closed:
                connection.send(MESSAGE)
                connection.idled(16.0)
        if begins == "rubbish":
            assert side.heard == []
        if parts[:1] == [masked(1, MESSAGE)] and begins == "upgrade":
            assert side.heard[:1] == [MESSAGE]
        connection.connection_lost(None)
    finally:
        loop.close()


@given(
    parts=st.lists(st.one_of(st.binary(max_size=60), st.just(MESSAGE)), max_size=6),
    seed=st.integers(0, 1 << 30),
    broken=st.one_of(st.none(), st.integers(0, 4000)),
    version=st.sampled_from([ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]),
)
@settings(max_examples=150, deadline=None)
def test_tls(parts: list[bytes], seed: int, broken: int | None, version: ssl.TLSVersion) -> None:
    """A real client's records, one octet of them changed at `broken`."""
    loop = asyncio.new_event_loop()
    side = Side()
    secured = Secured(PlainConnection(side, side), security().accepting(None), handshakes(loop))
    context = ssl.create_default_context(cafile=str(authority().path))
    context.minimum_version = context.maximum_version = version
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="a.example")
    position = 0

    def pass_on() -> None:
        nonlocal position
        data = bytearray(outgoing.read())
        if broken is not None and position <= broken < position + len(data):
            data[broken - position] ^= 0x55
        position += len(data)
        for piece in pieces(bytes(data), seed):
            if not side.wire.closed:
                secured.data_received(piece)
        incoming.write(bytes(side.wire.written))
        side.wire.written.clear()

    try:
        secured.connection_made(side.wire)  # type: ignore[arg-type]
        try:
            for _ in range(4):
                try:
                    client.do_handshake()
                except ssl.SSLWantReadError:
                    pass_on()
            for part in parts:
                client.write(part)
            pass_on()
            client.unwrap()
        except ssl.SSLError:
            pass
        pass_on()
        if broken is None and parts[:1] == [MESSAGE]:
            assert side.heard[:1] == [MESSAGE]
        assert all(heard.endswith(b"\r\n\r\n") or b"Content-Length" in heard for heard in side.heard)
        secured.connection_lost(None)
    finally:
        loop.close()


def pieces(data: bytes, seed: int) -> list[bytes]:
    """Cut anywhere."""
    chance = random.Random(seed)
    found, at = [], 0
    while at < len(data):
        size = chance.choice((1, 7, 100, 5000))
        found.append(data[at : at + size])
        at += size
    return found
