"""What users of other systems have complained of, as they would have put it. docs/field.md says which is which."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from tests.limits.probes import NO_LINES, lines_free
from tests.limits.register import register
from tests.limits.stage import Call, Stage, answers, rings, seen_in
from tests.limits.system import Bought
from tests.limits.table import Table

ROUNDS, HASTY = 5, 40
CUSTOMERS = {
    "ended-many-times": Bought({"lines": 1}),
    "repeats-itself": Bought({"lines": 2}),
    "has-one": Bought({"lines": 1}),
    "calls-from-everywhere": Bought({"lines": 3}),
    "calls-and-is-called": Bought({"lines": 2}),
    "calls-it": Bought({"lines": 9}),
    "gives-up-at-once": Bought({"lines": 5}),
    "dials-the-same-1": Bought({"lines": 1}),
    "dials-the-same-2": Bought({"lines": 1}),
}


async def _let_through(calls: Sequence[Call]) -> list[bool]:
    """Which of them are."""
    decided = [await call.decided() for call in calls]
    assert {call.refusal() for call, through in zip(calls, decided, strict=True) if not through} <= {NO_LINES}
    return decided


async def _ended_many_times(stage: Stage) -> list[int]:
    free = []
    for n in range(ROUNDS):
        call = await stage.call("ended-many-times", at=n % 2).talks()
        for side in (call.caller, call.callee) * 2:
            # Each BYE is a request of its own, as from a phone that lost count.
            side.hang_up()
        call.caller.cancel()
        await asyncio.gather(*(side.answer_to("BYE") for side in (call.caller, call.callee)))
        await stage.cdr(call.call_id)
        free.append(await lines_free(stage, "ended-many-times", 1, at=(n + 1) % 2))
    return free


def test_a_count_never_goes_below_zero(played: dict[Any, Any], table: Table) -> None:
    """sbc-inbound #177, sbc-outbound #151, kamailio #4009 and #1591, OpenSIPS #1937, #2102, #2079 and #2385."""
    free = seen_in(played, "below zero")
    table.holds(
        f"symptom: a call ended five times over, {ROUNDS} times",
        "1 line free each time, not more",
        f"{', '.join(map(str, free))} free",
        free == [1] * ROUNDS,
    )


async def _repeats_itself(stage: Stage) -> tuple[int, list[bool]]:
    first = stage.call("repeats-itself", rings, at=0)
    for _ in range(4):
        first.caller.repeat_invite()
    await first.caller.hears(180)
    first.caller.repeat_invite()
    others = [stage.call("repeats-itself", rings, at=1) for _ in range(2)]
    through = await _let_through(others)
    for call in (first, *others):
        if call.through:
            call.caller.cancel()
    return len(first.callee.all("INVITE")), through


def test_a_repeated_INVITE_counts_once(played: dict[Any, Any], table: Table) -> None:
    """asterisk #1736 and #1737: one call was counted twice."""
    rung, through = seen_in(played, "counted twice")
    table.holds(
        "symptom: an INVITE sent six times on 2 lines",
        "rings once, 1 more gets through",
        f"rings {rung} times, {sum(through)} more gets through",
        rung == 1 and sum(through) == 1,
    )


async def _has_one(stage: Stage) -> list[bool]:
    held = await stage.call("has-one", at=0).talks()
    through = await _let_through([stage.call("has-one", at=n) for n in (0, 1, 0, 1)])
    await held.hang_up()
    return through


def test_a_limit_of_one_blocks_the_second_call(played: dict[Any, Any], table: Table) -> None:
    """cgrates #954: a limit of 1 did not block; #568."""
    through = seen_in(played, "limit of one")
    table.holds(
        "symptom: a limit of 1, one call up",
        "0 of 4 more get through",
        f"{sum(through)} of 4 more get through",
        not any(through),
    )


async def _from_everywhere(stage: Stage) -> list[bool]:
    calls = [stage.call("calls-from-everywhere", rings, at=n % 2) for n in range(6)]
    through = await _let_through(calls)
    for call in calls:
        if call.through:
            call.caller.cancel()
    return through


def test_two_ways_in_do_not_double_a_limit(played: dict[Any, Any], table: Table) -> None:
    """yeti-web #472: a capacity of 10 became 20, because the customer came by two addresses."""
    through = seen_in(played, "doubled")
    table.holds(
        "symptom: 3 lines, 6 calls by two ways in",
        "3 get through",
        f"{sum(through)} get through",
        sum(through) == 3,
    )


async def _calls_and_is_called(stage: Stage) -> tuple[list[bool], list[bool]]:
    who, system = "calls-and-is-called", stage.system
    await register(stage.softphones, system.instances[0].address, who, system.password, system.domain)
    out = await stage.call(who, answers, at=0).talks()
    into = await stage.call("calls-it", answers, at=0, number=who).talks()
    outgoing = await _let_through([stage.call(who, answers, at=0)])
    incoming = await _let_through([stage.call("calls-it", answers, at=0, number=who)])
    await asyncio.gather(out.hang_up(), into.hang_up())
    return outgoing, incoming


def test_incoming_and_outgoing_calls_share_the_lines(played: dict[Any, Any], table: Table) -> None:
    """ASTPP #407: inbound and outbound were counted apart; #426, #474, #476."""
    outgoing, incoming = seen_in(played, "both directions")
    table.holds(
        "symptom: 2 lines, one call out and one in",
        "no more out, no more in",
        f"{sum(outgoing)} more out, {sum(incoming)} more in",
        not any(outgoing) and not any(incoming),
    )


async def _gives_up_at_once(stage: Stage) -> int:
    calls = []
    for n in range(HASTY):
        call = stage.call("gives-up-at-once", rings, at=n % 2)
        call.caller.cancel()
        calls.append(call)
        if n % 5 == 4:
            await asyncio.gather(*(one.caller.hears_final() for one in calls))
    for call in calls:
        await stage.cdr(call.call_id)
    return await lines_free(stage, "gives-up-at-once", 5, at=1)


def test_a_quick_CANCEL_leaks_nothing(played: dict[Any, Any], table: Table) -> None:
    """sbc-inbound PR #188: a CANCEL on the heels of its INVITE left the count up."""
    free = seen_in(played, "quick CANCEL")
    table.holds(f"symptom: {HASTY} quick CANCELs on 5 lines", "5 lines free", f"{free} lines free", free == 5)


async def _dials_the_same(stage: Stage) -> list[bool]:
    calls = [stage.call(who, rings, at=0) for who in ("dials-the-same-1", "dials-the-same-2")]
    through = await _let_through(calls)
    for call in calls:
        call.caller.cancel()
    return through


def test_customers_of_one_trunk_do_not_use_up_each_others_limits(
    played: dict[Any, Any], table: Table
) -> None:
    """ASTPP #190: one key for different trunks; #485."""
    through = seen_in(played, "same number")
    table.holds(
        "symptom: two customers with 1 line dial one number",
        "both get through",
        f"{sum(through)} get through",
        all(through),
    )


SCENES = {
    "below zero": _ended_many_times,
    "counted twice": _repeats_itself,
    "limit of one": _has_one,
    "doubled": _from_everywhere,
    "both directions": _calls_and_is_called,
    "quick CANCEL": _gives_up_at_once,
    "same number": _dials_the_same,
}
