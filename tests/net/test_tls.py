"""TLS: who is whom, what is too old, what waits too long; and certificates that change while connections stand."""

from __future__ import annotations

import asyncio
import socket
import ssl
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.listen import Certificate, Tls
from config.schema import Bounds
from proxy.sip.flow import Flow
from tests.certificates import Authority
from tests.net.test_tcp import ended, message
from tests.net.tools import Net, run

HOST = "127.0.0.1"
NAME = "sip.example.com"


def client(authority: Authority, certificate: Certificate | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.path))
    if certificate is not None:
        context.load_cert_chain(certificate.certificate, certificate.key)
    return context


async def connect(
    net: Net, context: ssl.SSLContext, name: str = NAME
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(*net.address(), ssl=context, server_hostname=name)


def shown(writer: asyncio.StreamWriter) -> set[str]:
    """The names in the certificate of the other side."""
    certificate: Any = writer.get_extra_info("peercert")
    return {value for _, value in certificate["subjectAltName"]}


def failures(net: Net) -> dict[str, int]:
    return {kind: count for kind, count in net.network.counters.handshakes_failed.items() if count}


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_messages_come_and_go_as_over_tcp(host: str, tls: Tls, authority: Authority) -> None:
    async def main() -> None:
        async with Net(("TLS", host), tls=tls) as net:
            net.sink.on_message = lambda data, flow: net.send(flow, data)
            reader, writer = await connect(net, client(authority))
            whole = message(b"v=0\r\n" * 10_000)
            for piece in (whole[:10], whole[10:-3], whole[-3:] + whole):
                writer.write(piece)
                await writer.drain()
            assert await reader.readexactly(2 * len(whole)) == 2 * whole
            flow = net.sink.messages[0][1]
            assert (flow.transport, flow.host, flow.reliable) == ("TLS", host, True)
            assert flow.conn > 0
            assert net.network.counters.connections["TLS"] == 1
            writer.write(b"\r\n\r\n")
            assert await reader.readexactly(2) == b"\r\n"
            writer.close()
            await net.sink.until(lambda: net.sink.failed == [flow])
            assert net.network.counters.connections["TLS"] == 0
            assert failures(net) == {}

    run(main())


def test_closing_a_flow_writes_first_what_was_sent_and_says_so(tls: Tls, authority: Authority) -> None:
    async def main() -> None:
        async with Net(("TLS", HOST), tls=tls) as net:

            def answer_and_close(data: bytes, flow: Flow) -> None:
                net.send(flow, b"x" * 500_000)
                net.network.close_flow(flow)

            net.sink.on_message = answer_and_close

            def all_of_it() -> bytes:
                # Blocking, for uvloop's own client loses the end of what it has not read when it hears close_notify.
                with (
                    socket.create_connection(net.address()) as plain,
                    client(authority).wrap_socket(
                        plain, server_hostname=NAME, suppress_ragged_eofs=False
                    ) as peer,
                ):
                    peer.sendall(message())
                    # Cut off without close_notify this would raise.
                    return b"".join(iter(lambda: peer.recv(65536), b""))

            assert await asyncio.to_thread(all_of_it) == b"x" * 500_000

    run(main())


def test_tls_before_1_2_and_what_is_no_tls_do_not_get_in(tls: Tls, authority: Authority) -> None:
    """RFC 8996."""

    async def main() -> None:
        async with Net(("TLS", HOST), tls=tls) as net:
            old = client(authority)
            old.set_ciphers("ALL:@SECLEVEL=0")
            with warnings.catch_warnings():
                # Python calls them deprecated; that is what this is about.
                warnings.simplefilter("ignore", DeprecationWarning)
                old.minimum_version = ssl.TLSVersion.TLSv1
                old.maximum_version = ssl.TLSVersion.TLSv1_1
            with pytest.raises(ssl.SSLError):
                await connect(net, old)
            weak = client(authority)
            weak.maximum_version = ssl.TLSVersion.TLSv1_2
            weak.set_ciphers("AES128-SHA:@SECLEVEL=0")
            with pytest.raises(ssl.SSLError):
                await connect(net, weak)
            reader, writer = await asyncio.open_connection(*net.address())
            writer.write(message())
            await reader.read()
            assert failures(net) == {"tls": 3}
            assert net.sink.messages == []
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                context = client(authority)
                context.minimum_version = context.maximum_version = version
                _, good = await connect(net, context)
                good.close()
            writer.close()

    run(main())


def test_handshakes_are_bounded_in_time_and_number(tls: Tls, authority: Authority) -> None:
    async def main() -> None:
        bounds = Bounds(handshakes_max=2, handshake=0.3)
        async with Net(("TLS", HOST), tls=tls, bounds=bounds) as net:
            silent = [await asyncio.open_connection(*net.address()) for _ in range(3)]
            # The third is one too many, and gone at once; the others when their time is over.
            assert await ended(silent[2][0])
            assert failures(net) == {"full": 1}
            for reader, _ in silent:
                assert await ended(reader)
            assert failures(net) == {"full": 1, "timeout": 2}
            _, writer = await connect(net, client(authority))
            writer.write(message())
            await net.sink.until(lambda: bool(net.sink.messages))
            assert net.network.counters.connections["TLS"] == 1
            for _, each in silent:
                each.close()
            writer.close()

    run(main())


def test_one_address_cannot_have_all_the_handshakes(tls: Tls, authority: Authority) -> None:
    """Silent connections from one address locked everybody else out, who then waits for the next full house."""

    async def main() -> None:
        async with Net(("TLS", HOST), tls=tls, bounds=Bounds(handshakes_max=3, handshake=60)) as net:
            greedy = [
                await asyncio.open_connection(*net.address(), local_addr=("127.0.0.66", 0)) for _ in range(3)
            ]
            modest = await asyncio.open_connection(*net.address(), local_addr=("127.0.0.7", 0))
            # The oldest of those who have most makes room.
            assert await ended(greedy[0][0])
            _, writer = await connect(net, client(authority))
            assert await ended(greedy[1][0])
            # Who has as many as anybody waits like anybody.
            late = await asyncio.open_connection(*net.address(), local_addr=("127.0.0.66", 0))
            more = await asyncio.open_connection(*net.address(), local_addr=("127.0.0.66", 0))
            assert await ended(more[0])
            assert failures(net) == {"full": 3}
            for _, each in (*greedy, modest, late, more):
                each.close()
            writer.close()

    run(main())


def test_the_certificate_is_that_of_the_name_asked_for(authority: Authority) -> None:
    tls = Tls(
        certificates=(
            authority.issue("first", NAME),
            authority.issue("second", "sip.example.org", names=("sip.example.org",)),
            authority.issue("third", "*.example.net", names=("*.example.net",)),
        )
    )

    async def main() -> None:
        async with Net(("TLS", HOST), tls=tls) as net:
            for asked, expected in (
                (NAME, NAME),
                ("sip.example.org", "sip.example.org"),
                ("a.example.net", "*.example.net"),
            ):
                _, writer = await connect(net, client(authority), asked)
                assert shown(writer) == {expected}
                writer.close()
            context = client(authority)
            context.check_hostname = False
            _, writer = await connect(net, context, "nobody.example")
            assert shown(writer) == {NAME}
            writer.close()

    run(main())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_clients_show_a_certificate_where_one_is_wanted(
    tls: Tls, authority: Authority, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    stranger = Authority(tmp_path, "stranger").issue("foreign", "client.example.com")
    known = authority.issue("client", "client.example.com")

    async def answers(net: Net, certificate: Certificate | None) -> bool:
        context = client(authority, certificate)
        context.minimum_version = context.maximum_version = version
        try:
            reader, writer = await connect(net, context)
            writer.write(message())
            found = await reader.read(5)
            writer.close()
        except (ssl.SSLError, ConnectionError):
            return False
        return found == b"heard"

    async def main(verify: Any, expected: list[bool], counted: int) -> None:
        settings = tls.model_copy(update={"verify": verify, "client_ca": authority.path})
        async with Net(("TLS", HOST), tls=settings) as net:
            net.sink.on_message = lambda data, flow: net.send(flow, b"heard")
            assert [await answers(net, each) for each in (None, known, stranger)] == expected
            assert failures(net).get("certificate", 0) == counted

    run(main("none", [True, True, True], 0))
    run(main("optional", [True, True, False], 1))
    run(main("required", [False, True, False], 2))


def test_new_certificates_are_for_new_connections(authority: Authority, tls: Tls) -> None:
    async def main() -> None:
        async with Net(("TLS", HOST), tls=tls) as net:
            net.sink.on_message = lambda data, flow: net.send(flow, b"heard")
            reader, writer = await connect(net, client(authority))
            assert shown(writer) == {NAME, HOST}
            # The same files with other contents.
            authority.issue("first", "new.example.com")
            net.security.reload(tls)
            _, other = await connect(net, client(authority), "new.example.com")
            assert shown(other) == {"new.example.com"}
            writer.write(message())
            assert await reader.readexactly(5) == b"heard"
            # Files that are of no use change nothing.
            tls.certificates[0].certificate.write_text("nothing")
            with pytest.raises(OSError):
                net.security.reload(tls)
            _, third = await connect(net, client(authority), "new.example.com")
            for each in (writer, other, third):
                each.close()

    run(main())


def test_the_shunned_get_no_handshake(tls: Tls, authority: Authority) -> None:
    async def main() -> None:
        async with Net(("TLS", HOST), tls=tls) as net:
            net.network.shun(HOST)
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await connect(net, client(authority))
            assert net.network.door.refused == 1
            assert failures(net) == {}
            net.network.unshun(HOST)
            _, writer = await connect(net, client(authority))
            writer.close()

    run(main())


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def test_records_may_come_in_any_pieces(tls: Tls, authority: Authority) -> None:
    async def main() -> None:
        async with Net(("TLS", HOST), tls=tls) as net:
            net.sink.on_message = lambda data, flow: net.send(flow, data)
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            peer = client(authority).wrap_bio(incoming, outgoing, server_hostname=NAME)
            reader, writer = await asyncio.open_connection(*net.address())

            async def exchange() -> None:
                for piece in pieces(outgoing.read(), 7):
                    writer.write(piece)
                    await writer.drain()
                incoming.write(await reader.read(65536))

            while True:
                try:
                    peer.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    await exchange()
            peer.write(message())
            heard = b""
            while heard != message():
                await exchange()
                try:
                    heard += peer.read(65536)
                except ssl.SSLWantReadError:
                    continue
            writer.close()

    run(main())
