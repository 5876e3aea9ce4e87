"""All listeners of the process: one door for what leaves, whatever its transport."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from config.listen import WebSocket
from config.schema import Bounds
from proxy.net.door import Door
from proxy.net.listen import Bound
from proxy.net.security import Security
from proxy.net.sink import NetCounters, Sink
from proxy.net.tcp import Shared, TcpSocket
from proxy.net.udp import UdpSocket
from proxy.sip.flow import Flow, Local


class Network:
    """The sockets of `bind`, at work."""

    __slots__ = ("_shared", "_tcp", "_udp", "counters", "door", "senders")

    def __init__(
        self,
        bound: Sequence[Bound],
        sink: Sink,
        counters: NetCounters,
        bounds: Bounds,
        security: Security,
        websocket: WebSocket,
        door: Door | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.counters = counters
        self.door = door or Door()
        self.senders: dict[Local, Callable[[Flow, bytes], None]] = {}
        """`senders[flow.local](flow, data)` sends. Open to the driver: every message of every call goes here."""
        self._udp: list[UdpSocket] = []
        self._tcp: dict[Local, TcpSocket] = {}
        self._shared = Shared(bounds, websocket, security, loop, counters, self.door)
        for one in bound:
            if one.local.transport == "UDP":
                udp = UdpSocket(one, sink, loop, counters, self.door)
                self._udp.append(udp)
                self.senders[one.local] = udp.send
            else:
                tcp = TcpSocket(one, sink, counters, self._shared)
                self._tcp[one.local] = tcp
                self.senders[one.local] = tcp.send

    async def start(self) -> None:
        """Accept connections. (Datagrams come since the sockets were made.)"""
        for tcp in self._tcp.values():
            await tcp.start()

    def close_flow(self, flow: Flow) -> None:
        """Close a stream connection once what was sent before is written; a UDP flow has nothing to close."""
        tcp = self._tcp.get(flow.local)
        if tcp is not None:
            tcp.close_flow(flow)

    def shun(self, host: str) -> None:
        """Drop what this address or site (engine/site.py) sends from now on, and its connections."""
        self.door.shunned.add(host)
        for tcp in self._tcp.values():
            tcp.shun(host)

    def unshun(self, host: str) -> None:
        """Listen to it again."""
        self.door.shunned.discard(host)

    def fill(self) -> float:
        """How full the fullest receive buffer is, 0 … 1."""
        return max((udp.fill() for udp in self._udp), default=0.0)

    async def close(self) -> None:
        """Give every port back."""
        for udp in self._udp:
            udp.close()
        for tcp in self._tcp.values():
            await tcp.close()
        self._shared.handshakes.close()
