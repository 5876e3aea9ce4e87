"""Streams: accepts, opens on demand, and closes what idles (RFC 3261 §18). TCP, and TLS and WebSocket on top of it.

A flow with a connection number means that connection and no other; one with number 0 means any connection to that
peer, opened when there is none. What is sent while a connection is being opened waits, within bounds.

Over TLS a connection is used again for the same server name only (RFC 5923 §9.3): whom it was opened to and who proved
to be that. One that a client opened serves what belongs to it and nothing else; the client has proved no name of ours.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import socket
import sys
from collections.abc import Collection
from typing import Any

from config.listen import SECURE, WEBSOCKET, WebSocket
from config.schema import Bounds
from proxy.engine.site import site_of
from proxy.net.connection import WRITE_BUFFER_MAX, Connection, PlainConnection
from proxy.net.crowd import Crowd
from proxy.net.door import Door
from proxy.net.handshakes import Handshakes
from proxy.net.listen import BACKLOG, Bound
from proxy.net.security import Security
from proxy.net.sink import NetCounters, Sink
from proxy.net.tls import Secured
from proxy.net.websocket import WsConnection, allowed
from proxy.sip.flow import Flow

CONNECT_TIMEOUT = 4.0
"""Seconds. Three SYNs leave within 3 s, and Timer B (32 s) has to leave room for the next target."""

PROOF_TIMEOUT = 30.0
"""Seconds an accepted connection has for its first whole message. Precedent: nginx client_header_timeout, 60 s."""

SWEEP_PERIOD_MAX = 15.0
"""Seconds between two looks at what idles."""

KEEPALIVE_AFTER, KEEPALIVE_EVERY, KEEPALIVE_COUNT = 120, 30, 4
"""Seconds of silence after which the kernel asks a peer whether it is still there, how often, and how many questions
without an answer end the connection: one in use is closed by nothing else. RFC 5626 §4.4.1 has clients ask each 95 to
120 s, which keeps NATs open as well."""


Peer = tuple[str, int, str]
"""Address, port, and over TLS the name that the peer must have proved; "" = its address."""


def keep_alive(sock: socket.socket) -> None:
    """Have the kernel find out that its peer has vanished."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_AFTER)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_EVERY)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_COUNT)


class _Opening:
    """A connection on its way: what waits for it."""

    __slots__ = ("flow", "size", "task", "waiting")

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.waiting: list[bytes] = []
        self.size = 0
        self.task: asyncio.Task[None] | None = None


class Shared:
    """What all stream sockets of the process go by."""

    __slots__ = ("bounds", "crowd", "door", "handshakes", "loop", "origins", "ping", "security")

    def __init__(
        self,
        bounds: Bounds,
        websocket: WebSocket,
        security: Security,
        loop: asyncio.AbstractEventLoop,
        counters: NetCounters,
        door: Door,
    ) -> None:
        self.bounds = bounds
        self.crowd = Crowd()
        self.door = door
        self.security = security
        self.loop = loop
        self.handshakes = Handshakes(bounds, loop, counters)
        self.origins = allowed(websocket)
        self.ping = websocket.ping


class TcpSocket:
    """One listener of any stream transport, the connections it accepted, and those opened from its address."""

    __slots__ = (
        "_bound",
        "_by_number",
        "_by_peer",
        "_counters",
        "_idle_max",
        "_loop",
        "_opening",
        "_number",
        "_period",
        "_secure",
        "_server",
        "_shared",
        "_sink",
        "_source",
        "_sweeper",
        "_websocket",
        "local",
    )

    def __init__(self, bound: Bound, sink: Sink, counters: NetCounters, shared: Shared) -> None:
        self._bound = bound
        self.local = bound.local
        self._secure = bound.local.transport in SECURE
        self._websocket = bound.local.transport in WEBSOCKET
        self._sink = sink
        self._shared = shared
        self._loop = shared.loop
        self._counters = counters
        self._idle_max = shared.bounds.connection_idle
        self._by_number: dict[int, Connection] = {}
        self._by_peer: dict[Peer, Connection] = {}
        """The latest connection to each peer."""
        self._opening: dict[Peer, _Opening] = {}
        self._number = 0
        self._server: asyncio.Server | None = None
        host = bound.sock.getsockname()[0]
        # What we open leaves from the address peers know, where there is only one.
        anywhere = ipaddress.ip_address(host.partition("%")[0]).is_unspecified
        self._source = None if anywhere else (host, 0)
        self._period = min(SWEEP_PERIOD_MAX, self._idle_max / 4)
        if self._websocket:
            self._period = min(self._period, shared.ping / 2)
        self._sweeper = self._loop.call_later(self._period, self._sweep)

    async def start(self) -> None:
        """Accept from now on."""
        self._server = await self._loop.create_server(self._accepted, sock=self._bound.sock, backlog=BACKLOG)

    def send(self, flow: Flow, data: bytes) -> None:
        """Send over the flow's connection, opening it where that is allowed. What fails is told to the sink."""
        if flow.conn:
            connection = self._by_number.get(flow.conn)
            if connection is None or connection.transport.is_closing():
                self._sink.flow_failed(flow)
                return
            connection.send(data)
            return
        peer = (flow.host, flow.port, flow.name)
        connection = self._by_peer.get(peer)
        if self._websocket:
            # Nobody can be connected to: who is to be reached has connected to us.
            self._sink.flow_failed(flow)
        elif connection is not None and not connection.transport.is_closing():
            connection.shared = flow
            connection.send(data)
        else:
            self._wait_for(peer, flow, data)

    def close_flow(self, flow: Flow) -> None:
        """Close the flow's connection once what was sent before is written."""
        connection = self._by_number.get(flow.conn)
        if connection is not None:
            connection.end()

    def shun(self, host: str) -> None:
        """Close every connection of this address or site at once, whatever it still has to say."""
        found = [one for one in self._by_number.values() if host in (one.flow.host, site_of(one.flow.host))]
        for connection in found:
            connection.transport.abort()

    async def close(self) -> None:
        """Stop accepting and close every connection, after what is written. Tells the sink nothing."""
        self._sweeper.cancel()
        if self._server is not None:
            self._server.close()
        else:
            self._bound.sock.close()
        for opening in self._opening.values():
            if opening.task is not None:
                opening.task.cancel()
        self._opening.clear()
        for connection in self._by_number.values():
            connection.end()
        self._by_number.clear()
        self._by_peer.clear()

    # What connections tell --------------------------------------------------------------------------------------------

    def opened(self, connection: Connection) -> Flow | None:
        """A connection stands: it gets its number and its flow."""
        peer = connection.transport.get_extra_info("peername")
        if peer is None:
            # Its peer has reset it before we got to it.
            return None
        host, port = peer[:2]
        if connection.dialled is None:
            self.arrived(host, 1)
        if self.shuns(peer):
            return None
        if self._full(self._counters.connections_open, host):
            return None
        keep_alive(connection.transport.get_extra_info("socket"))
        self._number += 1
        self._by_number[self._number] = connection
        if connection.dialled is not None:
            self._by_peer[host, port, connection.dialled.name] = connection
        elif not self._secure and not self._websocket:
            self._by_peer[host, port, ""] = connection
        if connection.dialled is None:
            self._shared.crowd.add(connection, host)
        self._counters.connections[self.local.transport] += 1
        flow = self._bound.table.get(host, port, self._number)
        flow.open = True
        return flow

    def _full(self, connections: int, host: str) -> bool:
        """Whether there is no room for a connection from this address or to it; counted."""
        if connections < self._shared.bounds.connections_max or self._shared.crowd.make_room(host):
            return False
        self._counters.connections_refused += 1
        return True

    def shuns(self, peer: tuple[Any, ...]) -> bool:
        """Nobody of this address is listened to; counted."""
        if not self._shared.door.shuns(peer[0]):
            return False
        self._shared.door.refused += 1
        return True

    def received(self, host: str, size: int, items: int) -> None:
        """So much came in one read."""
        self._shared.door.heard(host, size, items, self._loop.time())

    def arrived(self, host: str, cost: int) -> None:
        """A client begins a connection or a handshake."""
        self._shared.door.arrived(host, cost, self._loop.time())

    def lost(self, connection: Connection) -> None:
        """A connection is gone: so is every flow that was sent over it."""
        flow = getattr(connection, "flow", None)
        if flow is None or self._by_number.pop(flow.conn, None) is None:
            return
        flow.open = False
        self._shared.crowd.remove(connection, flow.host)
        self._counters.connections[self.local.transport] -= 1
        peer = (flow.host, flow.port, connection.dialled.name if connection.dialled is not None else "")
        if self._by_peer.get(peer) is connection:
            del self._by_peer[peer]
        self._sink.flow_failed(flow)
        if connection.shared is not None:
            self._sink.flow_failed(connection.shared)

    # Opening ----------------------------------------------------------------------------------------------------------

    def _accepted(self) -> asyncio.Protocol:
        """For the next connection that a client opens."""
        shared = self._shared
        connection: Connection
        if self._websocket:
            connection = WsConnection(self, self._sink, shared.handshakes, shared.origins, shared.ping)
        else:
            connection = PlainConnection(self, self._sink)
        if not self._secure:
            return connection
        return Secured(connection, shared.security.accepting(self._bound.verify), shared.handshakes)

    def _wait_for(self, peer: Peer, flow: Flow, data: bytes) -> None:
        opening = self._opening.get(peer)
        if opening is None:
            if self._full(self._counters.connections_open + len(self._opening), flow.host):
                self._sink.flow_failed(flow)
                return
            opening = self._opening[peer] = _Opening(flow)
            opening.task = self._loop.create_task(self._open(peer, opening))
        if opening.size + len(data) > WRITE_BUFFER_MAX:
            self._counters.dropped_out += 1
            return
        opening.size += len(data)
        opening.waiting.append(data)

    async def _open(self, peer: Peer, opening: _Opening) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                connection = await self._connect(peer, opening.flow)
        except (OSError, OverflowError, TypeError, ValueError):
            # TimeoutError is an OSError, and so is what TLS has against the peer; the others are a port or a host
            # that is none.
            self._opening.pop(peer, None)
            self._counters.unreachable += 1
            self._sink.flow_failed(opening.flow)
            return
        self._opening.pop(peer, None)
        if connection.transport.is_closing():
            self._sink.flow_failed(opening.flow)
            return
        for data in opening.waiting:
            connection.send(data)

    async def _connect(self, peer: Peer, flow: Flow) -> Connection:
        host, port, name = peer
        connection = PlainConnection(self, self._sink, flow)
        if not self._secure:
            await self._loop.create_connection(lambda: connection, host, port, local_addr=self._source)
            return connection
        # RFC 5922 §7.3: the name that was asked for; where that was an address, the address.
        secured = Secured(
            connection,
            self._shared.security.dialling,
            self._shared.handshakes,
            name or host,
            ready := self._loop.create_future(),
        )
        transport, _ = await self._loop.create_connection(
            lambda: secured, host, port, local_addr=self._source
        )
        try:
            await ready
        except asyncio.CancelledError:
            transport.abort()
            raise
        return connection

    # Idling -----------------------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        """Close what has been idle too long, and abort what was closed a sweep ago and still has bytes to write."""
        proof_max = min(PROOF_TIMEOUT, self._idle_max)
        in_use: Collection[Flow] | None = None
        for connection in list(self._by_number.values()):
            if connection.transport.is_closing():
                connection.transport.abort()
                continue
            idle = connection.idled(self._period)
            if idle < (self._idle_max if connection.proven else proof_max):
                continue
            if idle < math.inf:
                if in_use is None:
                    in_use = self._sink.in_use()
                # RFC 3261 §18: kept for "the longest amount of time the element would need in order to bring a
                # transaction from instantiation to the terminated state"; and a client that is registered over it
                # (RFC 5626 §5.3) or in a call cannot be reached by another.
                if connection.flow in in_use or connection.shared in in_use:
                    continue
            connection.end()
        self._sweeper = self._loop.call_later(self._period, self._sweep)
