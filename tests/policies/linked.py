"""A link to a real Redis through the fault proxy, and what a test needs to wait for it without sleeping."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from policies.cluster import Cluster
from policies.counters import StoreCounters
from policies.keys import bindings_key, command, evalsha
from policies.link import Link
from policies.scripts import Scripts, shipped_scripts
from policies.store import NO_REPLY, LinkUser
from tests.faults.proxy import FaultProxy, fault_proxy
from tests.redis import PrivateRedis

WAIT_S = 20.0
"""Longer than anything here takes; a test that waits so long has failed."""


class Watcher:
    """A LinkUser that lets a test wait for what it is told."""

    def __init__(self) -> None:
        self.up = asyncio.Event()
        self.down = asyncio.Event()
        self.reasons: list[str] = []
        self.errors: list[str] = []

    def on_link_up(self) -> None:
        self.down.clear()
        self.up.set()

    def on_link_down(self, why: str) -> None:
        self.reasons.append(why)
        self.up.clear()
        self.down.set()

    def on_link_error(self, text: str) -> None:
        self.errors.append(text)


class Replies:
    """Collects what callbacks are told: (context, reply)."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, Any]] = []
        self._changed = asyncio.Event()

    def __call__(self, context: Any, reply: Any) -> None:
        self.told.append((context, reply))
        self._changed.set()

    async def count(self, wanted: int) -> None:
        """Wait until so many were told."""
        async with asyncio.timeout(WAIT_S):
            while len(self.told) < wanted:
                self._changed.clear()
                await self._changed.wait()


async def until(true: Callable[[], bool]) -> None:
    """Wait, turn by turn of the loop, until something holds."""
    async with asyncio.timeout(WAIT_S):
        while not true():
            await asyncio.sleep(0.001)


async def beside(work: Callable[..., Any], *arguments: Any) -> None:
    """A blocking piece of work, while the loop goes on."""
    await asyncio.get_running_loop().run_in_executor(None, work, *arguments)


def redirects_of(cluster: Cluster) -> list[str]:
    """First words of what a Cluster's nodes say from now on instead of doing something."""
    seen: list[str] = []
    redirect = cluster.redirect

    def noted(node: Any, astray: Any, kind: str, text: str) -> None:
        seen.append(kind)
        redirect(node, astray, kind, text)

    cluster.redirect = noted  # type: ignore[method-assign]
    return seen


class Bench:
    """A server, a proxy in front of it, and a link through it."""

    def __init__(self, redis: PrivateRedis, proxy: FaultProxy, link: Link, watcher: Watcher) -> None:
        self.redis = redis
        self.proxy = proxy
        self.link = link
        self.watcher = watcher

    async def ask(self, *arguments: bytes) -> Any:
        replies = Replies()
        assert self.link.plain(command(*arguments), replies, None)
        return await self._reply(replies)

    async def ask_script(self) -> Any:
        """The simplest one there is."""
        replies = Replies()
        packed = evalsha(shipped_scripts().bindings, 0) + bindings_key("a", "x")
        assert self.link.call(packed, replies, None)
        return await self._reply(replies)

    async def _reply(self, replies: Replies) -> Any:
        await replies.count(1)
        reply = replies.told[0][1]
        assert reply is not NO_REPLY
        return reply


@asynccontextmanager
async def proxied(redis: PrivateRedis) -> AsyncIterator[FaultProxy]:
    with tempfile.TemporaryDirectory(prefix="cg-") as folder:
        async with fault_proxy(redis.socket, Path(folder)) as proxy:
            yield proxy


@asynccontextmanager
async def bench(
    redis: PrivateRedis,
    *,
    deadline_s: float = 0.2,
    scripts: Scripts | None = None,
    counters: StoreCounters | None = None,
    user: LinkUser | None = None,
) -> AsyncIterator[Bench]:
    """Connected, and taking commands."""
    async with proxied(redis) as proxy:
        watcher = Watcher()
        link = Link(
            proxy.url,
            scripts or shipped_scripts(),
            counters or StoreCounters(),
            user or watcher,
            deadline_s=deadline_s,
        )
        link.start()
        await until(lambda: link.up)
        made = Bench(redis, proxy, link, watcher)
        await made.ask(b"PING")  # and with it the link has looked at Redis's clock
        try:
            yield made
        finally:
            await link.close()
