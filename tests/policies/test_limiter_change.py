"""Other limits come into force while calls run: the limiter's counters change over, its budget is planned anew."""

from __future__ import annotations

import pytest

from policies.counters import StoreError
from policies.lease import Leg, Outcome
from policies.reasons import Reason
from policies.verdicts import Admitted, Refused
from tests.policies.limited import DAY, HOUR, Bench, Play, leg
from tests.policies.linked import until
from tests.policies.scripted import limit, limits

BASIC = limits(total=limit("total_duration", 100_000, DAY, "both"), success=limit("success_calls", 5, DAY))


async def two_running(b: Bench) -> list[Leg]:
    """Two answered calls on BASIC: the budget lasts for 50 s."""
    legs = [leg(BASIC), leg(BASIC)]
    for one in legs:
        assert isinstance(await b.admit(one), Admitted)
        b.limiter.answered(one)
    await until(lambda: len(b.user.budgets) == 2)
    assert seconds(b) == 50
    return legs


def seconds(b: Bench) -> int | None:
    """The newest plan, rounded."""
    last = b.user.budgets[-1]
    return None if last is None else round(last)


def test_a_raised_and_a_lowered_budget_are_planned_at_once(play: Play) -> None:
    async def case(b: Bench) -> None:
        await two_running(b)
        for total, expected in ((300_000, 150), (20_000, 10), (1, 0)):
            b.limiter.change(limits(total=limit("total_duration", total, DAY, "both")))
            b.user.budgets.clear()
            await until(lambda: b.user.budgets != [])
            assert seconds(b) == expected
        # Nothing has waited for the next renewal, which with this lease is 12 s away.
        assert b.counters.leases_renewed == 0

    play(case)


def test_calls_that_end_after_it_are_settled_by_what_is_in_force(play: Play) -> None:
    async def case(b: Bench) -> None:
        one, two = await two_running(b)
        lower = limits(success=limit("success_calls", 2, DAY))
        b.limiter.change(lower)
        b.limiter.release(one, Outcome.SUCCESS)
        b.limiter.release(two, Outcome.SUCCESS)
        refused = await b.admit(leg(lower))
        assert isinstance(refused, Refused)
        assert (refused.reason, refused.limit) == (Reason.SUCCESS_CALLS, "2 per 1d")
        assert b.lines() == {}

    play(case)


def test_another_activations_counter_begins_where_it_stood_and_the_first_one_waits(play: Play) -> None:
    async def case(b: Bench) -> None:
        one, two = await two_running(b)
        other = limits(total=limit("total_duration", 60_000, HOUR, "both", plan="other"))
        b.limiter.change(other)
        await until(lambda: len(b.user.budgets) == 3)
        assert seconds(b) == 30
        b.limiter.change(BASIC)
        await until(lambda: len(b.user.budgets) == 4)
        assert seconds(b) == 50
        names = b.admin.hkeys("cg:{alice}:gateway:idle")
        assert b"other@20260101T000000Z:gateway:total_duration" in names
        b.limiter.release(one, Outcome.SUCCESS)
        b.limiter.release(two, Outcome.SUCCESS)

    play(case)


def test_an_unlimited_budget_is_planned_no_more_and_a_new_one_counts_from_now(play: Play) -> None:
    async def case(b: Bench) -> None:
        await two_running(b)
        b.limiter.change(limits())
        await until(lambda: b.admin.exists("cg:{alice}:gateway:idle") == 1)
        assert len(b.user.budgets) == 2
        b.limiter.change(BASIC)
        await until(lambda: len(b.user.budgets) > 2)
        # What the first question is answered, if it comes after the second change, is nobody's plan.
        assert b.user.budgets[2:] == [pytest.approx(50, abs=1)]

    play(case)


def test_a_call_whose_admission_is_under_way_does_not_bring_the_old_limits_back(play: Play) -> None:
    """The engine gives its legs the new limits before it tells the limiter."""

    async def case(b: Bench) -> None:
        await two_running(b)
        third = leg(BASIC)
        b.limiter.admit(third)
        third.limits = raised = limits(total=limit("total_duration", 600_000, DAY, "both"))
        b.limiter.change(raised)
        await until(lambda: third.lease in b.user.verdicts and len(b.user.budgets) == 3)
        b.limiter.answered(third)
        await until(lambda: len(b.user.budgets) == 4)
        assert seconds(b) == 200

    play(case)


def test_while_the_store_is_away_the_change_waits_for_it(play: Play) -> None:
    async def case(b: Bench) -> None:
        await two_running(b)
        await b.away()
        b.limiter.change(limits(total=limit("total_duration", 300_000, DAY, "both")))
        await b.back()
        await until(lambda: len(b.user.budgets) == 3)
        assert 140 < (seconds(b) or 0) <= 150

    play(case)


def test_a_payer_without_calls_here_costs_no_command(play: Play) -> None:
    async def case(b: Bench) -> None:
        b.limiter.change(BASIC)
        one = leg(BASIC)
        assert isinstance(await b.admit(one), Admitted)
        assert b.counters.leases_renewed == 0
        b.limiter.release(one, Outcome.VOID)

    play(case)


def test_a_question_that_is_not_answered_in_time_is_asked_again(play: Play) -> None:
    """Not only with the next renewal, which with this lease is 12 s away."""

    async def case(b: Bench) -> None:
        await two_running(b)
        b.proxy.commands.close()
        b.limiter.change(limits(total=limit("total_duration", 300_000, DAY, "both")))
        await b.proxy.commands.held.wait()
        await until(lambda: b.counters.errors[StoreError.DEADLINE] == 1)
        b.proxy.commands.open()
        await until(lambda: len(b.user.budgets) == 3)
        assert 145 < (seconds(b) or 0) <= 150

    play(case)
