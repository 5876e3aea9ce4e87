"""The limiter on a Cluster: as on one server, for many payers, while slots move and nodes die."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop
from redis import Redis, RedisCluster

from policies.cluster import Cluster
from tests import servers
from tests.policies.busy import Busy, Deaf
from tests.policies.limited import Bench, Case, Play, bench_at
from tests.policies.linked import until
from tests.policies.test_limiter import TestRenewal, TestVerdicts
from tests.servers import cluster_of, payers_on, slot_of

__all__ = ["TestRenewal", "TestVerdicts"]


@pytest.fixture(scope="module")
def started() -> Iterator[servers.Cluster]:
    with cluster_of() as made:
        yield made


@pytest.fixture
def nodes(started: servers.Cluster) -> servers.Cluster:
    """Whole and empty."""
    started.settled()
    started.flush()
    return started


@pytest.fixture
def redis_client(nodes: servers.Cluster) -> Iterator[Redis]:
    """Of the whole Cluster."""
    client = RedisCluster(host="127.0.0.1", port=nodes.nodes[0].port)
    yield cast(Redis, client)
    client.close()


@pytest.fixture
def play(nodes: servers.Cluster, redis_client: Redis, tmp_path: Path) -> Play:
    def play(case: Case, **options: Any) -> None:
        async def main() -> None:
            async with bench_at(nodes.url, redis_client, tmp_path, **options) as made:
                await case(made)

        uvloop.run(main())

    return play


@asynccontextmanager
async def busy(
    nodes: servers.Cluster, admin: Redis, folder: Path, each: int = 4, **options: Any
) -> AsyncIterator[tuple[Bench, Busy]]:
    """Calls of some payers on each node."""
    async with bench_at(nodes.url, admin, folder, user=Deaf(), **options) as bench:
        await until(lambda: len(bench.counters.nodes) == 3 and not bench.counters.nodes[0].away())
        names = [name for node in nodes.nodes for name in payers_on(node, each)]
        calls = Busy(bench, names)
        yield bench, calls
        await calls.stop()


def run(main: Coroutine[Any, Any, None]) -> None:
    uvloop.run(main)


async def beside(work: Any, *arguments: Any) -> None:
    """A blocking piece of work, while the loop goes on."""
    await asyncio.get_running_loop().run_in_executor(None, work, *arguments)


def redirects_of(bench: Bench) -> list[str]:
    """What the nodes say from now on instead of doing something."""
    cluster = cast(Cluster, bench.limiter._link)
    seen: list[str] = []
    redirect = cluster.redirect

    def noted(node: Any, astray: Any, kind: str, text: str) -> None:
        seen.append(kind)
        redirect(node, astray, kind, text)

    cluster.redirect = noted  # type: ignore[method-assign]
    return seen


class TestMoves:
    def test_slots_of_live_leases_move_under_traffic_and_every_counter_is_exact(
        self, nodes: servers.Cluster, redis_client: Redis, tmp_path: Path
    ) -> None:
        async def main() -> None:
            async with busy(nodes, redis_client, tmp_path, deadline_s=5.0, lease_s=10.0) as (bench, calls):
                seen = redirects_of(bench)
                names = list(calls.payers)
                await until(lambda: all(calls.live.values()))
                for turn in (1, 2, 3):
                    for n, name in enumerate(names):
                        await beside(nodes.move, slot_of(name), nodes.nodes[(n // 4 + turn) % 3])
                await until(lambda: bench.counters.leases_renewed > 0)
                await calls.stop()
                assert calls.unavailable.total() == 0
                assert calls.admitted.total() > 10 * len(names)
                assert {"MOVED", "ASK"} <= set(seen)
                await calls.all_counted(names)
                assert bench.counters.leases_lapsed == 0
                assert bench.counters.spool_records == 0
                for name in names:
                    while calls.live[name]:
                        calls.end_one(name)
                await calls.all_counted(names)

        run(main())


class TestNodes:
    def test_the_payers_of_a_dead_node_are_settled_when_it_is_back_and_the_others_notice_nothing(
        self, nodes: servers.Cluster, redis_client: Redis, tmp_path: Path
    ) -> None:
        async def main() -> None:
            async with busy(nodes, redis_client, tmp_path, deadline_s=5.0, lease_s=3.0) as (bench, calls):
                gone = nodes.nodes[1]
                lost = [name for name in calls.payers if nodes.node_of(name) is gone]
                kept = [name for name in calls.payers if name not in lost]
                await until(lambda: all(calls.live.values()))
                gone.stop()
                await until(lambda: all(calls.unavailable[name] for name in lost))
                for name in lost:
                    # Calls in progress go on, and end while the store of their payer is away.
                    calls.end_one(name)
                await until(lambda: bench.counters.spool_records > 0)
                assert bench.limiter.up
                lapsed, renewed = bench.counters.leases_lapsed, bench.counters.leases_renewed
                at_least = 2 * sum(len(calls.live[name]) for name in kept)
                # More than a lease: renewals of those that are away do not hold up the others'.
                await until(lambda: bench.counters.leases_renewed > renewed + at_least)
                assert bench.counters.leases_lapsed == lapsed
                assert not any(calls.unavailable[name] for name in kept)
                gone.start()
                await until(lambda: bench.counters.spool_records == 0)
                await calls.stop()
                await calls.all_counted([*kept, *lost])

        run(main())
