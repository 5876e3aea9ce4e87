"""Several instances on one store: a moment of exhaustion that moves, leases that are cleared, calls of the dead."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import uvloop
from redis import Redis

from policies import keys, notices
from policies.account import Limits, Mode
from policies.lease import Leg, Outcome
from policies.settlement import REPLAY_BATCH
from policies.verdicts import Admitted
from tests.policies.limited import DAY, Bench, bench, bench_at, leg
from tests.policies.linked import proxied, until
from tests.policies.scripted import limit, limits
from tests.redis import PrivateRedis

BUDGET = limits(total=limit("total_duration", 100_000, DAY, "both"))


@asynccontextmanager
async def two(redis: PrivateRedis, folder: Path, lease_s: float) -> AsyncIterator[tuple[Bench, Bench]]:
    async with AsyncExitStack() as stack:
        made = []
        for number in (1, 2):
            own = folder / str(number)
            own.mkdir()
            made.append(
                await stack.enter_async_context(
                    bench(redis, own, lease_s=lease_s, instance=f"0000000{number}")
                )
            )
        yield made[0], made[1]


async def both_listen(redis: Redis) -> None:
    await until(lambda: redis.pubsub_numsub(keys.NOTICES)[0][1] == 2)


async def talks(b: Bench, one: Leg) -> None:
    assert isinstance(await b.admit(one), Admitted)
    told = len(b.user.budgets)
    b.limiter.answered(one, "dialog")
    await until(lambda: len(b.user.budgets) > told)


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def awaited() -> None:
        await main()

    uvloop.run(awaited())


def test_an_answer_elsewhere_moves_the_moment_at_once(
    redis_server: PrivateRedis, redis_client: Redis, tmp_path: Path
) -> None:
    """SPEC §3, rule 3; leases of a minute, so it is not a renewal that told."""

    async def main() -> None:
        async with two(redis_server, tmp_path, lease_s=60) as (one, other):
            await both_listen(redis_client)
            first, second = leg(BUDGET), leg(BUDGET)
            await talks(one, first)
            assert one.user.budgets[-1] == pytest.approx(100, abs=1)
            await talks(other, second)
            await until(lambda: len(one.user.budgets) == 2)
            assert one.user.budgets[-1] == pytest.approx(50, abs=1)
            other.limiter.release(second, Outcome.SUCCESS)
            await until(lambda: len(one.user.budgets) == 3)
            assert one.user.budgets[-1] == pytest.approx(100, abs=2)

    run(main)


def test_a_notice_that_is_lost_comes_with_the_next_renewal(
    redis_server: PrivateRedis, redis_client: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody hears anything.
    monkeypatch.setattr(notices, "NOTICES", "elsewhere")

    async def main() -> None:
        async with two(redis_server, tmp_path, lease_s=2) as (one, other):
            await talks(one, leg(BUDGET))
            await talks(other, leg(BUDGET))
            await until(lambda: one.user.budgets[-1] is not None and one.user.budgets[-1] < 51)

    run(main)


def test_whose_lease_was_cleared_is_told_and_cannot_take_it_anew(
    redis_server: PrivateRedis, redis_client: Redis, tmp_path: Path
) -> None:
    async def main() -> None:
        async with two(redis_server, tmp_path, lease_s=60) as (one, other):
            await both_listen(redis_client)
            cleared, stays = leg(BUDGET), leg(BUDGET)
            await talks(one, cleared)
            await talks(one, stays)
            assert await other.limiter.payers.release(BUDGET, cleared.lease) == [cleared.lease]
            await until(lambda: one.user.lost == [cleared])
            assert one.lines() == {"to": [stays.lease]}
            # Its call ends all the same, and that changes nothing.
            one.limiter.release(cleared, Outcome.SUCCESS)
            one.limiter.release(stays, Outcome.SUCCESS)
            await until(lambda: one.lines() == {})

    run(main)


def test_calls_of_an_instance_that_died_are_taken_up_once_their_leases_have_lapsed(
    redis_server: PrivateRedis, redis_client: Redis, tmp_path: Path
) -> None:
    async def main() -> None:
        async with two(redis_server, tmp_path, lease_s=2) as (one, other):
            for b in (one, other):
                b.user.known["alice", "gateway"] = BUDGET
            await talks(one, leg(BUDGET, lease="00000001a"))
            await one.away()  # it says nothing any more
            await until(lambda: len(other.user.inherited) == 1)
            [call] = other.user.inherited
            assert (call.lease, call.dialog, call.held) == ("00000001a", "dialog", False)
            assert call.exhausts_in == pytest.approx(98, abs=1.5)
            # It is ours for as long as we live, and nobody is asked again.
            claim = keys.heir_key("alice", "gateway", call.lease)
            await until(lambda: (redis_client.pttl(claim) or 0) > 1_900)
            assert redis_client.exists(keys.index_key("00000001")) == 1
            other.limiter.dialog_over(call)
            await until(lambda: redis_client.exists(keys.index_key("00000001"), claim) == 0)
            assert len(other.user.inherited) == 1

    run(main)


def test_who_takes_calls_up_and_dies_too_is_followed_by_another(
    redis_server: PrivateRedis, redis_client: Redis, tmp_path: Path
) -> None:
    """Two deaths in a row: nobody cut what the first heir had not cut yet."""

    async def main() -> None:
        async with two(redis_server, tmp_path, lease_s=2) as (one, other):
            third = tmp_path / "3"
            third.mkdir()
            known: dict[tuple[str, Mode], Limits] = {("alice", "gateway"): BUDGET}
            for b in (one, other):
                b.user.known.update(known)
            await talks(one, leg(BUDGET, lease="00000001a"))
            await one.away()
            await until(lambda: len(other.user.inherited) == 1)
            await other.away()
            async with bench(redis_server, third, lease_s=2, instance="00000003", known=known) as heir:
                await until(lambda: len(heir.user.inherited) == 1)
                assert heir.user.inherited[0].dialog == "dialog"

    run(main)


def test_started_again_it_finds_what_it_left(
    redis_server: PrivateRedis, redis_client: Redis, tmp_path: Path
) -> None:
    payer = limits(lines=2)

    async def first_life() -> None:
        async with bench(redis_server, tmp_path) as b:
            await talks_on(b, leg(payer, lease="00000001a"))
            await b.admit(leg(payer, lease="00000001b"))
            await b.away()

    async def second_life() -> None:
        async with bench(redis_server, tmp_path, known={("alice", "gateway"): payer}) as b:
            await until(lambda: len(b.user.inherited) == 1)
            [call] = b.user.inherited
            assert (call.lease, call.held) == ("00000001a", True)
            # The attempt died with its instance; the call's line is still its own.
            await until(lambda: b.lines() == {"to": ["00000001a"]})
            taken = leg(payer, lease="00000001a")
            b.limiter.hold(taken, 5.0, call.dialog)
            b.limiter.release(taken, Outcome.SUCCESS)
            await until(lambda: b.lines() == {})

    run(first_life)
    run(second_life)


@pytest.mark.parametrize("calls", [1, 3 * REPLAY_BATCH])
def test_started_again_it_finds_what_was_answered_while_the_store_was_away(
    redis_server: PrivateRedis, redis_client: Redis, tmp_path: Path, calls: int
) -> None:
    """Its spool is settled first, however long it is: to the store these were attempts, which died with it."""
    payer = limits(fail=limit("fail_calls", calls + 1, DAY))
    legs = [leg(payer, lease=f"00000001-{number}") for number in range(calls)]

    async def first_life() -> None:
        async with bench(redis_server, tmp_path) as b:
            for one in legs:
                await b.admit(one)
            await b.away()
            for one in legs:
                b.limiter.answered(one, f"dialog of {one.lease}")

    async def second_life() -> None:
        async with bench(redis_server, tmp_path, known={("alice", "gateway"): payer}) as b:
            await until(lambda: len(b.user.inherited) == calls)
            found = {(call.lease, call.dialog, call.held) for call in b.user.inherited}
            assert found == {(one.lease, f"dialog of {one.lease}", True) for one in legs}
            usage = await b.limiter.payers.usage(payer)
            assert usage.fail_calls.used == 0

    run(first_life)
    run(second_life)


def test_started_again_it_finds_what_came_and_was_answered_while_the_store_was_away(
    redis_server: PrivateRedis, redis_client: Redis, tmp_path: Path
) -> None:
    """The store had never heard of the call, nor that its payer has one here."""
    payer = limits(total=limit("total_duration", 100_000, DAY))

    async def first_life() -> None:
        async with bench(redis_server, tmp_path, admits=True) as b:
            await b.away()
            one = leg(payer, lease="00000001-1")
            b.limiter.admit(one)
            await until(lambda: one.lease in b.user.verdicts)
            b.limiter.answered(one, "dialog")

    async def second_life() -> None:
        async with bench(redis_server, tmp_path, known={("alice", "gateway"): payer}) as b:
            await until(lambda: len(b.user.inherited) == 1)
            [call] = b.user.inherited
            assert (call.lease, call.dialog, call.held) == ("00000001-1", "dialog", False)
            assert call.exhausts_in == pytest.approx(100, abs=2)

    run(first_life)
    run(second_life)


def test_started_again_while_the_store_was_away_it_tells_new_calls_from_old_ones(
    redis_server: PrivateRedis, redis_client: Redis, tmp_path: Path
) -> None:
    """Of the same payer: those that came before the store was back are no attempts of a dead run."""
    payer = limits(fail=limit("fail_calls", 5, DAY))
    old, rings, talks_now = "00000001oldrun-1", "00000001newrun-1", "00000001newrun-2"

    async def first_life() -> None:
        async with bench(redis_server, tmp_path, run="oldrun") as b:
            await talks_on(b, leg(payer, lease=old))

    async def second_life() -> None:
        known: dict[tuple[str, Mode], Limits] = {("alice", "gateway"): payer}
        async with proxied(redis_server) as proxy:
            await proxy.away()
            async with bench_at(
                proxy.url,
                redis_client,
                tmp_path,
                proxy=proxy,
                admits=True,
                run="newrun",
                known=known,
                up=False,
            ) as b:
                for lease in (rings, talks_now):
                    await b.admit(leg(payer, lease=lease))
                b.limiter.answered(leg(payer, lease=talks_now), "dialog of a new one")
                await b.back()
                await until(lambda: len(b.user.inherited) == 1)
                [call] = b.user.inherited
                assert (call.lease, call.dialog, call.held) == (old, "dialog", True)
                await until(lambda: b.lines() == {"po": [rings], "to": [talks_now, old]})
                usage = await b.limiter.payers.usage(payer)
                assert usage.fail_calls.used == 0

    run(first_life)
    run(second_life)


@pytest.mark.parametrize("how", ["came back empty", "was emptied"])
def test_a_store_without_what_it_held_knows_again_whose_calls_are_to_be_looked_after(
    redis_server: PrivateRedis, redis_client: Redis, tmp_path: Path, how: str
) -> None:
    async def first_life() -> None:
        async with bench(redis_server, tmp_path, lease_s=2) as b:
            one = leg(BUDGET, lease="00000001-1")
            await talks(b, one)
            if how == "came back empty":
                await b.away()
            redis_client.flushall()
            if how == "came back empty":
                await b.back()
            await until(lambda: b.lines() == {"to": [one.lease]})
            await until(lambda: redis_client.exists(keys.index_key("00000001")) == 1)

    async def second_life() -> None:
        known: dict[tuple[str, Mode], Limits] = {("alice", "gateway"): BUDGET}
        async with bench(redis_server, tmp_path, lease_s=2, known=known) as b:
            await until(lambda: len(b.user.inherited) == 1)
            assert b.user.inherited[0].dialog == "dialog"

    run(first_life)
    run(second_life)


async def talks_on(b: Bench, one: Leg) -> None:
    """Of a payer without a budget, of whom nobody is told anything."""
    await b.admit(one)
    b.limiter.answered(one, "dialog")
    await until(lambda: b.lines().get("to") == [one.lease])


def test_others_are_told_to_read_their_files_again(
    redis_server: PrivateRedis, redis_client: Redis, tmp_path: Path
) -> None:
    async def main() -> None:
        async with two(redis_server, tmp_path, lease_s=60) as (one, other):
            await both_listen(redis_client)
            one.limiter.tell_others_to_reload()
            await until(lambda: other.user.reloads == 1)
            assert one.user.reloads == 0

    run(main)
