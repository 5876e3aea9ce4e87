"""What instances tell each other through the store: a payer's moment of exhaustion moved, leases were cleared.

A notice says that something happened, never what is true now: who hears it asks for itself. So one that is lost costs
time and nothing else; what it would have told comes with the next renewal.

On a connection of its own, by the client's own means: it is quiet, and speed is no matter here.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from policies.keys import NOTICES
from policies.target import server_url

PAUSE_S: Final = 1.0
"""Before connecting anew."""
LOOK_S: Final = 5.0
"""Between looks whether the connection still lives."""


class Notices:
    """Listens from `start` to `close`."""

    def __init__(self, url: str, told: Callable[[str], None]) -> None:
        self._url = url
        self._told = told
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Connect, now and whenever the connection is lost."""
        self._task = asyncio.get_running_loop().create_task(self._listen())

    async def close(self) -> None:
        """Hang up for good."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _listen(self) -> None:
        for attempt in itertools.count():
            # RuntimeError: uvloop's word for writing to a connection that has just been closed.
            with suppress(RedisError, OSError, TimeoutError, RuntimeError):
                await self._listen_at(await server_url(self._url, attempt))
            await asyncio.sleep(PAUSE_S)

    async def _listen_at(self, url: str) -> None:
        client = Redis.from_url(url, health_check_interval=LOOK_S, socket_connect_timeout=LOOK_S)
        async with client, client.pubsub(ignore_subscribe_messages=True) as pubsub:
            await pubsub.subscribe(NOTICES)
            while True:
                message: Any = await pubsub.get_message(timeout=LOOK_S)
                if message is not None:
                    self._told(message["data"].decode())
