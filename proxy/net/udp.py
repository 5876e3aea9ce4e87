"""UDP: a raw non-blocking socket on the loop's poller, read in bounded bursts, written directly.

Measured here, each in + out of 600 bytes, median of five runs, uvloop (shared 2-core machine, spread 15 %):
DatagramProtocol with transport.sendto 7.2 µs, this 7.2 µs, so a ratio of 1.0; sending alone 3.75 against 3.45 µs, 0.93;
plain asyncio's DatagramProtocol 4.7 times as much. What decides is what only the raw socket gives: ICMP errors
with the peer they are about (`IP_RECVERR`), a burst bound of our own, and how full the receive buffer is.

An ICMP error is also reported once by the next call on the socket, whatever peer that is for; so an error there means
"read the error queue and try again", and only the queue says who is unreachable.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections import deque
from typing import Any, Final

from proxy.net.door import Door
from proxy.net.listen import Bound
from proxy.net.sink import NetCounters, Sink
from proxy.sip.flow import Flow
from proxy.sip.stream import PONG
from proxy.sip.stun import binding_response

BURST: Final = 32
"""Datagrams read in one turn of the loop, so that timers and the store are served too: libuv's own number."""

DATAGRAM_MAX: Final = 65535

QUEUE_MAX: Final = 2048
"""Messages kept while the send buffer is full; beyond that they are dropped, and retransmission repairs it."""

ANCILLARY_MAX: Final = 256
"""Bytes of one error report: 16, two addresses and their headers."""

PING: Final = b"\r\n\r\n"

ERRORS_MAX: Final = 256
"""Error reports read at one go: a peer that draws ICMP errors must not hold the loop."""

# linux/in.h, linux/in6.h, linux/socket.h: not in Python's socket module before 3.14.
_IP_RECVERR: Final = 11
_IPV6_RECVERR: Final = 25
_SO_MEMINFO: Final = 55
_MEMINFO: Final = struct.Struct("9I")

# linux/errqueue.h: struct sock_extended_err {ee_errno, ee_origin, ee_type, ee_code, …}.
_EXTENDED_ERROR: Final = struct.Struct("=IBBB")
_ORIGIN_ICMP, _ORIGIN_ICMP6 = 2, 3
# RFC 3261 §18.4: host, network, port and protocol unreachable and parameter problem fail the sending; the rest,
# fragmentation needed among it (the kernel splits the retransmission), does not.
_FINAL: Final = {
    errno.ECONNREFUSED,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ENOPROTOOPT,
    errno.EPROTO,
    errno.EACCES,
}
# RFC 3261 §18.4: TTL exceeded SHOULD be ignored; the kernel calls it EHOSTUNREACH too.
_TTL_EXCEEDED: Final = {(_ORIGIN_ICMP, 11), (_ORIGIN_ICMP6, 3)}


# What sendto raises for a port or a host that is none.
_NOT_AN_ADDRESS: Final = (OverflowError, TypeError, ValueError)
_SEND_ERRORS: Final = (OSError, *_NOT_AN_ADDRESS)


def _is_final(report: bytes) -> bool:
    if len(report) < _EXTENDED_ERROR.size:
        return False
    number, origin, kind, _ = _EXTENDED_ERROR.unpack_from(report)
    return number in _FINAL and (origin, kind) not in _TTL_EXCEEDED


class UdpSocket:
    """One UDP listener."""

    __slots__ = (
        "_bound",
        "_counters",
        "_door",
        "_drops",
        "_loop",
        "_queue",
        "_sendto",
        "_sink",
        "_sock",
        "local",
    )

    def __init__(
        self,
        bound: Bound,
        sink: Sink,
        loop: asyncio.AbstractEventLoop,
        counters: NetCounters,
        door: Door,
    ) -> None:
        self._bound = bound
        self.local = bound.local
        self._sock = sock = bound.sock
        self._sendto = sock.sendto
        self._sink = sink
        self._loop = loop
        self._counters = counters
        self._door = door
        self._queue: deque[tuple[bytes, Flow]] = deque()
        self._drops = 0
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        loop.add_reader(sock.fileno(), self._readable)

    def send(self, flow: Flow, data: bytes) -> None:
        """Send now, or queue when the send buffer is full. What fails is told to the sink."""
        if self._queue:
            self._enqueue(data, flow)
            return
        try:
            self._sendto(data, (flow.host, flow.port))
        except BlockingIOError:
            self._enqueue(data, flow)
        except _SEND_ERRORS:
            self._send_again(flow, data)

    def fill(self) -> float:
        """How full the receive buffer is, 0 … 1. Counts, by the way, what the kernel had to drop."""
        info = self._sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        used, size, *_, drops = _MEMINFO.unpack(info)
        self._counters.dropped_in += drops - self._drops
        self._drops = drops
        return float(used / size)

    def close(self) -> None:
        """Stop reading and give the port back. Idempotent."""
        if self._sock.fileno() < 0:
            return
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._queue.clear()
        self._sock.close()

    def _readable(self) -> None:
        receive = self._sock.recvfrom
        flow_of = self._bound.table.get
        message = self._sink.message
        door = self._door
        shunned = door.shunned
        peer: Any = None
        count = 0
        for _ in range(BURST):
            try:
                data, peer = receive(DATAGRAM_MAX)
            except BlockingIOError:
                if count == 0:
                    # Woken for nothing: an error report whose errno another call has taken.
                    self._read_errors()
                break
            except OSError:
                self._read_errors()
                break
            count += 1
            if shunned and door.shuns(peer[0]):
                door.refused += 1
                continue
            # No SIP message begins with a control character, but for CRLF before one (RFC 3261 §7.5).
            if data[:1] < b" " and self._kept_alive(data, peer):
                continue
            message(data, flow_of(peer[0], peer[1]))
        door.left -= count
        if door.left <= 0 and peer is not None:
            door.sample(peer[0], self._loop.time())

    def _kept_alive(self, data: bytes, peer: tuple[str, int]) -> bool:
        """Whether it was for nothing but to keep a NAT open: STUN (RFC 5626 §8), CRLF, or octets of zero."""
        answer: bytes | None
        if data.strip(b"\r\n\0"):
            answer = binding_response(data, peer[0], peer[1])
            if answer is None:
                return False
        else:
            # We differ: RFC 5626 §3.5.1 answers a double CRLF on streams only; phones send it over UDP, too.
            answer = PONG if data == PING else None
        self._counters.keepalives += 1
        if answer is not None:
            self.send(self._bound.table.get(peer[0], peer[1]), answer)
        return True

    def _enqueue(self, data: bytes, flow: Flow) -> None:
        if len(self._queue) >= QUEUE_MAX:
            self._counters.dropped_out += 1
            return
        if not self._queue:
            self._loop.add_writer(self._sock.fileno(), self._writable)
        self._queue.append((data, flow))

    def _writable(self) -> None:
        queue = self._queue
        while queue:
            data, flow = queue[0]
            try:
                self._sendto(data, (flow.host, flow.port))
            except BlockingIOError:
                return
            except _SEND_ERRORS:
                self._send_again(flow, data)
            queue.popleft()
        self._loop.remove_writer(self._sock.fileno())

    def _send_again(self, flow: Flow, data: bytes) -> None:
        """The first try met an error that may have been another peer's."""
        self._read_errors()
        try:
            self._sendto(data, (flow.host, flow.port))
        except BlockingIOError:
            self._counters.dropped_out += 1
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                # The interface's queue is full, which says nothing of the peer.
                self._counters.dropped_out += 1
            else:
                self._unreachable(flow)
        except _NOT_AN_ADDRESS:
            self._unreachable(flow)

    def _read_errors(self) -> None:
        for _ in range(ERRORS_MAX):
            try:
                # Of the undeliverable datagram nothing is wanted but the address it was for.
                _, reports, _, peer = self._sock.recvmsg(0, ANCILLARY_MAX, socket.MSG_ERRQUEUE)
            except OSError:
                break
            if peer and any(_is_final(report) for _, _, report in reports):
                self._unreachable(self._bound.table.get(peer[0], peer[1]))
        # libuv stops polling a socket that once had EPOLLERR, so the poll is begun anew; after this turn, because the
        # stop may still be waiting in it.
        self._loop.call_soon(self._poll_again)

    def _poll_again(self) -> None:
        descriptor = self._sock.fileno()
        if descriptor < 0:
            return
        self._loop.remove_reader(descriptor)
        self._loop.add_reader(descriptor, self._readable)
        if self._queue:
            self._loop.remove_writer(descriptor)
            self._loop.add_writer(descriptor, self._writable)

    def _unreachable(self, flow: Flow) -> None:
        self._counters.unreachable += 1
        self._sink.flow_failed(flow)
