"""Two instances that go by different plans for a while: one has read its files again, the other not yet."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from policies.lease import Outcome
from policies.verdicts import Admitted
from tests.policies.limited import DAY, leg
from tests.policies.linked import until
from tests.policies.scripted import limit, limits
from tests.policies.test_limiter_others import BUDGET, both_listen, run, talks, two
from tests.redis import PrivateRedis

OTHER = limits(total=limit("total_duration", 60_000, DAY, "both", plan="other"))
WATCHED_S = 0.5


def scripts_run(client: Redis) -> int:
    stats: Any = client.info("commandstats")
    return int(stats["cmdstat_evalsha"]["calls"])


def test_they_do_not_tell_each_other_for_ever(
    redis_server: PrivateRedis, redis_client: Redis, tmp_path: Path
) -> None:
    """Each script puts its own counters in force, which moves the moment of exhaustion; who asked because the other one
    had moved it moved it back, told the other, and so on as fast as the store answers."""

    async def main() -> None:
        async with two(redis_server, tmp_path, lease_s=60) as (one, other):
            await both_listen(redis_client)
            first, second = leg(BUDGET), leg(BUDGET)
            await talks(one, first)
            await talks(other, second)
            await until(lambda: len(one.user.budgets) == 2)
            told = len(one.user.budgets)
            one.limiter.change(OTHER)
            await until(lambda: len(one.user.budgets) > told)
            assert one.user.budgets[-1] == pytest.approx(30, abs=1)
            before = scripts_run(redis_client)
            await asyncio.sleep(WATCHED_S)
            assert scripts_run(redis_client) - before <= 2
            # The second follows, and both plan with what is in force now.
            told = len(other.user.budgets)
            other.limiter.change(OTHER)
            await until(lambda: len(other.user.budgets) > told)
            assert other.user.budgets[-1] == pytest.approx(30, abs=2)
            assert isinstance(await other.admit(leg(OTHER)), Admitted)
            other.limiter.release(second, Outcome.SUCCESS)
            await until(lambda: one.user.budgets[-1] == pytest.approx(60, abs=3))

    run(main)
