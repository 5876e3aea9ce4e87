"""A whole callgate in the test's own process: real sockets, a private Redis, two phones, files of the test's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop

from config.load import load
from proxy.app.server import Server
from proxy.demo.phone import Line, Phone
from proxy.ops.lines import LineWriter
from tests.tools import require

CALLGATE = """\
domains: [example.com]
listen: ["udp://127.0.0.1:0", "tcp://127.0.0.1:0"]
store: {url: embedded, data: store, spool: {path: spool}}
metrics: {listen: "127.0.0.1:0"}
admin: {socket: callgate.sock}
plans: plans.yaml
subscribers: subscribers.yaml
cdr: {file: cdr.jsonl}
log: {format: json}
timers: {drain_timeout: DRAIN}
"""

PLANS = """\
plans:
  one-line:
    categories: {gateway: {lines: 1}}
  plain:
    categories: {softphone: {}}
"""

SUBSCRIBERS = """\
subscribers:
  alice:
    accounts: [{user: alice, password: secret, mode: gateway}]
    activations: [{plan: one-line, since: 2026-01-01}]
  bob:
    accounts: [{user: bob, password: secret, mode: softphone}]
    activations: [{plan: plain, since: 2026-01-01}]
"""


def write_files(folder: Path, drain: str = "5m", **changes: str) -> Path:
    """The three files; `changes` are lines of callgate.yaml by their first word."""
    require("redis-server", "valkey-server")
    lines = CALLGATE.replace("DRAIN", drain).splitlines()
    for name, line in changes.items():
        lines = [f"{name}: {line}" if old.startswith(f"{name}:") else old for old in lines]
    (folder / "callgate.yaml").write_text("\n".join(lines) + "\n")
    (folder / "plans.yaml").write_text(PLANS)
    (folder / "subscribers.yaml").write_text(SUBSCRIBERS)
    return folder / "callgate.yaml"


def run(main: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await main

    uvloop.run(bounded())


async def until(holds: Callable[[], bool]) -> None:
    """What is looked at is not ours to be notified by, so it is looked at often; the test's own timeout ends it."""
    while not holds():
        await asyncio.sleep(0.005)


class Page(LineWriter):
    """A LineWriter that keeps its lines."""

    def __init__(self) -> None:
        self.page: list[str] = []

    def write(self, line: str) -> None:
        self.page.append(line)


class Running:
    """A started server and its two phones, bob registered."""

    def __init__(self, server: Server, page: Page) -> None:
        self.server = server
        self.page = page
        proxy = server.addresses["UDP"]
        self.alice = Phone("alice", "example.com", "secret", proxy)
        self.bob = Phone("bob", "example.com", "secret", proxy)

    async def talk(self) -> tuple[Line, Line]:
        """alice calls bob: her end of the call, and his."""
        final, line = await self.alice.call(self.bob.address)
        assert line is not None, f"{final.status} {final.reason}"
        return line, await self.bob.rang.get()


@asynccontextmanager
async def running(path: Path) -> AsyncIterator[Running]:
    page = Page()
    server = Server(load(path), path, page)
    await server.start()
    one = Running(server, page)
    try:
        await until(lambda: not server.unready())
        for phone in (one.alice, one.bob):
            await phone.open()
        assert await one.bob.register() == 200
        yield one
    finally:
        for phone in (one.alice, one.bob):
            phone.close()
        await server.stop()


def elapsed(since: float) -> float:
    return time.monotonic() - since
