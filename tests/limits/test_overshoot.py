"""Two hundred INVITEs at once on two instances: as many get through as the counter allows, and not one more."""

from __future__ import annotations

import asyncio

import pytest

from tests.limits.agent import Behaviour
from tests.limits.budget import cut_all, in_time, refused_everywhere
from tests.limits.leg import Leg
from tests.limits.probes import NO_FAILS, NO_LINES, NO_SUCCESSES, lines_free
from tests.limits.stage import Call, Stage, answers, play
from tests.limits.system import Bought, System
from tests.limits.table import Table

INVITES, ALLOWED = 200, 20
BUDGET_S = 200
CUSTOMERS = {
    "rushes-for-lines": Bought({"lines": ALLOWED}),
    "rushes-for-successes": Bought({"success_calls": f"{ALLOWED} per 1h"}),
    "rushes-for-fails": Bought({"fail_calls": f"{ALLOWED} per 1h"}),
    "rushes-for-talk": Bought({"total_duration": f"{BUDGET_S}s per 1h"}),
}


def declines_after_a_while(leg: Leg) -> None:
    leg.later(0.1, leg.reply, 603)


async def rush(stage: Stage, who: str, callee: Behaviour) -> list[Call]:
    """Those that got through."""
    calls = [stage.call(who, callee, at=n % 2) for n in range(INVITES)]
    decided = await asyncio.gather(*(call.decided() for call in calls))
    return [call for call, through in zip(calls, decided, strict=True) if through]


def refusals(stage: Stage, through: list[Call]) -> set[str]:
    others = (
        leg for leg in stage.callers.legs.values() if leg.call_id not in {call.call_id for call in through}
    )
    return {leg.final.start.removeprefix("SIP/2.0 ") for leg in others if leg.final is not None}


def test_lines(system: System, table: Table) -> None:
    async def scene(stage: Stage) -> tuple[int, set[str], int]:
        through = await rush(stage, "rushes-for-lines", answers)
        why = refusals(stage, through)
        await asyncio.gather(*(call.talks() for call in through))
        await asyncio.gather(*(call.hang_up() for call in through))
        for call in through:
            await stage.cdr(call.call_id)
        return len(through), why, await lines_free(stage, "rushes-for-lines", ALLOWED, at=1)

    got, why, free = play(system, scene)
    table.holds(
        f"overshoot: {INVITES} INVITEs, {ALLOWED} lines",
        f"{ALLOWED} through, {ALLOWED} lines free afterwards",
        f"{got} through, {free} lines free afterwards",
        (got, free) == (ALLOWED, ALLOWED) and why == {NO_LINES},
    )


@pytest.mark.parametrize(
    ("option", "who", "callee", "refusal"),
    [
        ("success_calls", "rushes-for-successes", answers, NO_SUCCESSES),
        ("fail_calls", "rushes-for-fails", declines_after_a_while, NO_FAILS),
    ],
)
def test_counted_calls(
    system: System, table: Table, option: str, who: str, callee: Behaviour, refusal: str
) -> None:
    """Those that are let through end as they are counted; of a second rush nobody is."""

    async def scene(stage: Stage) -> tuple[int, set[str], int]:
        through = await rush(stage, who, callee)
        why = refusals(stage, through)
        for final in await asyncio.gather(*(call.caller.hears_final() for call in through)):
            assert (final.status == 200) == (option == "success_calls")
        await asyncio.gather(*(call.hang_up() for call in through if call.caller.dialogs))
        return len(through), why, len(await rush(stage, who, callee))

    got, why, later = play(system, scene)
    table.holds(
        f"overshoot: {INVITES} INVITEs, {ALLOWED} {option}",
        f"{ALLOWED} through, later 0",
        f"{got} through, later {later}",
        (got, later) == (ALLOWED, 0) and why == {refusal},
    )


def test_total_duration(system: System, table: Table) -> None:
    async def scene(stage: Stage) -> tuple[int, float, float, bool]:
        through = await rush(stage, "rushes-for-talk", answers)
        await asyncio.gather(*(call.talks() for call in through))
        first, last = await cut_all(through, BUDGET_S)
        return len(through), first, last, await refused_everywhere(stage, "rushes-for-talk")

    got, first, last, refused = play(system, scene)
    table.holds(
        f"overshoot: {INVITES} INVITEs, {BUDGET_S} s of talk",
        f"all {INVITES} cut within 1.0 s of the exhaustion",
        f"{got} cut from {first:+.2f} to {last:+.2f} s",
        got == INVITES and refused and in_time(first, last),
    )
