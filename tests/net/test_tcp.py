"""Streams: framed into messages, opened on demand, reused, bounded, and closed when nothing comes of them."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from config.schema import Bounds
from proxy.net import connection, tcp
from proxy.sip.message import ErrorKind
from tests.net.tools import Net, run


def message(body: bytes = b"", method: str = "OPTIONS") -> bytes:
    return (
        f"{method} sip:a@example.com SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK1\r\n"
        "From: <sip:a@example.com>;tag=1\r\nTo: <sip:a@example.com>\r\nCall-ID: 1\r\n"
        f"CSeq: 1 {method}\r\nMax-Forwards: 70\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


KEEPALIVES = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)


async def ended(reader: asyncio.StreamReader) -> bool:
    """Whether the connection ends with nothing more to read. What we had not read when we closed makes it a reset."""
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True


class Server:
    """A peer that accepts; what it reads is in `read`, message after message of a known size."""

    def __init__(self) -> None:
        self.streams: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()

    async def __aenter__(self) -> Server:
        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.streams.put_nowait((reader, writer))

        self.server = await asyncio.start_server(take, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        while not self.streams.empty():
            self.streams.get_nowait()[1].close()


@pytest.mark.rfc3261("18-2")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_message_in_three_pieces_is_one_and_two_in_one_are_two(host: str) -> None:
    async def main() -> None:
        async with Net(("TCP", host)) as net:
            net.sink.on_message = lambda data, flow: net.send(flow, data)
            reader, writer = await asyncio.open_connection(*net.address())
            whole = message(b"v=0\r\n")
            for piece in (whole[:10], whole[10:-3], whole[-3:] + whole + whole):
                writer.write(piece)
                await writer.drain()
            assert await reader.readexactly(3 * len(whole)) == 3 * whole
            assert [data for data, _ in net.sink.messages] == [whole] * 3
            flow = net.sink.messages[0][1]
            assert flow.reliable
            assert flow.host == host
            assert flow.conn > 0
            assert all(flow is other for _, other in net.sink.messages)
            writer.close()

    run(main())


def test_a_double_crlf_is_answered_with_one() -> None:
    async def main() -> None:
        async with Net(("TCP", "127.0.0.1")) as net:
            reader, writer = await asyncio.open_connection(*net.address())
            writer.write(b"\r\n\r\n")
            assert await reader.readexactly(2) == b"\r\n"
            assert net.sink.messages == []
            writer.close()

    run(main())


def test_what_cannot_be_framed_is_told_and_closed_after_the_answer() -> None:
    async def main() -> None:
        async with Net(("TCP", "127.0.0.1")) as net:
            reader, writer = await asyncio.open_connection(*net.address())
            writer.write(message().replace(b"Content-Length: 0\r\n", b"") + message())
            await net.sink.until(lambda: bool(net.sink.unframed))
            ((flow, error),) = net.sink.unframed
            assert error.kind is ErrorKind.MISSING
            assert await reader.read() == b""
            await net.sink.until(lambda: bool(net.sink.failed))
            assert net.sink.failed == [flow]
            assert net.sink.messages == []
            writer.close()

    run(main())


@pytest.mark.rfc3261("18.1.1-7")
def test_a_peer_is_connected_to_once_and_what_waited_comes_in_order() -> None:
    async def main() -> None:
        async with Net(("TCP", "127.0.0.1")) as net, Server() as server:
            flow = net.flow("127.0.0.1", server.port)
            for data in (b"one", b"two"):
                net.send(flow, data)
            reader, writer = await server.streams.get()
            assert await reader.readexactly(6) == b"onetwo"
            net.send(flow, b"three")
            assert await reader.readexactly(5) == b"three"
            assert server.streams.empty()
            # What the peer says comes over a flow that names the connection, so an answer cannot go astray.
            writer.write(message())
            await net.sink.until(lambda: bool(net.sink.messages))
            answered = net.sink.messages[0][1]
            assert answered.conn > 0
            assert (answered.host, answered.port) == (flow.host, flow.port)
            net.send(answered, b"four")
            assert await reader.readexactly(4) == b"four"
            # When it breaks, both names of it fail.
            writer.close()
            await net.sink.until(lambda: len(net.sink.failed) == 2)
            assert set(net.sink.failed) == {flow, answered}
            writer.close()

    run(main())


def test_an_accepted_connection_is_used_for_what_goes_to_that_peer() -> None:
    async def main() -> None:
        async with Net(("TCP", "127.0.0.1")) as net:
            reader, writer = await asyncio.open_connection(*net.address())
            writer.write(message())
            await net.sink.until(lambda: bool(net.sink.messages))
            port = writer.get_extra_info("sockname")[1]
            net.send(net.flow("127.0.0.1", port), b"hello")
            assert await reader.readexactly(5) == b"hello"
            writer.close()

    run(main())


@pytest.mark.rfc3261("18.4-3")
def test_nobody_there_fails_the_flow() -> None:
    async def main() -> None:
        async with Net(("TCP", "127.0.0.1")) as net:
            with socket.socket() as gone:
                gone.bind(("127.0.0.1", 0))
                port = gone.getsockname()[1]
            for host, number in (("127.0.0.1", port), ("127.0.0.1", 70000), ("no\0host", 5060)):
                flow = net.flow(host, number)
                net.send(flow, b"hello")
                await net.sink.until(lambda flow=flow: flow in net.sink.failed)  # type: ignore[misc]
            assert net.sink.failed.count(net.flow("127.0.0.1", port)) == 1

    run(main())


def test_a_flow_whose_connection_is_gone_fails_and_opens_nothing() -> None:
    async def main() -> None:
        async with Net(("TCP", "127.0.0.1")) as net, Server() as server:
            flow = net.flow("127.0.0.1", server.port, conn=77)
            net.send(flow, b"hello")
            assert net.sink.failed == [flow]
            assert server.streams.empty()

    run(main())


def test_closing_a_flow_writes_first_what_was_sent() -> None:
    async def main() -> None:
        async with Net(("TCP", "127.0.0.1")) as net:

            def answer_and_close(data: bytes, flow: object) -> None:
                net.send(net.sink.messages[0][1], b"x" * 500_000)
                net.network.close_flow(net.sink.messages[0][1])

            net.sink.on_message = answer_and_close
            reader, writer = await asyncio.open_connection(*net.address())
            writer.write(message())
            assert await reader.read(-1) == b"x" * 500_000
            writer.close()

    run(main())


def test_a_peer_that_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "WRITE_BUFFER_MAX", 100_000)

    async def main() -> None:
        async with Net(("TCP", "127.0.0.1")) as net:
            _, writer = await asyncio.open_connection(*net.address(), limit=1000)
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(message())
            await net.sink.until(lambda: bool(net.sink.messages))
            flow = net.sink.messages[0][1]
            sent = 0
            while not net.sink.failed:
                net.send(flow, b"x" * 50_000)
                sent += 50_000
                await asyncio.sleep(0)
                assert sent < 100_000_000
            assert net.sink.failed[0] is flow
            writer.close()

    run(main())


def test_connections_are_bounded() -> None:
    async def main() -> None:
        async with Net(("TCP", "127.0.0.1"), bounds=Bounds(connections_max=1)) as net, Server() as server:
            _, first = await asyncio.open_connection(*net.address())
            first.write(message())
            await net.sink.until(lambda: bool(net.sink.messages))
            reader, second = await asyncio.open_connection(*net.address())
            assert await ended(reader)
            flow = net.flow("127.0.0.1", server.port)
            net.send(flow, b"hello")
            assert net.sink.failed == [flow]
            assert net.network.counters.connections_refused == 2
            assert net.network.counters.connections_open == 1
            first.close()
            await net.sink.until(lambda: len(net.sink.failed) == 2)
            assert net.network.counters.connections_open == 0
            second.close()

    run(main())


def test_one_address_cannot_have_all_the_connections() -> None:
    async def main() -> None:
        async with Net(("TCP", "127.0.0.1"), bounds=Bounds(connections_max=3)) as net, Server() as server:

            async def opened(host: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
                return await asyncio.open_connection(*net.address(), local_addr=(host, 0))

            greedy = [await opened("127.0.0.66") for _ in range(3)]
            greedy[0][1].write(message())
            await net.sink.until(lambda: bool(net.sink.messages))
            # Of those who have most, who has said nothing goes first; and so it is for what we open ourselves.
            modest = await opened("127.0.0.7")
            assert await ended(greedy[1][0])
            net.send(net.flow("127.0.0.1", server.port), b"hello")
            assert await ended(greedy[2][0])
            # Who has as many as anybody waits like anybody.
            assert await ended((await opened("127.0.0.66"))[0])
            modest[1].write(message())
            await net.sink.until(lambda: len(net.sink.messages) == 2)
            assert not greedy[0][0].at_eof()

    run(main())


class Clockwork:
    """Sweeps when told, not by the clock."""

    def __init__(self, net: Net) -> None:
        sender = net.network.senders[net.bound[0].local]
        self.socket: tcp.TcpSocket = sender.__self__  # type: ignore[attr-defined]

    def sweep(self, times: int) -> None:
        for _ in range(times):
            self.socket._sweeper.cancel()
            self.socket._sweep()


def test_a_connection_that_says_nothing_whole_is_closed_early() -> None:
    """Thirty seconds for the first message; single bytes do not count, keep-alives alone neither for ever."""

    async def main() -> None:
        async with Net(("TCP", "127.0.0.1")) as net:
            clock = Clockwork(net)
            reader, writer = await asyncio.open_connection(*net.address())
            writer.write(b"\r\n\r\n")
            await reader.readexactly(2)
            clock.sweep(1)
            writer.write(b"INVITE sip:")
            await writer.drain()
            clock.sweep(2)
            assert await ended(reader)
            writer.close()

    run(main())


def test_an_idle_connection_is_closed_and_one_in_use_is_not() -> None:
    async def main() -> None:
        async with Net(("TCP", "127.0.0.1"), bounds=Bounds(connection_idle=60.0)) as net:
            clock = Clockwork(net)
            reader, writer = await asyncio.open_connection(*net.address())
            for turn in range(1, 5):
                writer.write(message())
                await net.sink.until(lambda turn=turn: len(net.sink.messages) == turn)  # type: ignore[misc]
                clock.sweep(4)
            flow = net.sink.messages[0][1]
            net.send(flow, b"still there")
            assert await reader.readexactly(11) == b"still there"
            clock.sweep(5)
            assert await reader.read() == b""
            await net.sink.until(lambda: net.sink.failed == [flow])
            writer.close()

    run(main())


@pytest.mark.rfc3261("18-1")
def test_an_idle_connection_is_kept_while_a_transaction_goes_by_it() -> None:
    async def main() -> None:
        async with Net(("TCP", "127.0.0.1"), bounds=Bounds(connection_idle=10.0)) as net, Server() as server:
            clock = Clockwork(net)
            reader, writer = await asyncio.open_connection(*net.address())
            writer.write(message())
            await net.sink.until(lambda: len(net.sink.messages) == 1)
            accepted = net.sink.messages[0][1]
            dialled = net.flow("127.0.0.1", server.port)
            net.send(dialled, b"request")
            there, _ = await server.streams.get()
            assert await there.readexactly(7) == b"request"
            net.sink.used = {accepted, dialled}
            clock.sweep(100)
            net.send(accepted, b"late answer")
            assert await reader.readexactly(11) == b"late answer"
            net.sink.used = {dialled}
            clock.sweep(6)
            assert await reader.read() == b""
            net.send(dialled, b"again")
            assert await there.readexactly(5) == b"again"
            net.sink.used = set()
            clock.sweep(6)
            assert await there.read() == b""
            writer.close()

    run(main())


def test_the_kernel_looks_for_peers_that_have_vanished() -> None:
    """What is in use is never closed as idle, and a peer that lost its power says no FIN."""

    async def main() -> None:
        async with Net(("TCP", "127.0.0.1")) as net, Server() as server:
            _, writer = await asyncio.open_connection(*net.address())
            writer.write(message())
            await net.sink.until(lambda: len(net.sink.messages) == 1)
            net.send(net.flow("127.0.0.1", server.port), b"request")
            await server.streams.get()
            pipes = [one.transport for one in Clockwork(net).socket._by_number.values()]
            for sock in [pipe.get_extra_info("socket") for pipe in pipes]:
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                found = [sock.getsockopt(socket.IPPROTO_TCP, option) for option in KEEPALIVES]
                assert found == [tcp.KEEPALIVE_AFTER, tcp.KEEPALIVE_EVERY, tcp.KEEPALIVE_COUNT]
            assert len(pipes) == 2
            writer.close()

    run(main())


def test_after_close_nothing_is_told_and_the_port_is_free() -> None:
    async def main() -> None:
        async with Net(("TCP", "127.0.0.1")) as net:
            address = net.address()
            reader, writer = await asyncio.open_connection(*address)
            writer.write(message())
            await net.sink.until(lambda: bool(net.sink.messages))
        assert await reader.read() == b""
        with socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(address)
            again.listen()
        assert net.sink.failed == []
        writer.close()

    run(main())


def test_a_connection_that_is_reset_before_we_accept_it_is_nothing() -> None:
    # Story: it had no peer any more, which raised in the middle of accepting.
    async def main() -> None:
        problems: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        async with Net(("TCP", "127.0.0.1")) as net:
            with socket.create_connection(net.address()) as peer:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            _, writer = await asyncio.open_connection(*net.address())
            writer.write(message())
            await net.sink.until(lambda: bool(net.sink.messages))
            assert net.network.counters.connections_open == 1
            writer.close()
        assert problems == []

    run(main())
