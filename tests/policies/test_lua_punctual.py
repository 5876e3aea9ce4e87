"""What comes after its sender has given it up does nothing; what a store has lost is brought in anew (SPEC §5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from tests.policies.scripted import LEASE_MS, Payer, limit, limits
from tests.policies.test_lua_late import BUDGET, DAY, HOUR, LINES, used_ms

Script = Callable[[Payer], Any]

ON_CALLS: dict[str, Script] = {
    "admit": lambda payer: payer.admit("b"),
    "answered": lambda payer: payer.answered("a"),
    "ended": lambda payer: payer.ended("a", "fail"),
    "renew": lambda payer: payer.renew(["a"]),
    "late": lambda payer: payer.late("a", "fail"),
    "release": lambda payer: payer.release("a"),
    "usage": lambda payer: payer.usage(),
    "inherit": lambda payer: payer.inherit("a", again=True),
}


@pytest.mark.parametrize("name", ON_CALLS)
def test_what_comes_too_late_does_nothing(redis_client: Redis, name: str) -> None:
    payer = Payer(redis_client, BUDGET)
    payer.admit("a")
    before = {key: redis_client.dump(key) for key in redis_client.keys("cg:{*")}
    payer.pass_time(LEASE_MS + 1)
    payer.not_after = payer.now - 1
    with pytest.raises(ResponseError, match="LATE"):
        ON_CALLS[name](payer)
    assert {key: redis_client.dump(key) for key in redis_client.keys("cg:{*")} == before


class TestAStoreThatLostWhatItKnew:
    def test_a_lease_that_a_failover_lost_is_taken_anew(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(lines=1))
        payer.admit("before")  # the replica had this one
        payer.ended("before", "void")
        assert payer.renew(["a"])[1] == ["a"]
        assert payer.late("a", "lives", admitted_ago=1_000)[1] == 1
        assert payer.admit("b")[0] == LINES

    def test_calls_that_outlive_it_are_counted_as_if_it_had_never_gone(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, BUDGET)
        for lease in ("talks", "rings", "ends", "fails"):
            payer.late(lease, "lives", unheard=True)
        payer.pass_time(5_000)
        redis_client.delete(*redis_client.keys("cg:{*"))
        assert sorted(payer.renew(["talks", "rings"])[1]) == ["rings", "talks"]
        payer.late("talks", "lives", answered_ago=4_000, admitted_ago=5_000)
        payer.late("rings", "lives", admitted_ago=5_000)
        for _ in range(2):
            payer.late("ends", "success", answered_ago=3_000, ended_ago=1_000, admitted_ago=5_000)
            payer.late("fails", "fail", ended_ago=500, admitted_ago=5_000)
        assert payer.lines() == 2
        assert payer.usage()["total"][1] == 4_000 + 2_000
        assert payer.usage()["fail"][1] == 1
        assert payer.usage()["success"][1] == 2

    def test_an_end_of_a_call_it_never_lost_is_not_counted_again(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(fail=limit("fail_calls", 2, HOUR)))
        payer.admit("a")
        payer.pass_time(1_000)
        payer.ended("a", "fail")
        payer.late("a", "fail", ended_ago=0, admitted_ago=1_000)
        assert payer.usage()["fail"] == (payer.now, 1)


class TestACallThatWaitsForItsOtherLeg:
    def test_its_instance_dies_and_it_was_never_taken(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(lines=1, fail=limit("fail_calls", 1, DAY)))
        assert payer.admit("a", tentative=True) == 0
        assert payer.admit("b") != 0
        payer.pass_time(LEASE_MS + 1)
        assert payer.admit("b") == 0
        assert payer.usage()["fail"][1] == 0

    def test_with_its_other_leg_taken_it_is_an_attempt_like_any(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(fail=limit("fail_calls", 1, DAY)))
        payer.admit("a", tentative=True)
        payer.renew(["a"])
        payer.pass_time(LEASE_MS + 1)
        assert payer.admit("b")[0] == 3
        assert payer.usage()["fail"][1] == 1

    def test_a_failure_told_after_it_lapsed_is_counted_once(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(fail=limit("fail_calls", 3, DAY)))
        payer.admit("a", tentative=True)
        payer.pass_time(LEASE_MS + 1)
        payer.late("a", "fail")
        payer.late("a", "fail")
        assert payer.usage()["fail"][1] == 1

    def test_it_lives_after_all_and_is_answered(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, BUDGET)
        payer.admit("a", tentative=True)
        payer.pass_time(LEASE_MS + 1)
        payer.renew([])
        payer.late("a", "lives", answered_ago=10_000)
        payer.ended("a", "success")
        assert used_ms(payer) == 10_000
        assert (payer.usage()["fail"][1], payer.usage()["success"][1]) == (0, 1)
