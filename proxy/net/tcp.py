"""TCP: accepts, opens on demand, frames, and closes what idles (RFC 3261 §18).

A flow with a connection number means that connection and no other; one with number 0 means any connection to that
peer, opened when there is none. What is sent while a connection is being opened waits, within bounds.
Not here: TLS and WebSocket, which will be siblings of this file.
"""

from __future__ import annotations

import asyncio
import ipaddress

from config.schema import Bounds
from proxy.net.connection import WRITE_BUFFER_MAX, Connection
from proxy.net.listen import BACKLOG, Bound
from proxy.net.sink import NetCounters, Sink
from proxy.sip.flow import Flow
from proxy.sip.stream import Framer

CONNECT_TIMEOUT = 4.0
"""Seconds. Three SYNs leave within 3 s, and Timer B (32 s) has to leave room for the next target."""

PROOF_TIMEOUT = 30.0
"""Seconds an accepted connection has for its first whole message. Precedent: nginx client_header_timeout, 60 s."""

SWEEP_PERIOD_MAX = 15.0
"""Seconds between two looks at what idles."""


class _Opening:
    """A connection on its way: what waits for it."""

    __slots__ = ("flow", "size", "task", "waiting")

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.waiting: list[bytes] = []
        self.size = 0
        self.task: asyncio.Task[None] | None = None


class TcpSocket:
    """One TCP listener, the connections it accepted, and those opened from its address."""

    __slots__ = (
        "_bound",
        "_by_number",
        "_by_peer",
        "_connections_max",
        "_counters",
        "_idle_max",
        "_loop",
        "_opening",
        "_number",
        "_period",
        "_server",
        "_sink",
        "_source",
        "_sweeper",
        "local",
    )

    def __init__(
        self, bound: Bound, sink: Sink, loop: asyncio.AbstractEventLoop, counters: NetCounters, bounds: Bounds
    ) -> None:
        self._bound = bound
        self.local = bound.local
        self._sink = sink
        self._loop = loop
        self._counters = counters
        self._connections_max = bounds.connections_max
        self._idle_max = bounds.connection_idle
        self._by_number: dict[int, Connection] = {}
        self._by_peer: dict[tuple[str, int], Connection] = {}
        """The latest connection to each peer."""
        self._opening: dict[tuple[str, int], _Opening] = {}
        self._number = 0
        self._server: asyncio.Server | None = None
        host = bound.sock.getsockname()[0]
        # What we open leaves from the address peers know, where there is only one.
        anywhere = ipaddress.ip_address(host.partition("%")[0]).is_unspecified
        self._source = None if anywhere else (host, 0)
        self._period = min(SWEEP_PERIOD_MAX, self._idle_max / 4)
        self._sweeper = loop.call_later(self._period, self._sweep)

    async def start(self) -> None:
        """Accept from now on."""
        self._server = await self._loop.create_server(
            self._connection, sock=self._bound.sock, backlog=BACKLOG
        )

    def send(self, flow: Flow, data: bytes) -> None:
        """Send over the flow's connection, opening it where that is allowed. What fails is told to the sink."""
        if flow.conn:
            connection = self._by_number.get(flow.conn)
            if connection is None or connection.transport.is_closing():
                self._sink.flow_failed(flow)
                return
            connection.send(data)
            return
        peer = (flow.host, flow.port)
        connection = self._by_peer.get(peer)
        if connection is not None and not connection.transport.is_closing():
            connection.shared = flow
            connection.send(data)
            return
        self._wait_for(peer, flow, data)

    def close_flow(self, flow: Flow) -> None:
        """Close the flow's connection once what was sent before is written."""
        connection = self._by_number.get(flow.conn)
        if connection is not None:
            connection.transport.close()

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
            connection.transport.close()
        self._by_number.clear()
        self._by_peer.clear()

    # What connections tell --------------------------------------------------------------------------------------------

    def opened(self, connection: Connection) -> Flow | None:
        """A connection stands: it gets its number and its flow."""
        if len(self._by_number) >= self._connections_max:
            self._counters.connections_refused += 1
            return None
        peer = connection.transport.get_extra_info("peername")
        if peer is None:
            # Its peer has reset it before we got to it.
            return None
        host, port = peer[:2]
        self._number += 1
        self._by_number[self._number] = connection
        self._by_peer[host, port] = connection
        self._counters.connections_open += 1
        return self._bound.table.get(host, port, self._number)

    def lost(self, connection: Connection) -> None:
        """A connection is gone: so is every flow that was sent over it."""
        flow = getattr(connection, "flow", None)
        if flow is None or self._by_number.pop(flow.conn, None) is None:
            return
        self._counters.connections_open -= 1
        if self._by_peer.get((flow.host, flow.port)) is connection:
            del self._by_peer[flow.host, flow.port]
        self._sink.flow_failed(flow)
        if connection.shared is not None:
            self._sink.flow_failed(connection.shared)

    # Opening ----------------------------------------------------------------------------------------------------------

    def _connection(self) -> Connection:
        return Connection(self, Framer(), self._sink)

    def _wait_for(self, peer: tuple[str, int], flow: Flow, data: bytes) -> None:
        opening = self._opening.get(peer)
        if opening is None:
            if len(self._by_number) + len(self._opening) >= self._connections_max:
                self._counters.connections_refused += 1
                self._sink.flow_failed(flow)
                return
            opening = self._opening[peer] = _Opening(flow)
            opening.task = self._loop.create_task(self._open(peer, opening))
        if opening.size + len(data) > WRITE_BUFFER_MAX:
            self._counters.dropped_out += 1
            return
        opening.size += len(data)
        opening.waiting.append(data)

    async def _open(self, peer: tuple[str, int], opening: _Opening) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                transport, connection = await self._loop.create_connection(
                    self._connection, peer[0], peer[1], local_addr=self._source
                )
        except (OSError, OverflowError, TypeError, ValueError):
            # TimeoutError is an OSError; the others are a port or a host that is none.
            self._opening.pop(peer, None)
            self._counters.unreachable += 1
            self._sink.flow_failed(opening.flow)
            return
        self._opening.pop(peer, None)
        if transport.is_closing():
            self._sink.flow_failed(opening.flow)
            return
        connection.proven = True
        connection.shared = opening.flow
        for data in opening.waiting:
            connection.send(data)

    # Idling -----------------------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        """Close what has been idle too long, and abort what was closed a sweep ago and still has bytes to write."""
        proof_max = min(PROOF_TIMEOUT, self._idle_max)
        for connection in list(self._by_number.values()):
            if connection.transport.is_closing():
                connection.transport.abort()
                continue
            connection.idle = 0.0 if connection.active else connection.idle + self._period
            connection.active = False
            if connection.idle >= (self._idle_max if connection.proven else proof_max):
                connection.transport.close()
        self._sweeper = self._loop.call_later(self._period, self._sweep)
