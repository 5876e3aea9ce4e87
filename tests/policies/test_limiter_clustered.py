"""The limiter on a Cluster: as on one server, for many payers, while slots move and nodes die."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop
from redis import Redis, RedisCluster
from redis.crc import key_slot

from policies import keys
from policies.cluster import Cluster
from policies.verdicts import Admitted
from tests import servers
from tests.policies.busy import Busy, Deaf, payer_named
from tests.policies.limited import DAY, Bench, Case, Play, bench_at, leg
from tests.policies.linked import beside, redirects_of, until
from tests.policies.scripted import limit, limits
from tests.policies.test_limiter import TestRenewal, TestVerdicts
from tests.servers import payers_on, slot_of

__all__ = ["TestRenewal", "TestVerdicts"]


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


class Listening(Deaf):
    """Knows the last moment of exhaustion it was told of each payer."""

    def __init__(self) -> None:
        super().__init__()
        self.told: dict[str, float] = {}

    def on_budget(self, payer: str, mode: str, exhausts_in: float | None, version: int) -> None:
        self.told[payer] = exhausts_in or 0.0


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


class TestMoves:
    def test_slots_of_live_leases_move_under_traffic_and_every_counter_is_exact(
        self, nodes: servers.Cluster, redis_client: Redis, tmp_path: Path
    ) -> None:
        async def main() -> None:
            async with busy(nodes, redis_client, tmp_path, deadline_s=5.0, lease_s=10.0) as (bench, calls):
                seen = redirects_of(cast(Cluster, bench.limiter._link))
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


class TestInstances:
    def test_an_answer_elsewhere_moves_the_moment_wherever_the_payer_is(
        self, nodes: servers.Cluster, redis_client: Redis, tmp_path: Path
    ) -> None:
        """What a script publishes at one node is heard at all of them."""

        async def main() -> None:
            budget = limits(total=limit("total_duration", 100_000, DAY, "both"))
            async with AsyncExitStack() as stack:
                instances = []
                for number in ("1", "2"):
                    (tmp_path / number).mkdir()
                    made = bench_at(
                        nodes.url,
                        redis_client,
                        tmp_path / number,
                        user=Listening(),
                        lease_s=60.0,
                        instance=f"0000000{number}",
                    )
                    instances.append(await stack.enter_async_context(made))
                one, other = instances
                await until(
                    lambda: sum(node.ask("PUBSUB", "NUMSUB", keys.NOTICES)[1] for node in nodes.nodes) == 2
                )
                for node in nodes.nodes:
                    (name,) = payers_on(node, 1)
                    payer = replace(budget, payer=name)
                    for instance, left in ((one, 100), (other, 50)):
                        talking = leg(payer)
                        assert isinstance(await instance.admit(talking), Admitted)
                        instance.limiter.answered(talking)
                        told = cast(Listening, one.user).told
                        await until(lambda: told.get(name, 0) == pytest.approx(left, abs=2))  # noqa: B023

        run(main())

    def test_started_again_it_finds_what_it_left_at_a_node_that_was_away(
        self, nodes: servers.Cluster, redis_client: Redis, tmp_path: Path
    ) -> None:
        index = nodes.owner(key_slot(keys.index_key("00000001")))
        gone = next(node for node in nodes.nodes if node is not index)
        payer = payer_named(payers_on(gone, 1)[0])
        options: dict[str, Any] = {"known": {(payer.payer, payer.mode): payer}, "lease_s": 20.0}
        talking = leg(payer, lease="00000001a")

        async def first_life() -> None:
            async with bench_at(nodes.url, redis_client, tmp_path, user=Deaf(), **options) as b:
                await b.admit(talking)
                b.limiter.answered(talking, "dialog")

        async def second_life() -> None:
            async with bench_at(nodes.url, redis_client, tmp_path, user=Deaf(), **options) as b:
                assert not isinstance(await b.admit(leg(payer)), Admitted)
                assert b.user.inherited == []
                gone.start()
                await until(lambda: len(b.user.inherited) == 1)
                [call] = b.user.inherited
                assert (call.lease, call.held) == (talking.lease, True)

        run(first_life())
        gone.stop()
        run(second_life())


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
