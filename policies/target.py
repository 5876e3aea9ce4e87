"""Where a connection to the store goes: one server or the master that sentinels know."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from config.store_url import servers_of
from policies.address import address_of
from policies.sentinel import Sentinels


class Target(Protocol):
    """What a connection is made with, each time anew."""

    @property
    def greeting(self) -> tuple[bytes, ...]:
        """Packed commands that come before all others."""
        ...

    async def connect(
        self, loop: asyncio.AbstractEventLoop, factory: Callable[[], asyncio.Protocol]
    ) -> object:
        """Raises: OSError."""
        ...


async def server_url(url: str, attempt: int) -> str:
    """The URL of one server that hears what is published, for redis-py's client. `attempt` makes it another node of a
    Cluster each time. Raises: OSError, ValueError."""
    servers = servers_of(url)
    if servers is None:
        return url
    if servers.kind == "sentinel":
        master = await Sentinels(servers).find()
        return servers.server(master.host, master.port)
    return servers.server(*servers.hosts[attempt % len(servers.hosts)])


def target_of(url: str) -> Target:
    """Raises: ValueError for a URL that is none."""
    servers = servers_of(url)
    if servers is None:
        return address_of(url)
    if servers.kind == "sentinel":
        return Sentinels(servers)
    raise ValueError("a Cluster is no one server")
