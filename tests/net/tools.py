"""A sink that remembers what it was told, and waits for it without polling."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import uvloop

from config.listen import Endpoint, Listen, Tls, Transport, WebSocket
from config.schema import Bounds
from proxy.net.door import Door
from proxy.net.listen import Bound, bind
from proxy.net.network import Network
from proxy.net.security import Security
from proxy.net.sink import NetCounters
from proxy.sip.flow import Flow
from proxy.sip.message import ParseError

T = TypeVar("T")

PATIENCE = 10.0
"""Seconds; only a test that fails waits that long."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run on uvloop, as `callgate serve` does."""

    async def bounded() -> T:
        async with asyncio.timeout(PATIENCE):
            return await main

    return uvloop.run(bounded())


class Recorder:
    """A Sink. `on_message` is called inside of `message`, where an engine would send its answers."""

    def __init__(self, on_message: Callable[[bytes, Flow], None] | None = None) -> None:
        self.messages: list[tuple[bytes, Flow]] = []
        self.failed: list[Flow] = []
        self.used: set[Flow] = set()
        self.unframed: list[tuple[Flow, ParseError]] = []
        self.on_message = on_message
        self._changed = asyncio.Event()

    def message(self, data: bytes, flow: Flow) -> None:
        self.messages.append((data, flow))
        if self.on_message is not None:
            self.on_message(data, flow)
        self._changed.set()

    def flow_failed(self, flow: Flow) -> None:
        self.failed.append(flow)
        self._changed.set()

    def in_use(self) -> set[Flow]:
        return self.used

    def framing_failed(self, flow: Flow, error: ParseError) -> None:
        self.unframed.append((flow, error))
        self._changed.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._changed.clear()
            await self._changed.wait()


class Net:
    """A network on free ports of this machine, with its sink."""

    def __init__(
        self,
        *hosts: tuple[Transport, str],
        bounds: Bounds | None = None,
        tls: Tls | None = None,
        websocket: WebSocket | None = None,
        door: Door | None = None,
    ) -> None:
        self.sink = Recorder()
        self.bound: list[Bound] = bind(
            [Listen(address=Endpoint(kind, host, 0)) for kind, host in hosts], None
        )
        counters = NetCounters()
        self.security = Security(tls or Tls(), counters)
        self.network = Network(
            self.bound,
            self.sink,
            counters,
            bounds or Bounds(),
            self.security,
            websocket or WebSocket(),
            door,
        )

    def address(self, index: int = 0) -> tuple[str, int]:
        host, port = self.bound[index].sock.getsockname()[:2]
        return host, port

    def flow(self, host: str, port: int, index: int = 0, conn: int = 0) -> Flow:
        return self.bound[index].table.get(host, port, conn)

    def send(self, flow: Flow, data: bytes) -> None:
        self.network.senders[flow.local](flow, data)

    async def __aenter__(self) -> Net:
        await self.network.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.network.close()
