"""The master that sentinels know: found at each connection, and left when they say that it is another.

All sentinels of the URL are asked at once. What more than half of them say is enough, and of that the answer with the
highest epoch counts: a sentinel that was cut off knows an older master. What they name must say of itself that it is a
master (ROLE), for while a failover is under way they are ahead of it.

A master that is cut off from the others may go on answering us, and what it counts will be forgotten. So the sentinels
are asked again every WATCH_S, for as long as the connection stands. Not by a subscription to +switch-master: a notice
that is lost would be a master that is kept. If no sentinel can be reached we are the ones who are cut off, and stay;
`min-replicas-to-write 1` at the servers is what makes such a master refuse.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from config.store_url import ServersUrl
from policies.address import Address, address_of
from policies.asking import Asker, most

WATCH_S: Final = 1.0
"""Between questions whether the master is still the same: some 0.3 ms of CPU for three sentinels."""


class Sentinels:
    """Where the master is (policies.target.Target)."""

    def __init__(self, url: ServersUrl) -> None:
        """Raises: ValueError."""
        self._master = url.master.encode()
        self._sentinels = [address_of(url.sentinel(host, port)) for host, port in url.hosts]
        self._server = address_of(url.server("master", 0))
        """But for its host and port."""
        self._watches: set[asyncio.Task[None]] = set()

    @property
    def greeting(self) -> tuple[bytes, ...]:
        return self._server.greeting

    async def connect(self, loop: asyncio.AbstractEventLoop, factory: Callable[[], asyncio.Protocol]) -> None:
        """Raises: OSError."""
        askers = [Asker(sentinel) for sentinel in self._sentinels]
        try:
            master, epoch = await self._find(askers)
            await _check_role(master)
            transport = await master.connect(loop, factory)
        except BaseException:
            _close(askers)
            raise
        watch = loop.create_task(self._watch(transport, master, epoch, askers))
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)

    async def find(self) -> Address:
        """Who is master, as far as sentinels say. Raises: OSError."""
        askers = [Asker(sentinel) for sentinel in self._sentinels]
        try:
            return (await self._find(askers))[0]
        finally:
            _close(askers)

    async def _watch(
        self, transport: asyncio.WriteTransport, master: Address, epoch: int, askers: Sequence[Asker]
    ) -> None:
        try:
            while not transport.is_closing():
                await asyncio.sleep(WATCH_S)
                try:
                    found, found_epoch = await self._find(askers)
                except OSError:
                    continue
                if found != master and found_epoch >= epoch:
                    transport.abort()
                    return
        finally:
            _close(askers)

    async def _find(self, askers: Sequence[Asker]) -> tuple[Address, int]:
        """The master and the epoch it was made one in. Raises: OSError."""
        try:
            found = await most([self._said_by(asker) for asker in askers])
        except OSError as error:
            raise ConnectionError(f"no sentinel says who is master: {error}") from None
        epoch, host, port = max(found)
        return replace(self._server, host=host, port=port), epoch

    async def _said_by(self, asker: Asker) -> tuple[int, str, int]:
        """(epoch, host, port). Raises: OSError."""
        reply: Any = await asker.ask(b"SENTINEL", b"MASTER", self._master)
        try:
            fields = dict(zip(reply[::2], reply[1::2], strict=True))
            return int(fields[b"config-epoch"]), fields[b"ip"].decode(), int(fields[b"port"])
        except (TypeError, ValueError, KeyError, AttributeError):
            raise ConnectionError(f"{asker.address}: its answer makes no sense") from None


async def _check_role(server: Address) -> None:
    asker = Asker(server)
    try:
        role = await asker.ask(b"ROLE")
    finally:
        asker.close()
    if not isinstance(role, list) or role[0] != b"master":
        raise ConnectionError(f"{server} is not a master yet")


def _close(askers: Sequence[Asker]) -> None:
    for asker in askers:
        asker.close()
