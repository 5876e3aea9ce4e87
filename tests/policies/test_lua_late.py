"""late-7.lua: what was not told in time is settled once, and right, whatever the store believed meanwhile (SPEC §5)."""

from __future__ import annotations

import pytest
from redis import Redis

from tests.policies.scripted import LEASE_MS, Payer, limit, limits

HOUR = 3_600_000
DAY = 24 * HOUR

TOTAL, SUCCESS, FAIL, LINES = range(1, 5)

FAIL_ONE = limits(fail=limit("fail_calls", 1, HOUR))
BUDGET = limits(
    total=limit("total_duration", 100_000, DAY, "both"),
    success=limit("success_calls", 2, DAY),
    fail=limit("fail_calls", 2, DAY),
)


def used_ms(payer: Payer) -> int:
    """Of a budget of 100 s, by what a call answered now would have left. Leaves the payer as it was."""
    payer.late("probe", "lives", answered_ago=0, unheard=True, direction="in")
    left = payer.renew([], ["probe"])[0]
    drawing = payer.lines()
    payer.late("probe", "void", ended_ago=0, direction="in")
    return 100_000 - left * drawing


class TestLapsedButAlive:
    def test_a_pending_attempt_that_was_only_cut_off_has_not_failed(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, FAIL_ONE)
        payer.admit("a")
        payer.pass_time(2 * LEASE_MS)
        assert payer.admit("b")[0] == FAIL  # noticed: lapsed, failed
        assert payer.renew(["a"])[1] == ["a"]
        assert payer.late("a", "lives")[1] == 1
        assert payer.renew(["a"])[1] == []
        payer.ended("a", "void")
        assert payer.admit("b") == 0

    def test_its_answer_is_a_success_and_no_failure(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, BUDGET)
        payer.admit("a")
        payer.pass_time(LEASE_MS + 10_000)
        payer.renew([])
        assert payer.answered("a")[1] == 0
        payer.late("a", "lives", answered_ago=5_000)
        payer.ended("a", "success")
        assert used_ms(payer) == 5_000
        payer.admit("b")
        payer.answered("b")
        assert payer.admit("c")[0] == SUCCESS
        payer.limits = limits(fail=limit("fail_calls", 1, DAY))
        assert payer.admit("d") == 0

    def test_a_failure_told_late_is_counted_once(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(fail=limit("fail_calls", 2, HOUR)))
        payer.admit("a")
        payer.pass_time(2 * LEASE_MS)
        payer.renew([])
        payer.late("a", "fail", ended_ago=100)
        payer.late("a", "fail", ended_ago=200)
        assert payer.admit("b") == 0
        payer.ended("b", "fail")
        assert payer.admit("c")[0] == FAIL

    @pytest.mark.parametrize(("ended_ago", "talk"), [(0, 70_000), (20_000, 50_000), (50_000, 20_000)])
    def test_talk_runs_to_its_real_end(self, redis_client: Redis, ended_ago: int, talk: int) -> None:
        payer = Payer(redis_client, BUDGET)
        payer.admit("a")
        payer.answered("a")
        payer.pass_time(70_000)
        assert used_ms(payer) == LEASE_MS  # lapsed, and settled up to the lease's end
        assert payer.ended("a", "success")[1] == 0
        payer.late("a", "success", answered_ago=70_000, ended_ago=ended_ago)
        assert used_ms(payer) == talk

    def test_taken_up_again_it_talks_on(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, BUDGET)
        payer.admit("a")
        payer.answered("a")
        payer.pass_time(40_000)
        payer.renew([])
        assert payer.late("a", "lives", answered_ago=40_000)[0] == 60_000
        payer.pass_time(20_000)
        assert payer.ended("a", "success")[1] == 1
        assert used_ms(payer) == 60_000


class TestAdmittedWhileTheStoreWasAway:
    def test_a_call_that_goes_on_is_asserted(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(lines=1))
        assert payer.late("a", "lives", unheard=True)[1] == 1
        assert payer.admit("b")[0] == LINES
        assert payer.renew(["a"])[1] == []

    def test_a_call_that_came_and_went_is_counted_once(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, BUDGET)
        for _ in range(3):
            payer.late("a", "lives", answered_ago=30_000, unheard=True)
            payer.late("a", "success", answered_ago=30_000, ended_ago=5_000, unheard=True)
        assert payer.lines() == 0
        assert used_ms(payer) == 25_000
        payer.admit("b")
        payer.answered("b")
        assert payer.admit("c")[0] == SUCCESS

    def test_a_failure_is_counted_once(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(fail=limit("fail_calls", 2, HOUR)))
        for _ in range(3):
            payer.late("a", "fail", ended_ago=600_000, unheard=True)
        assert payer.admit("b") == 0
        payer.ended("b", "fail")
        assert payer.admit("c") == (FAIL, HOUR - 600_000)

    def test_the_store_has_heard_of_it_after_all(self, redis_client: Redis) -> None:
        """The admission ran, its answer was lost, and the call was let through."""
        payer = Payer(redis_client, BUDGET)
        payer.admit("a")
        payer.late("a", "lives", answered_ago=0, unheard=True)
        payer.pass_time(10_000)
        payer.late("a", "success", answered_ago=10_000, ended_ago=0, unheard=True)
        payer.late("a", "success", answered_ago=10_000, ended_ago=0, unheard=True)
        assert used_ms(payer) == 10_000


class TestToldInTime:
    def test_what_was_given_back_stays_so(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, BUDGET)
        payer.admit("a")
        payer.answered("a")
        payer.pass_time(10_000)
        payer.ended("a", "success")
        assert payer.late("a", "answered", answered_ago=10_000, admitted_ago=10_000) == (-1, 0)
        assert payer.late("a", "success", answered_ago=10_000, ended_ago=0, admitted_ago=10_000) == (-1, 0)
        assert payer.lines() == 0
        assert used_ms(payer) == 10_000

    def test_an_answer_that_never_arrived_comes_with_the_end(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, BUDGET)
        payer.admit("a")
        payer.pass_time(20_000)
        assert payer.ended("a", "success")[1] == 0
        assert payer.late("a", "success", answered_ago=15_000, ended_ago=3_000)[1] == 1
        assert used_ms(payer) == 12_000
        payer.admit("b")
        payer.answered("b")
        assert payer.admit("c")[0] == SUCCESS

    def test_an_end_told_late_takes_back_what_was_drained_since(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, BUDGET)
        payer.admit("a")
        payer.answered("a")
        payer.pass_time(20_000)
        assert used_ms(payer) == 20_000
        payer.late("a", "success", answered_ago=20_000, ended_ago=12_000)
        assert used_ms(payer) == 8_000

    def test_an_admission_in_doubt_is_given_back(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(lines=1, fail=limit("fail_calls", 1, HOUR)))
        payer.admit("a")
        payer.late("a", "void")
        payer.late("b", "void")
        assert payer.admit("c") == 0

    def test_talk_before_the_window_belongs_to_one_that_is_over(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(total=limit("total_duration", 100_000, 120_000, "both")))
        payer.late("a", "success", answered_ago=150_000, ended_ago=10_000, unheard=True)
        assert used_ms(payer) == 20_000


class TestAnswersFromTheSpool:
    """Their instance may be dead: they settle the past, and take no lease."""

    def test_a_call_that_nobody_asserts_talked_as_long_as_its_lease_would_have_lasted(
        self, redis_client: Redis
    ) -> None:
        payer = Payer(redis_client, BUDGET)
        payer.late("a", "answered", answered_ago=100_000, unheard=True)
        payer.late("a", "answered", answered_ago=100_000, unheard=True)
        assert payer.lines() == 0
        assert used_ms(payer) == LEASE_MS

    def test_an_answer_before_the_lease_lapsed(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(total=BUDGET.total_duration, fail=limit("fail_calls", 1, DAY)))
        payer.admit("a")
        payer.pass_time(2 * LEASE_MS)
        assert payer.admit("b")[0] == FAIL
        payer.late("a", "answered", answered_ago=2 * LEASE_MS - 10_000)
        assert payer.lines() == 0
        assert used_ms(payer) == LEASE_MS - 10_000
        assert payer.admit("b") == 0

    def test_an_answer_after_the_lease_lapsed(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, BUDGET)
        payer.admit("a")
        payer.pass_time(2 * LEASE_MS)
        payer.renew([])
        payer.late("a", "answered", answered_ago=10_000)
        assert used_ms(payer) == 0
        payer.late("a", "success", answered_ago=10_000, ended_ago=4_000)
        assert used_ms(payer) == 6_000

    def test_a_lease_that_is_held_keeps_its_expiry(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, BUDGET)
        payer.admit("a")
        payer.pass_time(20_000)
        payer.late("a", "answered", answered_ago=5_000)
        payer.pass_time(LEASE_MS)
        payer.renew([])
        assert payer.lines() == 0
        assert used_ms(payer) == LEASE_MS - 15_000
