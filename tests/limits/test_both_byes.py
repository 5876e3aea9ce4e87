"""A call is cut while one side is dead, or answers the BYE badly: the other has its BYE in time, the line is free."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from tests.limits.budget import in_time
from tests.limits.leg import Leg
from tests.limits.probes import lines_free
from tests.limits.stage import Stage, seen_in
from tests.limits.system import Bought
from tests.limits.table import Table

LIMIT_S = 1.0
CUTS: dict[str, dict[str, str | int]] = {
    "call_duration": {"call_duration": "1s"},
    "total_duration": {"total_duration": "1s per 2s"},
    "operator": {},
}
SIDES = ("caller", "callee")
FAULTS = ("is dead", "says 481", "says 500")


def _customer(cut: str, side: str, fault: str) -> str:
    return f"cut-{cut.replace('_', '-')}-{side}-{fault.replace(' ', '-')}"


CASES = [
    (cut, side, fault)
    for cut in CUTS
    for side in SIDES
    for fault in FAULTS
    if fault == "is dead" or cut == "operator"
]
CUSTOMERS = {_customer(*case): Bought({"lines": 1, **CUTS[case[0]]}) for case in CASES}


async def _cut(cut: str, side: str, fault: str, stage: Stage) -> tuple[float, float, int]:
    """When the healthy side had its BYE, from the earliest and the latest moment of the cut on; lines free then."""
    who = _customer(cut, side, fault)
    call = await stage.call(who).talks()
    sides: dict[str, Leg] = {"caller": call.caller, "callee": call.callee}
    bad = sides.pop(side)
    (good,) = sides.values()
    if fault == "is dead":
        bad.die()
    else:
        bad.bye_answer = int(fault.split()[-1])
    earliest, latest = call.answer_left_at + LIMIT_S, call.answered_at + LIMIT_S
    if cut == "operator":
        earliest = stage.now()
        await stage.system.instances[0].hang_up(call.call_id)
        latest = stage.now()
    bye = await good.hears("BYE")
    await stage.cdr(call.call_id)
    if cut == "total_duration":
        await asyncio.sleep(call.answered_at + 2.2 - stage.now())
    return bye.at - earliest, bye.at - latest, await lines_free(stage, who, 1, at=1)


SCENES = {f"cut: {_customer(*case)}": partial(_cut, *case) for case in CASES}


@pytest.mark.parametrize(("cut", "side", "fault"), CASES)
def test_the_other_side_is_hung_up_on_in_time(
    played: dict[str, Any], table: Table, cut: str, side: str, fault: str
) -> None:
    first, last, lines = seen_in(played, f"cut: {_customer(cut, side, fault)}")
    table.holds(
        f"cut by {cut}, the {side} {fault}",
        "BYE to the other within 1.0 s, 1 line free",
        f"BYE to the other after {first:+.2f} s, {lines} line free",
        in_time(first, last) and lines == 1,
    )
