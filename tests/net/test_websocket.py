"""WebSocket (RFC 7118, RFC 6455): who may come in, one message a message, and who is asked for a sign of life."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from config.listen import Tls, WebSocket
from config.schema import Bounds
from proxy.net import connection
from proxy.sip.flow import Flow
from proxy.sip.grammar import MESSAGE_MAX
from tests.certificates import Authority
from tests.net.test_tcp import Clockwork, ended, message
from tests.net.tools import Net, run

SIP = [Subprotocol("sip")]


def client(net: Net, scheme: str = "ws", **more: Any) -> AbstractAsyncContextManager[ClientConnection]:
    host, port = net.address()
    where = f"[{host}]" if ":" in host else host
    settings: dict[str, Any] = {
        "subprotocols": SIP,
        "ping_interval": None,
        "proxy": None,
        "compression": None,
    }
    return connect(f"{scheme}://{where}:{port}/", **{**settings, **more})


def failures(net: Net) -> dict[str, int]:
    return {kind: count for kind, count in net.network.counters.handshakes_failed.items() if count}


async def code_of(peer: ClientConnection, *steps: Awaitable[Any]) -> int:
    """The code the server closes with while this is done, or after it."""
    try:
        for step in steps:
            await step
        await peer.recv()
    except ConnectionClosed as closed:
        return 0 if closed.rcvd is None else closed.rcvd.code
    raise AssertionError("it stayed open")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_one_message_of_sip_is_one_of_websocket(host: str) -> None:
    async def main() -> None:
        async with Net(("WS", host)) as net, client(net) as peer:
            net.sink.on_message = lambda data, flow: net.send(flow, data)
            assert peer.subprotocol == "sip"
            whole = message(b"v=0\r\n")
            await peer.send(whole.decode())
            assert await peer.recv() == whole.decode()
            await peer.send(whole)
            # Text where it can be, whatever it came as; else binary (RFC 7118 §4.2).
            assert await peer.recv() == whole.decode()
            binary = message(b"\xff\x00")
            await peer.send(binary)
            assert await peer.recv() == binary
            await peer.send([whole[:10].decode(), whole[10:30].decode(), whole[30:].decode()])
            assert await peer.recv() == whole.decode()
            assert [data for data, _ in net.sink.messages] == [whole, whole, binary, whole]
            flow = net.sink.messages[0][1]
            assert (flow.transport, flow.host, flow.reliable) == ("WS", host, True)
            assert net.network.counters.connections["WS"] == 1
            await peer.close()
            await net.sink.until(lambda: net.sink.failed == [flow])
            assert net.network.counters.connections["WS"] == 0
            assert failures(net) == {}

    run(main())


def test_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = Tls(certificates=(authority.issue("a", "127.0.0.1"),))
    trusting = ssl.create_default_context(cafile=str(authority.path))

    async def main() -> None:
        async with Net(("WSS", "127.0.0.1"), tls=tls) as net, client(net, "wss", ssl=trusting) as peer:
            net.sink.on_message = lambda data, flow: net.send(flow, data)
            await peer.send(message().decode())
            assert await peer.recv() == message().decode()
            assert net.sink.messages[0][1].transport == "WSS"

    run(main())


def test_without_the_subprotocol_nobody_comes_in() -> None:
    async def main() -> None:
        async with Net(("WS", "127.0.0.1")) as net:
            for offered in (None, [Subprotocol("chat")]):
                with pytest.raises(InvalidStatus) as refused:
                    async with client(net, subprotocols=offered):
                        pass
                assert refused.value.response.status_code == 400
            assert failures(net) == {"upgrade": 2}

    run(main())


def test_origins() -> None:
    async def status(net: Net, origin: str | None) -> int:
        try:
            async with client(net, origin=None if origin is None else Origin(origin)):
                return 101
        except InvalidStatus as refused:
            return refused.response.status_code

    async def main() -> None:
        settings = WebSocket(origins=("https://phone.example.com",))
        async with Net(("WS", "127.0.0.1"), websocket=settings) as net:
            assert await status(net, "https://phone.example.com") == 101
            assert await status(net, "https://evil.example") == 403
            # No browser: it has no origin to tell.
            assert await status(net, None) == 101
            assert failures(net) == {"upgrade": 1}
        async with Net(("WS", "127.0.0.1")) as net:
            assert await status(net, "https://evil.example") == 101

    run(main())


def test_what_is_no_websocket_is_told_so() -> None:
    async def main() -> None:
        async with Net(("WS", "127.0.0.1")) as net:
            for sent, expected in (
                (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 426 "),
                (b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\n", b"HTTP/1.1 414 "),
                # Not even HTTP: nothing is said.
                (message(), b""),
                (b"\x16\x03\x01 what is this\r\n\r\n", b""),
            ):
                reader, writer = await asyncio.open_connection(*net.address())
                writer.write(sent)
                answer = await reader.read()
                assert answer.startswith(expected)
                assert bool(answer) == bool(expected)
                writer.close()
            assert failures(net) == {"upgrade": 4}
            assert net.sink.messages == []
            await net.sink.until(lambda: net.network.counters.connections["WS"] == 0)

    run(main())


def test_handshakes_are_bounded_in_time_and_number() -> None:
    async def main() -> None:
        async with Net(("WS", "127.0.0.1"), bounds=Bounds(handshakes_max=1, handshake=0.3)) as net:
            first, writer = await asyncio.open_connection(*net.address())
            writer.write(b"GET / HTTP/1.1\r\n")
            second, other = await asyncio.open_connection(*net.address())
            assert await ended(second)
            assert await ended(first)
            assert failures(net) == {"full": 1, "timeout": 1}
            async with client(net):
                pass
            writer.close()
            other.close()

    run(main())


def test_messages_are_bounded() -> None:
    async def main() -> None:
        async with Net(("WS", "127.0.0.1")) as net:
            for parts in (["x" * (MESSAGE_MAX + 1)], ["x" * 1000] * (MESSAGE_MAX // 1000 + 1)):
                async with client(net) as peer:
                    assert await code_of(peer, peer.send(parts)) == 1009
            async with client(net) as peer:
                # RFC 6455 §8.1: text that is none.
                assert await code_of(peer, peer.send(b"\xff", text=True)) == 1007
            assert net.sink.messages == []

    run(main())


def test_fragments_with_nothing_in_them_are_kept_by_nobody() -> None:
    async def main() -> None:
        async with Net(("WS", "127.0.0.1")) as net, client(net) as peer:
            await peer.send(["", *[""] * 1000, "OPTIONS ", "", "sip:a SIP/2.0\r\n\r\n", ""])
            await net.sink.until(lambda: bool(net.sink.messages))
            [(data, _)] = net.sink.messages
            assert data == b"OPTIONS sip:a SIP/2.0\r\n\r\n"

    run(main())


def test_keep_alives_of_either_kind_are_answered() -> None:
    async def main() -> None:
        async with Net(("WS", "127.0.0.1")) as net, client(net) as peer:
            await (await peer.ping())
            await peer.send("\r\n\r\n")
            assert await peer.recv() == "\r\n"
            assert net.sink.messages == []

    run(main())


def test_a_silent_client_is_asked_and_one_that_answers_stays() -> None:
    async def main() -> None:
        settings = WebSocket(ping=2.0)
        async with (
            Net(("WS", "127.0.0.1"), websocket=settings, bounds=Bounds(connection_idle=10.0)) as net,
            client(net) as peer,
        ):
            clock = Clockwork(net)
            await peer.send(message().decode())
            await net.sink.until(lambda: len(net.sink.messages) == 1)
            # It answers pings by itself, and so outlives the bound on idling by far.
            for _ in range(20):
                clock.sweep(3)
                await (await peer.ping())
            await peer.send(message().decode())
            await net.sink.until(lambda: len(net.sink.messages) == 2)
            # A machine that was switched off says nothing any more.
            peer.transport.pause_reading()
            clock.sweep(5)
            await net.sink.until(lambda: net.sink.failed == [net.sink.messages[0][1]])
            peer.transport.abort()

    run(main())


def test_a_client_that_proves_nothing_is_closed_early_though_it_answers() -> None:
    async def main() -> None:
        async with Net(("WS", "127.0.0.1"), websocket=WebSocket(ping=2.0)) as net, client(net) as peer:
            clock = Clockwork(net)
            for _ in range(29):
                clock.sweep(1)
                await (await peer.ping())
            clock.sweep(1)
            assert await code_of(peer) == 1001

    run(main())


def test_a_peer_that_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "WRITE_BUFFER_MAX", 100_000)

    async def main() -> None:
        async with Net(("WS", "127.0.0.1")) as net, client(net) as peer:
            await peer.send(message().decode())
            await net.sink.until(lambda: bool(net.sink.messages))
            flow = net.sink.messages[0][1]
            peer.transport.pause_reading()
            sent = 0
            while not net.sink.failed:
                net.send(flow, b"x" * 50_000)
                sent += 50_000
                await asyncio.sleep(0)
                assert sent < 100_000_000
            assert net.sink.failed[0] is flow
            peer.transport.abort()

    run(main())


def test_who_pings_and_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each ping has its pong: they piled up for as long as he went on."""
    monkeypatch.setattr(connection, "WRITE_BUFFER_MAX", 100_000)

    async def main() -> None:
        async with Net(("WS", "127.0.0.1")) as net, client(net) as peer:
            await peer.send(message().decode())
            await net.sink.until(lambda: bool(net.sink.messages))
            peer.transport.pause_reading()
            ping = b"\x89\xfdmask" + b"x" * 125
            sent = 0
            while not net.sink.failed:
                peer.transport.write(ping * 1000)
                sent += 1000
                await asyncio.sleep(0.001)
                assert sent < 200_000
            peer.transport.abort()

    run(main())


def test_nobody_is_connected_to() -> None:
    async def main() -> None:
        async with Net(("WS", "127.0.0.1")) as net, client(net) as peer:
            await peer.send(message().decode())
            await net.sink.until(lambda: bool(net.sink.messages))
            known: Flow = net.sink.messages[0][1]
            for flow in (net.flow("127.0.0.1", 9), net.flow(known.host, known.port)):
                net.send(flow, b"hello")
                assert net.sink.failed[-1] is flow

    run(main())
