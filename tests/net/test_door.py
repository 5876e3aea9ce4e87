"""Who is shut out is dropped before anybody parses it, and who floods is found by sampling."""

from __future__ import annotations

import asyncio
import socket

import pytest

from config.listen import Transport
from proxy.net.door import ARRIVALS_OVER, EVERY, SAMPLED_MAX, Door
from proxy.net.tls import HANDSHAKE_COST
from tests.net.tools import Net, run


def test_a_flood_is_told_of_once_a_period() -> None:
    told: list[str] = []
    door = Door(1000, 1.0, told.append)
    # 1,000 a second are 15 samples of 64; the ordinary sender beside it has one in ten.
    for n in range(100):
        door.sample("203.0.113.66" if n % 10 else "192.0.2.1", n / 200)
    assert told == ["203.0.113.66"]
    for n in range(100):
        door.sample("203.0.113.66", 2 + n / 200)
    assert told == ["203.0.113.66"] * 2


def test_who_sends_less_is_not_told_of() -> None:
    told: list[str] = []
    door = Door(1000, 1.0, told.append)
    for n in range(1000):
        # 14 samples a second are some 900 datagrams.
        door.sample("203.0.113.66", n / 14)
    assert not told


def test_no_threshold_no_counting_and_the_table_is_bounded() -> None:
    told: list[str] = []
    off = Door(0, 1.0, told.append)
    on = Door(1000, 1.0, told.append)
    for n in range(3 * SAMPLED_MAX):
        off.sample("203.0.113.66", 1.0)
        on.sample(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", 1.0)
    assert not told
    assert len(on._messages) <= SAMPLED_MAX


def test_of_ipv6_a_site_is_one_sender_and_may_be_shunned_as_a_whole() -> None:
    told: list[str] = []
    door = Door(1000, 1.0, told.append)
    for n in range(16):
        door.sample(f"2001:db8::{n:x}", 1.0)
    assert told == ["2001:db8::/64"]
    door.shunned = {"2001:db8::/64", "2001:db8:0:2::1", "192.0.2.1"}
    hosts = ["2001:db8::5", "2001:db8:0:1::5", "2001:db8:0:2::1", "2001:db8:0:2::2", "192.0.2.1", "192.0.2.2"]
    assert [host for host in hosts if door.shuns(host)] == ["2001:db8::5", "2001:db8:0:2::1", "192.0.2.1"]


def test_a_busy_neighbour_of_the_same_site_is_told_of_by_its_own_address() -> None:
    """A phone in the /64 of a trunk was shut out for what the trunk had sent, whenever its datagram was the sample."""
    told: list[str] = []
    door = Door(1000, 1.0, told.append)
    for _ in range(14):
        door.sample("2001:db8::10", 1.0)
    door.sample("2001:db8::5", 1.0)
    door.sample("2001:db8::5", 1.0)
    # The guard knows whether the site may be taken as a whole.
    assert told == ["2001:db8::/64"]
    for _ in range(16):
        door.sample("2001:db8::10", 3.0)
    assert told == ["2001:db8::/64", "2001:db8::10"]


def test_datagrams_of_the_shunned_are_dropped_and_those_of_others_come() -> None:
    told: list[str] = []

    async def main() -> None:
        door = Door(EVERY, 10.0, told.append)
        async with Net(("UDP", "127.0.0.1"), door=door) as net:
            recorder, network, address = net.sink, net.network, net.address()
            with (
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bad,
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as good,
            ):
                bad.bind(("127.0.0.66", 0))
                good.bind(("127.0.0.5", 0))
                network.shun("127.0.0.66")
                for _ in range(3 * EVERY):
                    bad.sendto(b"no", address)
                good.sendto(b"yes", address)
                await recorder.until(lambda: bool(recorder.messages))
                assert [data for data, _ in recorder.messages] == [b"yes"]
                assert door.refused == 3 * EVERY
                # It is still counted, so that a flood that goes on is known to go on.
                assert told == ["127.0.0.66"]
                network.unshun("127.0.0.66")
                bad.sendto(b"again", address)
                await recorder.until(lambda: len(recorder.messages) > 1)

    run(main())


def test_connections_of_the_shunned_are_closed_and_not_taken() -> None:
    async def main() -> None:
        async with Net(("TCP", "127.0.0.1")) as net:
            recorder, network = net.sink, net.network
            host, port = net.address()

            async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
                return await asyncio.open_connection(host, port, local_addr=("127.0.0.66", 0))

            reader, writer = await connect()
            writer.write(b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 0\r\n\r\n")
            await recorder.until(lambda: bool(recorder.messages))
            network.shun("127.0.0.66")
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
            writer.close()
            reader, writer = await connect()
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
            writer.close()
            assert network.door.refused == 1
            assert network.counters.connections_open == 0

    run(main())


MESSAGE = b"ACK sip:a SIP/2.0\r\nContent-Length: 0\r\n\r\n"
FRAME = b"\x00\x80mask"
"""Of a WebSocket: a fragment with nothing in it."""


def shunning(transport: Transport, told: list[str], toll: int = 1000) -> Net:
    """A network that closes the connections of who is told of."""

    def flooded(host: str) -> None:
        told.append(host)
        net.network.shun(host)

    net = Net((transport, "127.0.0.1"), door=Door(toll, 10.0, flooded))
    return net


@pytest.mark.parametrize(
    ("transport", "piece", "times"),
    [
        ("TCP", MESSAGE, 3000),
        ("TCP", b"\r\n\r\n", 600_000),
        ("WS", b"\x89\x80mask", 3000),
        ("WS", FRAME, 3000),
    ],
)
def test_a_flood_over_one_connection_is_told_of(transport: Transport, piece: bytes, times: int) -> None:
    """Whatever it is made of: one connection of a stranger's took all the time there was."""
    told: list[str] = []

    async def main() -> None:
        async with shunning(transport, told) as net:
            host, port = net.address()
            reader, writer = await asyncio.open_connection(host, port, local_addr=("127.0.0.66", 0))
            if transport == "WS":
                writer.write(UPGRADE)
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"\x01\x80mask")
            writer.write(piece * times)
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1 << 20)
            writer.close()
            assert told == ["127.0.0.66"]
            assert len(net.sink.messages) < 2000

    run(main())


UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: sip\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def test_a_busy_neighbour_over_a_connection_is_not_told_of() -> None:
    told: list[str] = []

    async def main() -> None:
        async with Net(("TCP", "127.0.0.1"), door=Door(1000, 10.0, told.append)) as net:
            _, writer = await asyncio.open_connection(*net.address())
            large = b"INVITE sip:a SIP/2.0\r\nContent-Length: 1400\r\n\r\n" + b"x" * 1400
            for _ in range(450):
                writer.write(large + MESSAGE)
            await net.sink.until(lambda: len(net.sink.messages) == 900)
            writer.close()

    run(main())
    assert not told


@pytest.mark.parametrize(("transport", "most"), [("TCP", 1100), ("TLS", 275)])
def test_a_flood_of_connections_is_told_of(transport: Transport, most: int) -> None:
    """A handshake takes a signature; thousands a second took all the time there was."""
    told: list[str] = []

    async def main() -> None:
        async with shunning(transport, told, 1000 // ARRIVALS_OVER) as net:
            count = 0
            while not told and count < most:
                count += 1
                _, writer = await asyncio.open_connection(*net.address(), local_addr=("127.0.0.66", 0))
                writer.transport.abort()
                await asyncio.sleep(0)
            assert told == ["127.0.0.66"]

    run(main())


def test_all_phones_of_an_office_that_come_anew_at_once_are_no_flood() -> None:
    """A restart of ours breaks all their connections at one moment; 500 TLS phones behind one NAT were shut out for it,
    and their next attempts, at one moment again, kept them out."""
    told: list[str] = []
    door = Door(2000, 1.0, told.append)
    for _ in range(500):
        door.arrived("203.0.113.5", HANDSHAKE_COST, 1.0)
        door.arrived("203.0.113.5", 1, 1.0)
        for _ in range(2):
            door.heard("203.0.113.5", 500, 1, 1.2)
    assert not told
    for n in range(2100):
        door.arrived("203.0.113.66", HANDSHAKE_COST, 1.0 + n / 1000)
        door.arrived("203.0.113.66", 1, 1.0 + n / 1000)
    assert told == ["203.0.113.66"]
