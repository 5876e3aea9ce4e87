"""A window opens at the first call that touches its counter and lasts its period; what runs on goes to the next one."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.limits.budget import BYE_S, EARLY_S, in_time
from tests.limits.probes import DECLINED, NO_FAILS, NO_SUCCESSES, NO_TALK
from tests.limits.stage import Stage, answers, says, seen_in
from tests.limits.system import Bought
from tests.limits.table import Table

BUDGET_S, PERIOD_S = 3.0, 4.0
COUNT_PERIOD_S = 3.0
CUSTOMERS = {
    "talks-on": Bought({"total_duration": "3s per 4s"}),
    "succeeds-again": Bought({"success_calls": "1 per 3s"}),
    "fails-again": Bought({"fail_calls": "1 per 3s"}),
}


async def _talks_over_the_end_of_a_window(stage: Stage) -> tuple[float, float, bool, bool]:
    """1 s in the first window; a call from 2.5 s on uses 1.5 s of it and the whole of the next window."""
    who = "talks-on"
    opener = await stage.call(who, at=0).talks()
    opened, earliest = opener.answered_at, opener.answer_left_at
    await asyncio.sleep(opened + 1.0 - stage.now())
    await opener.hang_up()
    await asyncio.sleep(opened + 2.5 - stage.now())
    second = await (await stage.call(who, at=1).talks()).cut()
    assert second.caller.bye is not None
    first, last = (second.caller.bye.at - (moment + PERIOD_S + BUDGET_S) for moment in (earliest, opened))
    refused = stage.call(who, at=0)
    shut = not await refused.decided() and refused.refusal() == NO_TALK
    await asyncio.sleep(opened + 2 * PERIOD_S + 0.1 - stage.now())
    third = await stage.call(who, at=0).talks()
    await third.hang_up()
    return first, last, shut, third.through


async def _succeeds_again(stage: Stage) -> float:
    first = await stage.call("succeeds-again", at=0).talks()
    await first.hang_up()
    return await _until_let_through(stage, "succeeds-again", first.answer_left_at, NO_SUCCESSES)


async def _fails_again(stage: Stage) -> float:
    first = stage.call("fails-again", says(DECLINED), at=0)
    await first.caller.hears_final()
    return await _until_let_through(stage, "fails-again", first.callee.heard[0].at, NO_FAILS)


async def _until_let_through(stage: Stage, who: str, opened: float, why: str) -> float:
    """How long after `opened` another call gets through; refused ones do not prolong the wait."""
    while True:
        call = stage.call(who, answers, at=1)
        if await call.decided():
            await (await call.talks()).hang_up()
            return stage.now() - opened
        assert call.refusal() == why, call.refusal()
        await asyncio.sleep(0.1)


SCENES = {
    "window: talk": _talks_over_the_end_of_a_window,
    "window: success": _succeeds_again,
    "window: fail": _fails_again,
}


def test_a_running_call_goes_on_in_the_next_window(played: dict[str, Any], table: Table) -> None:
    first, last, shut, opened = seen_in(played, "window: talk")
    table.holds(
        "window: 3 s of talk in 4 s, a call over its end",
        "cut 3.0 s into the next window, 402, free in the third",
        f"cut {BUDGET_S + last:.1f} s into the next window, {402 if shut else 'let through'}, "
        f"{'free' if opened else 'refused'} in the third",
        in_time(first, last) and shut and opened,
    )


def test_success_calls_start_anew_with_the_next_window(played: dict[str, Any], table: Table) -> None:
    after = seen_in(played, "window: success")
    _holds_again(table, "success_calls", after)


def test_fail_calls_start_anew_with_the_next_window(played: dict[str, Any], table: Table) -> None:
    _holds_again(table, "fail_calls", seen_in(played, "window: fail"))


def _holds_again(table: Table, option: str, after: float) -> None:
    table.holds(
        f"window: {option} 1 per 3 s",
        "refused for 3.0 s after the first",
        f"refused for {after:.1f} s after the first",
        COUNT_PERIOD_S - EARLY_S <= after <= COUNT_PERIOD_S + BYE_S,
    )
