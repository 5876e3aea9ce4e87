"""The master that sentinels know: found, left when it is another, and not taken when it is none."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from policies.counters import StoreCounters
from policies.keys import command
from policies.link import Link
from policies.scripts import shipped_scripts
from policies.store import NO_REPLY
from tests.policies.linked import Replies, Watcher, until
from tests.servers import Server, Watched, make_certificate, watched


@pytest.fixture
def servers() -> Iterator[Watched]:
    with watched() as started:
        yield started


@asynccontextmanager
async def linked(url: str) -> AsyncIterator[tuple[Link, Watcher]]:
    """Connected, or told why not."""
    watcher = Watcher()
    link = Link(url, shipped_scripts(), StoreCounters(), watcher, deadline_s=1.0)
    link.start()
    await until(lambda: link.up or len(watcher.errors) > 0)
    try:
        yield link, watcher
    finally:
        await link.close()


async def port_of(link: Link) -> bytes:
    """Of the server behind the link; b"" when there is none now."""
    replies = Replies()
    if not link.plain(command(b"CONFIG", b"GET", b"port"), replies, None):
        return b""
    await replies.count(1)
    reply = replies.told[0][1]
    return b"" if reply is NO_REPLY else bytes(reply[1])


async def is_at(link: Link, server: Server) -> None:
    """Waits until the link is at a server."""
    while await port_of(link) != b"%d" % server.port:
        await until(lambda: link.up)


def test_it_goes_to_the_new_master_though_the_old_one_still_answers(servers: Watched) -> None:
    async def main() -> None:
        async with linked(servers.url) as (link, watcher):
            old = servers.master
            await is_at(link, old)
            new = servers.fail_over()
            with old.client() as client:
                role: object = client.role()
                assert str(role).startswith("[b'master'"), (
                    "the story of this test needs a master that was left behind"
                )
            await watcher.down.wait()
            await is_at(link, new)

    uvloop.run(main())


def test_a_master_that_dies_is_replaced(servers: Watched) -> None:
    async def main() -> None:
        async with linked(servers.url) as (link, watcher):
            old = servers.master
            await is_at(link, old)
            servers.replicated()
            old.stop()
            await watcher.down.wait()
            await watcher.up.wait()
            assert servers.master is not old
            await is_at(link, servers.master)

    uvloop.run(main())


def test_one_sentinel_is_enough_and_none_is_told_with_why(servers: Watched) -> None:
    async def main() -> None:
        for sentinel in servers.sentinels[:2]:
            sentinel.stop()
        async with linked(servers.url) as (link, watcher):
            assert link.up
            os.kill(servers.sentinels[2].pid, signal.SIGSTOP)
            # Nobody can say who is master: what we have is kept, for it may be we who are cut off.
            await until(lambda: not watcher.down.is_set())
        async with linked(servers.url) as (link, watcher):
            assert not link.up
            assert "no sentinel says who is master" in watcher.errors[0]
            assert f"127.0.0.1:{servers.sentinels[0].port}" in watcher.errors[0]
            os.kill(servers.sentinels[2].pid, signal.SIGCONT)
            await watcher.up.wait()

    uvloop.run(main())


def test_a_master_that_no_sentinel_knows(servers: Watched) -> None:
    async def main() -> None:
        async with linked(servers.url.replace("mymaster", "other")) as (link, watcher):
            assert not link.up
            assert "No such master" in watcher.errors[0]

    uvloop.run(main())


def test_who_is_no_master_is_not_taken_for_one(servers: Watched) -> None:
    """While a failover is under way sentinels are ahead of the servers."""

    async def main() -> None:
        master = servers.master
        (replica,) = (server for server in servers.servers if server is not master)
        with master.client() as client:
            client.replicaof("127.0.0.1", str(replica.port))
        try:
            async with linked(servers.url) as (_link, watcher):
                assert "is not a master yet" in watcher.errors[0]
        finally:
            with master.client() as client:
                client.replicaof("NO", "ONE")

    uvloop.run(main())


def test_passwords_of_sentinels_and_servers_are_two_things() -> None:
    async def main() -> None:
        with watched(passwords=("of-sentinels", "of-servers")) as servers:
            url = servers.url.replace("//", "//:of-servers@")
            async with linked(f"{url}?sentinel_password=of-sentinels") as (link, watcher):
                assert link.up, watcher.errors
            async with linked(url) as (link, watcher):
                assert not link.up
                assert "NOAUTH" in watcher.errors[0]

    uvloop.run(main())


def test_over_tls_with_certificates_that_are_checked(tmp_path: Path) -> None:
    async def main() -> None:
        with watched(make_certificate(tmp_path)) as servers:
            async with linked(servers.url) as (link, watcher):
                assert link.up, watcher.errors
                new = servers.fail_over()
                await watcher.down.wait()
                await is_at(link, new) if link.up else await watcher.up.wait()
            async with linked(servers.url.partition("?")[0]) as (link, watcher):
                assert not link.up
                assert "certificate" in watcher.errors[0]

    uvloop.run(main())
