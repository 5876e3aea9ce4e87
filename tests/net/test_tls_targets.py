"""TLS connections that we open: the target must prove its name, and nothing keeps us from it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

from config.listen import Certificate, Tls
from config.schema import Bounds
from proxy.sip.flow import Flow
from tests.certificates import Authority
from tests.net.test_tcp import ended, message
from tests.net.test_tls import HOST, NAME, failures, shown
from tests.net.tools import Net, run


class Server:
    """A peer that accepts TLS."""

    def __init__(self, certificate: Certificate, client_ca: Path | None = None) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate.certificate, certificate.key)
        if client_ca is not None:
            self.context.verify_mode = ssl.CERT_REQUIRED
            self.context.load_verify_locations(client_ca)
        self.streams: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()

    async def __aenter__(self) -> Server:
        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.streams.put_nowait((reader, writer))

        self.server = await asyncio.start_server(take, HOST, 0, ssl=self.context)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        while not self.streams.empty():
            self.streams.get_nowait()[1].close()


def named(net: Net, port: int, name: str) -> Flow:
    return net.bound[0].table.named(HOST, port, name)


def test_a_target_must_prove_its_name(authority: Authority, tls: Tls, tmp_path: Path) -> None:
    """RFC 5922 §7.3."""
    unknown = Authority(tmp_path, "unknown")

    async def main() -> None:
        async with (
            Net(("TLS", HOST), tls=tls) as net,
            Server(authority.issue("target", "provider.example"), authority.path) as server,
            Server(unknown.issue("self", "provider.example")) as stranger,
        ):
            flow = named(net, server.port, "provider.example")
            for data in (b"one", b"two"):
                net.send(flow, data)
            reader, writer = await server.streams.get()
            assert await reader.readexactly(6) == b"onetwo"
            # It asked for ours, too (RFC 3261 §26.3.1).
            assert shown(writer) == {NAME, HOST}
            net.send(flow, b"three")
            assert await reader.readexactly(5) == b"three"
            writer.write(message())
            await net.sink.until(lambda: bool(net.sink.messages))
            answered = net.sink.messages[0][1]
            assert answered.conn > 0
            # Another name at the same address is another peer, and here nobody (RFC 5923 §9.3); so is the address.
            for wrong in (
                named(net, server.port, "other.example"),
                net.flow(HOST, server.port),
                named(net, stranger.port, "provider.example"),
            ):
                net.send(wrong, b"hello")
                await net.sink.until(lambda wrong=wrong: wrong in net.sink.failed)  # type: ignore[misc]
            assert failures(net) == {"certificate": 3}
            assert server.streams.empty()
            writer.close()
            await net.sink.until(lambda: answered in net.sink.failed and flow in net.sink.failed)

    run(main())


def test_a_target_without_tls_fails(tls: Tls) -> None:
    async def main() -> None:
        with socket.create_server((HOST, 0)) as plain:
            async with Net(("TLS", HOST), tls=tls) as net:
                flow = net.flow(HOST, plain.getsockname()[1])
                net.send(flow, b"hello")
                accepted, _ = await asyncio.to_thread(plain.accept)
                accepted.sendall(b"SIP/2.0 400 What?\r\n\r\n")
                await net.sink.until(lambda: net.sink.failed == [flow])
                assert failures(net) == {"tls": 1}
                accepted.close()

    run(main())


def test_a_flood_of_handshakes_does_not_keep_us_from_a_target(authority: Authority, tls: Tls) -> None:
    async def main() -> None:
        bounds = Bounds(handshakes_max=1)
        async with (
            Net(("TLS", HOST), tls=tls, bounds=bounds) as net,
            Server(authority.issue("target", "provider.example")) as server,
        ):
            _, silent = await asyncio.open_connection(*net.address())
            reader, one_more = await asyncio.open_connection(*net.address())
            assert await ended(reader)
            net.send(named(net, server.port, "provider.example"), b"hello")
            theirs, _ = await server.streams.get()
            assert await theirs.readexactly(5) == b"hello"
            assert failures(net) == {"full": 1}
            for each in (silent, one_more):
                each.close()

    run(main())
