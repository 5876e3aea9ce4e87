"""A proxy in front of a store that fails as told: slow, silent, cut off, or away.

It sits between a client and a server on unix sockets and knows nothing of Redis: bytes go in, and out when it lets
them. Both directions can be held apart, so that "carried out, but the answer was lost" is one line of a test.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


class Gate:
    """One direction. Closed: what comes is kept, in order, until it opens."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self.passed = 0
        """Bytes let through."""
        self.held = asyncio.Event()
        """Set while something waits at the closed gate."""

    def close(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    async def passing(self, data: bytes) -> None:
        if not self._open.is_set():
            self.held.set()
            await self._open.wait()
            self.held.clear()
        self.passed += len(data)


class FaultProxy:
    """Made by `fault_proxy`."""

    def __init__(self, upstream: Path, socket: Path) -> None:
        self.url = f"unix://{socket}"
        self.commands = Gate()
        """Client to store."""
        self.replies = Gate()
        """Store to client."""
        self.delay_s = 0.0
        """Each reply comes so much later."""
        self.connections = 0
        """How many were accepted so far."""
        self._upstream = upstream
        self._socket = socket
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self) -> None:
        """Back again: new connections are taken."""
        self._server = await asyncio.start_unix_server(self._serve, str(self._socket))

    async def away(self) -> None:
        """Every connection is cut and new ones are refused, as if the store's machine were gone."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._socket.unlink(missing_ok=True)
        self.cut()

    def cut(self) -> None:
        """Every connection breaks; what was held is lost. New ones are taken if we listen."""
        for writer in self._writers:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            up_reader, up_writer = await asyncio.open_unix_connection(str(self._upstream))
        except OSError:
            writer.close()
            return
        self._writers |= {writer, up_writer}
        pumps = [
            asyncio.create_task(self._pump(reader, up_writer, self.commands, delayed=False)),
            asyncio.create_task(self._pump(up_reader, writer, self.replies, delayed=True)),
        ]
        self._tasks.update(pumps)
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        for one in (writer, up_writer):
            one.transport.abort()
            self._writers.discard(one)
        self._tasks.difference_update(pumps)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, gate: Gate, *, delayed: bool
    ) -> None:
        while True:
            try:
                data = await source.read(65536)
            except OSError:
                return
            if not data:
                return
            if delayed and self.delay_s:
                await asyncio.sleep(self.delay_s)
            await gate.passing(data)
            sink.write(data)


@asynccontextmanager
async def fault_proxy(upstream: Path, folder: Path) -> AsyncIterator[FaultProxy]:
    """A proxy that listens in `folder` for the length of an `async with`."""
    proxy = FaultProxy(upstream, folder / "faults.sock")
    await proxy.listen()
    try:
        yield proxy
    finally:
        await proxy.away()
