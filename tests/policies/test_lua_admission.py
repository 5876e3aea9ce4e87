"""The scripts on a payer's calls, one behaviour a test: SPEC §3 rules 1, 2, 3, 5, 6 and 8."""

from __future__ import annotations

import pytest
from redis import Redis

from policies.account import Direction
from tests.policies.scripted import LEASE_MS, Payer, limit, limits

HOUR = 3_600_000
DAY = 24 * HOUR

TOTAL, SUCCESS, FAIL, LINES, REPLAYED, UNREGISTERED = range(1, 7)
NO_RESET = -1
NEVER = -1


class TestLines:
    def test_as_many_calls_as_lines_whatever_their_direction_and_state(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(lines=3))
        assert payer.admit("a", "out") == 0
        assert payer.admit("b", "in") == 0
        payer.answered("b", "in")
        assert payer.admit("c", "in") == 0
        assert payer.admit("d", "out") == (LINES, NO_RESET)
        payer.ended("b", "success", "in")
        assert payer.admit("d", "out") == 0

    def test_a_refused_call_holds_nothing(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(lines=1, fail=limit("fail_calls", 1, HOUR)))
        payer.admit("a", "in")
        payer.admit("b", "out")
        assert payer.lines() == 1
        payer.ended("a", "success", "in")
        payer.ended("a", "void", "in")
        assert payer.admit("c", "out") == 0

    def test_an_unlimited_payer_is_never_refused(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits())
        assert [payer.admit(str(number)) for number in range(50)] == [0] * 50


class TestSuccessAndFail:
    @pytest.mark.parametrize(("option", "why"), [("success", SUCCESS), ("fail", FAIL)])
    def test_pending_attempts_hold_places(self, redis_client: Redis, option: str, why: int) -> None:
        counter = limit(f"{option}_calls", 2, HOUR)
        payer = Payer(redis_client, limits(success=counter) if option == "success" else limits(fail=counter))
        assert [payer.admit(lease) for lease in "abc"] == [0, 0, (why, NO_RESET)]

    def test_an_outcome_keeps_one_place_and_frees_the_other(self, redis_client: Redis) -> None:
        payer = Payer(
            redis_client, limits(success=limit("success_calls", 1, HOUR), fail=limit("fail_calls", 1, HOUR))
        )
        assert payer.admit("a") == 0
        payer.ended("a", "fail")
        assert payer.admit("b") == (FAIL, HOUR)

    def test_the_window_opens_at_the_first_outcome_and_not_at_admission(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(fail=limit("fail_calls", 2, HOUR)))
        payer.admit("a")
        payer.pass_time(1_000)
        payer.ended("a", "fail")
        payer.pass_time(500)
        payer.admit("b")
        payer.ended("b", "fail")
        assert payer.admit("c") == (FAIL, HOUR - 500)
        payer.pass_time(HOUR - 501)
        assert payer.admit("c") == (FAIL, 1)
        payer.pass_time(1)
        assert payer.admit("c") == 0

    def test_an_outcome_at_the_very_end_of_a_window_opens_the_next(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(success=limit("success_calls", 2, 20_000)))
        for lease in "ab":
            payer.admit(lease)
        payer.answered("a")
        payer.pass_time(20_000)
        payer.answered("b")
        assert payer.admit("c") == 0
        payer.answered("c")
        assert payer.admit("d") == (SUCCESS, 20_000)

    def test_a_call_given_back_leaves_no_trace(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(lines=1, fail=limit("fail_calls", 1, HOUR)))
        payer.admit("a")
        payer.ended("a", "void")
        assert payer.lines() == 0
        assert payer.admit("b") == 0

    def test_what_is_called_does_not_use_up_what_counts_outgoing_calls(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(fail=limit("fail_calls", 1, HOUR)))
        for lease in "abc":
            assert payer.admit(lease, "in") == 0
            payer.ended(lease, "fail", "in")
        assert payer.admit("d", "out") == 0

    @pytest.mark.parametrize(("direction", "other"), [("out", "in"), ("in", "out")])
    def test_counts_both(self, redis_client: Redis, direction: Direction, other: Direction) -> None:
        payer = Payer(redis_client, limits(success=limit("success_calls", 2, HOUR, "both")))
        payer.admit("a", direction)
        payer.answered("a", direction)
        assert payer.admit("b", other) == 0
        assert payer.admit("c", direction) == (SUCCESS, NO_RESET)

    def test_counts_incoming(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(success=limit("success_calls", 1, HOUR, "incoming")))
        payer.admit("a", "in")
        payer.answered("a", "in")
        assert payer.admit("b", "in") == (SUCCESS, HOUR)
        assert payer.admit("c", "out") == 0

    def test_answered_and_ended_twice_change_nothing(self, redis_client: Redis) -> None:
        payer = Payer(
            redis_client, limits(success=limit("success_calls", 2, HOUR), fail=limit("fail_calls", 1, HOUR))
        )
        payer.admit("a")
        assert payer.answered("a")[1] == 1
        assert payer.answered("a")[1] == 1
        assert payer.ended("a", "success")[1] == 1
        assert payer.ended("a", "success")[1] == 0
        assert payer.ended("a", "fail")[1] == 0
        assert payer.answered("a")[1] == 0
        assert payer.admit("b") == 0


class TestTotalDuration:
    def test_three_calls_drain_a_budget_three_times_as_fast(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(total=limit("total_duration", 10_000, DAY, "both")))
        for lease in "abc":
            payer.admit(lease)
        assert payer.answered("a")[0] == 10_000
        payer.pass_time(1_000)
        assert payer.answered("b")[0] == 4_500
        assert payer.answered("c")[0] == 3_000
        payer.pass_time(1_000)
        assert payer.ended("b", "success")[0] == 3_000
        payer.pass_time(2_999)
        assert payer.admit("d") == 0
        payer.pass_time(1)
        assert payer.admit("e") == (TOTAL, DAY - 5_000)
        assert payer.answered("d")[0] == 0

    def test_a_budget_that_does_not_divide_is_used_up_within_the_last_ms(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(total=limit("total_duration", 10_000, DAY, "both")))
        for lease in "abc":
            payer.admit(lease)
        assert [payer.answered(lease)[0] for lease in "abc"] == [10_000, 5_000, 3_334]

    def test_a_running_call_opens_the_next_window_when_one_ends(self, redis_client: Redis) -> None:
        payer = Payer(
            redis_client, limits(total=limit("total_duration", 50_000, 60_000, "both")), lease_ms=DAY
        )
        payer.admit("a")
        payer.answered("a")
        payer.ended("a", "success")
        payer.pass_time(20_000)
        payer.admit("b")
        assert (
            payer.answered("b")[0] == 40_000 + 50_000
        )  # this window's end, and all of the next one's budget
        payer.pass_time(41_000)
        assert payer.renew(["b"])[0] == 49_000
        payer.pass_time(49_000)
        assert payer.admit("c") == (TOTAL, 10_000)

    def test_a_budget_as_long_as_its_window_never_ends(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(total=limit("total_duration", 60_000, 60_000, "both")))
        payer.admit("a")
        assert payer.answered("a")[0] == NEVER

    def test_many_windows_pass_under_one_call(self, redis_client: Redis) -> None:
        payer = Payer(
            redis_client, limits(total=limit("total_duration", 60_000, 60_000, "both")), lease_ms=DAY
        )
        payer.admit("a")
        payer.answered("a")
        payer.pass_time(10 * 60_000 + 7_000)
        payer.admit("b")
        assert payer.answered("b")[0] == (60_000 - 7_000) // 2

    def test_an_idle_window_ends_and_the_next_opens_at_the_next_talk(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(total=limit("total_duration", 5_000, 60_000, "both")))
        payer.admit("a")
        payer.answered("a")
        payer.pass_time(5_000)
        payer.ended("a", "success")
        assert payer.admit("b") == (TOTAL, 55_000)
        payer.pass_time(55_000)
        assert payer.admit("b") == 0
        payer.pass_time(10_000)
        assert payer.answered("b")[0] == 5_000
        payer.pass_time(5_000)
        assert payer.admit("c") == (TOTAL, 55_000)

    def test_legs_that_do_not_count_drain_nothing(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(total=limit("total_duration", 5_000, DAY, "outgoing")))
        payer.admit("a", "in")
        assert payer.answered("a", "in")[0] == NEVER
        payer.pass_time(20_000)
        payer.admit("b")
        assert payer.answered("b")[0] == 5_000
        payer.pass_time(5_000)
        assert payer.admit("c", "out")[0] == TOTAL
        assert payer.admit("d", "in") == 0


class TestLeases:
    def test_an_unrenewed_call_stops_holding_its_line(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(lines=1))
        payer.admit("a")
        payer.pass_time(LEASE_MS - 1)
        assert payer.admit("b") == (LINES, NO_RESET)
        payer.pass_time(1)
        assert payer.admit("b") == 0

    def test_talk_is_settled_up_to_the_end_of_the_lease_and_not_beyond(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(total=limit("total_duration", 100_000, DAY, "both")))
        payer.admit("a")
        payer.admit("b")
        payer.answered("a")
        payer.pass_time(10_000)
        payer.answered("b")
        payer.pass_time(3 * LEASE_MS)
        payer.admit("c")
        assert payer.answered("c")[0] == 100_000 - 2 * LEASE_MS

    def test_a_pending_attempt_that_lapses_failed_when_its_lease_ended(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(fail=limit("fail_calls", 1, HOUR)))
        payer.admit("a")
        payer.pass_time(LEASE_MS + 5_000)
        assert payer.admit("b") == (FAIL, HOUR - 5_000)

    def test_renewed_calls_live_on(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(lines=2))
        payer.admit("a", "out")
        payer.admit("b", "in")
        payer.answered("b", "in")
        for _ in range(5):
            payer.pass_time(LEASE_MS // 2)
            assert payer.renew(["a"], ["b"]) == (NEVER, [])
        assert payer.admit("c") == (LINES, NO_RESET)

    def test_renewal_names_what_is_not_held(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits())
        payer.admit("a")
        payer.admit("b", "in")
        assert payer.renew(["a", "x"], ["b", "y"])[1] == ["x", "y"]
        assert payer.renew([], ["a"])[1] == ["a"]

    def test_an_owner_that_is_late_but_first_to_notice_loses_nothing(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(fail=limit("fail_calls", 1, HOUR)))
        payer.admit("a")
        payer.pass_time(2 * LEASE_MS)
        assert payer.renew(["a"])[1] == []
        payer.ended("a", "void")
        assert payer.admit("b") == 0

    def test_a_thousand_dead_calls_are_settled_over_a_few_scripts(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(lines=1_000, total=limit("total_duration", DAY, DAY, "both")))
        for number in range(1_000):
            payer.admit(str(number))
            payer.answered(str(number))
        payer.pass_time(10 * LEASE_MS)
        for _ in range(5):
            payer.renew([])
        assert payer.lines() == 0
        payer.admit("a")
        assert payer.answered("a")[0] == DAY - 1_000 * LEASE_MS


class TestActivations:
    def test_a_changed_value_keeps_its_counter(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(fail=limit("fail_calls", 1, HOUR)))
        payer.admit("a")
        payer.ended("a", "fail")
        assert payer.admit("b") == (FAIL, HOUR)
        payer.limits = limits(fail=limit("fail_calls", 2, HOUR))
        assert payer.admit("b") == 0
        payer.ended("b", "fail")
        assert payer.admit("c") == (FAIL, HOUR)

    def test_another_activation_brings_its_own_counter_and_the_old_one_is_kept(
        self, redis_client: Redis
    ) -> None:
        basic = limits(fail=limit("fail_calls", 1, HOUR))
        office = limits(fail=limit("fail_calls", 1, HOUR, plan="office"))
        payer = Payer(redis_client, basic)
        payer.admit("a")
        payer.ended("a", "fail")
        payer.limits = office
        payer.pass_time(1_000)
        assert payer.admit("b") == 0
        payer.ended("b", "fail")
        assert payer.admit("c") == (FAIL, HOUR)
        payer.limits = basic
        assert payer.admit("c") == (FAIL, HOUR - 1_000)

    def test_talk_goes_to_the_activation_in_force_while_it_lasts(self, redis_client: Redis) -> None:
        basic = limits(total=limit("total_duration", 20_000, DAY, "both"))
        office = limits(total=limit("total_duration", 15_000, DAY, "both", plan="office"))
        payer = Payer(redis_client, basic)
        payer.admit("a")
        payer.answered("a")
        payer.pass_time(4_000)
        payer.limits = office
        assert payer.renew(["a"])[0] == 15_000
        payer.pass_time(5_000)
        payer.limits = basic
        assert payer.renew(["a"])[0] == 16_000
        payer.limits = limits()
        assert payer.renew(["a"])[0] == NEVER
        payer.pass_time(6_000)
        payer.limits = office
        assert payer.renew(["a"])[0] == 10_000
