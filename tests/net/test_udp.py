"""Datagrams come with their flow, leave over the socket they came by, and ICMP errors name the peer they are about."""

from __future__ import annotations

import errno
import socket
import struct

import pytest

from proxy.net import udp
from tests.net.tools import Net, run

FAMILIES = [
    pytest.param("127.0.0.1", socket.AF_INET, id="IPv4"),
    pytest.param("::1", socket.AF_INET6, id="IPv6"),
]


def peer(family: socket.AddressFamily, host: str) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    sock.settimeout(10)
    return sock


@pytest.mark.rfc3261("18-2")
@pytest.mark.parametrize(("host", "family"), FAMILIES)
def test_an_answer_leaves_from_the_port_that_was_asked(host: str, family: socket.AddressFamily) -> None:
    async def main() -> None:
        async with Net(("UDP", host)) as net:
            net.sink.on_message = lambda data, flow: net.send(flow, b"re: " + data)
            with peer(family, host) as sock:
                sock.sendto(b"hello", net.address())
                await net.sink.until(lambda: bool(net.sink.messages))
                data, source = sock.recvfrom(100)
                assert data == b"re: hello"
                assert source[:2] == net.address()
                assert net.sink.messages[0][1].host == host
                assert net.sink.messages[0][1].port == sock.getsockname()[1]

    run(main())


@pytest.mark.rfc3261("18.1.1-10", "18.1.1-11")
def test_what_we_send_is_answered_where_we_listen() -> None:
    async def main() -> None:
        async with Net(("UDP", "127.0.0.1")) as net:
            with peer(socket.AF_INET, "127.0.0.1") as sock:
                net.send(net.flow("127.0.0.1", sock.getsockname()[1]), b"request")
                data, source = sock.recvfrom(100)
                assert (data, source) == (b"request", net.address())
                sock.sendto(b"response", source)
                await net.sink.until(lambda: bool(net.sink.messages))
                assert net.sink.messages[0][0] == b"response"

    run(main())


def test_what_only_keeps_a_nat_open_is_answered_and_goes_no_further() -> None:
    async def main() -> None:
        async with Net(("UDP", "127.0.0.1")) as net:
            with peer(socket.AF_INET, "127.0.0.1") as sock:
                request = struct.pack(">HHI12s", 1, 0, 0x2112A442, b"transaction!")
                for data in (b"", b"\0\0", b"\r\n", b"\r\n\r\n", request, b"\1\0 no STUN", b"\r\nhello"):
                    sock.sendto(data, net.address())
                await net.sink.until(lambda: len(net.sink.messages) == 2)
                assert [data for data, _ in net.sink.messages] == [b"\1\0 no STUN", b"\r\nhello"]
                assert sock.recvfrom(100)[0] == b"\r\n"
                assert sock.recvfrom(100)[0][8:20] == b"transaction!"

    run(main())


def test_one_peer_is_one_flow() -> None:
    async def main() -> None:
        async with Net(("UDP", "127.0.0.1")) as net:
            with peer(socket.AF_INET, "127.0.0.1") as one, peer(socket.AF_INET, "127.0.0.1") as other:
                for sock in (one, other, one):
                    sock.sendto(b"x", net.address())
                await net.sink.until(lambda: len(net.sink.messages) == 3)
                first, second, third = (flow for _, flow in net.sink.messages)
                assert first is third
                assert first is not second

    run(main())


def test_a_burst_longer_than_one_turn_arrives_whole_and_in_order() -> None:
    async def main() -> None:
        async with Net(("UDP", "127.0.0.1")) as net:
            with peer(socket.AF_INET, "127.0.0.1") as sock:
                sent = [str(i).encode() for i in range(3 * udp.BURST + 1)]
                for data in sent:
                    sock.sendto(data, net.address())
                await net.sink.until(lambda: len(net.sink.messages) == len(sent))
                assert [data for data, _ in net.sink.messages] == sent

    run(main())


@pytest.mark.rfc3261("18.1.1-3")
def test_the_largest_datagram_arrives_whole() -> None:
    async def main() -> None:
        async with Net(("UDP", "127.0.0.1")) as net:
            with peer(socket.AF_INET, "127.0.0.1") as sock:
                sock.sendto(b"x" * 65507, net.address())
                await net.sink.until(lambda: bool(net.sink.messages))
                assert len(net.sink.messages[0][0]) == 65507

    run(main())


@pytest.mark.rfc3261("18.4-1")
@pytest.mark.parametrize(("host", "family"), FAMILIES)
def test_a_dead_peer_is_told_of_and_a_live_one_still_served(host: str, family: socket.AddressFamily) -> None:
    """libuv stops polling a socket after EPOLLERR; a peer that is not there must not make us deaf to all others."""

    async def main() -> None:
        async with Net(("UDP", host)) as net:
            with peer(family, host) as gone:
                dead = net.flow(host, gone.getsockname()[1])
            with peer(family, host) as sock:
                alive = net.flow(host, sock.getsockname()[1])
                for turn in range(5):
                    net.sink.failed.clear()
                    net.send(dead, b"anyone?")
                    # The report of the dead one's error comes with a call that is about the live one.
                    net.send(alive, b"hello")
                    await net.sink.until(lambda: dead in net.sink.failed)
                    assert sock.recv(100) == b"hello"
                    sock.sendto(b"and you", net.address())
                    await net.sink.until(lambda turn=turn: len(net.sink.messages) == turn + 1)  # type: ignore[misc]
                assert alive not in net.sink.failed
                assert net.network.counters.unreachable >= 5

    run(main())


def report(number: int, origin: int, kind: int, code: int) -> bytes:
    """linux/errqueue.h: struct sock_extended_err."""
    return struct.pack("=IBBBxII", number, origin, kind, code, 0, 0)


ICMP, ICMP6 = 2, 3


@pytest.mark.rfc3261("18.4-1")
@pytest.mark.parametrize(
    ("number", "origin", "kind", "code"),
    [
        pytest.param(errno.ENETUNREACH, ICMP, 3, 0, id="network"),
        pytest.param(errno.EHOSTUNREACH, ICMP, 3, 1, id="host"),
        pytest.param(errno.ENOPROTOOPT, ICMP, 3, 2, id="protocol"),
        pytest.param(errno.ECONNREFUSED, ICMP, 3, 3, id="port"),
        pytest.param(errno.EPROTO, ICMP, 12, 0, id="parameter problem"),
        pytest.param(errno.ENETUNREACH, ICMP6, 1, 0, id="IPv6 network"),
        pytest.param(errno.EHOSTUNREACH, ICMP6, 1, 3, id="IPv6 host"),
        pytest.param(errno.ECONNREFUSED, ICMP6, 1, 4, id="IPv6 port"),
        pytest.param(errno.EPROTO, ICMP6, 4, 0, id="IPv6 parameter problem"),
    ],
)
def test_which_icmp_errors_fail_the_sending(number: int, origin: int, kind: int, code: int) -> None:
    assert udp._is_final(report(number, origin, kind, code))


@pytest.mark.rfc3261("18.4-2")
@pytest.mark.parametrize(
    ("number", "origin", "kind", "code"),
    [
        pytest.param(errno.EHOSTUNREACH, ICMP, 11, 0, id="TTL exceeded"),
        pytest.param(errno.EHOSTUNREACH, ICMP6, 3, 0, id="IPv6 hop limit exceeded"),
        pytest.param(0, ICMP, 4, 0, id="source quench"),
        pytest.param(errno.EMSGSIZE, ICMP, 3, 4, id="fragmentation needed"),
        pytest.param(errno.EMSGSIZE, ICMP6, 2, 0, id="IPv6 packet too big"),
    ],
)
def test_which_icmp_errors_do_not(number: int, origin: int, kind: int, code: int) -> None:
    """RFC 3261 §18.4. The kernel reports no source quench at all (RFC 6633)."""
    assert not udp._is_final(report(number, origin, kind, code))


@pytest.mark.parametrize(
    ("host", "port"),
    [
        pytest.param("127.0.0.1", 0, id="port 0"),
        pytest.param("127.0.0.1", 70000, id="no port"),
        pytest.param("::1", 5060, id="other family"),
        pytest.param("127.0.0.1\0", 5060, id="no host"),
    ],
)
def test_what_cannot_be_sent_to_fails_without_raising(host: str, port: int) -> None:
    async def main() -> None:
        async with Net(("UDP", "127.0.0.1")) as net:
            flow = net.flow(host, port)
            net.send(flow, b"x")
            assert net.sink.failed == [flow]

    run(main())


def test_a_message_too_large_for_a_datagram_fails_its_flow() -> None:
    async def main() -> None:
        async with Net(("UDP", "127.0.0.1")) as net:
            flow = net.flow("127.0.0.1", 9)
            net.send(flow, b"x" * 65508)
            assert net.sink.failed == [flow]

    run(main())


class Stuffed:
    """A socket whose send buffer is full until it is drained; the rest is the real one's."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.full = True
        self.sent: list[bytes] = []

    def sendto(self, data: bytes, peer: tuple[str, int]) -> int:
        if self.full:
            raise BlockingIOError
        self.sent.append(data)
        return self.sock.sendto(data, peer)


def test_a_full_send_buffer_queues_in_order_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "QUEUE_MAX", 3)

    async def main() -> None:
        async with Net(("UDP", "127.0.0.1")) as net:
            socket_of_ours = net.network.senders[net.bound[0].local].__self__  # type: ignore[attr-defined]
            stuffed = Stuffed(net.bound[0].sock)
            socket_of_ours._sendto = stuffed.sendto
            with peer(socket.AF_INET, "127.0.0.1") as sock:
                flow = net.flow("127.0.0.1", sock.getsockname()[1])
                for data in (b"1", b"2", b"3", b"4"):
                    net.send(flow, data)
                assert net.network.counters.dropped_out == 1
                stuffed.full = False
                # A message that comes while others wait does not overtake them.
                sock.sendto(b"go", net.address())
                await net.sink.until(lambda: bool(net.sink.messages) and len(stuffed.sent) >= 3)
                assert [sock.recv(10) for _ in range(3)] == [b"1", b"2", b"3"]
                net.send(flow, b"5")
                assert sock.recv(10) == b"5"

    run(main())


def test_the_receive_buffer_shows_how_full_it_is_and_what_was_lost() -> None:
    async def main() -> None:
        async with Net(("UDP", "127.0.0.1")) as net:
            assert net.network.fill() == 0.0
            net.bound[0].sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            with peer(socket.AF_INET, "127.0.0.1") as sock:
                for _ in range(500):
                    sock.sendto(b"x" * 1000, net.address())
                # Nothing was read: the loop has had no turn since.
                assert net.network.fill() > 0.9
                lost = net.network.counters.dropped_in
                assert lost > 0
                assert net.network.fill() > 0.9
                assert net.network.counters.dropped_in == lost
                await net.sink.until(lambda: len(net.sink.messages) == 500 - lost)
                assert net.network.fill() < 0.1

    run(main())
