"""Limits change while calls run on both instances: raised ones let them go on, lowered ones cut within a second."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.limits.budget import cut_all, cut_times, in_time
from tests.limits.stage import Call, Stage, seen_in
from tests.limits.system import Bought
from tests.limits.table import Table

Times = tuple[float, float]
TOO_FAR = "is-lowered-too-far"
CUSTOMERS = {
    "is-raised": Bought({"call_duration": "2s"}),
    "is-lowered": Bought({"call_duration": "1h"}),
    "is-raised-in-all": Bought({"total_duration": "4s per 1h"}),
    "is-lowered-in-all": Bought({"total_duration": "1h per 1d"}),
    TOO_FAR: Bought({"call_duration": "1h"}),
}
CHANGED = {
    "is-raised": {"call_duration": "4s"},
    "is-lowered": {"call_duration": "3s"},
    "is-raised-in-all": {"total_duration": "8s per 1h"},
    "is-lowered-in-all": {"total_duration": "6s per 1d"},
}
CASES = (
    "call_duration raised",
    "call_duration lowered",
    "total_duration raised",
    "total_duration lowered",
    "call_duration lowered below what was talked",
)


async def _pair(stage: Stage, who: str) -> list[Call]:
    """One call on each instance."""
    return [await stage.call(who, at=at).talks() for at in (0, 1)]


async def _changed(stage: Stage) -> dict[str, Times]:
    """When the calls were cut, from the earliest and the latest moment they might have been."""
    raised, lowered, raised_in_all, lowered_in_all = [await _pair(stage, who) for who in CHANGED]
    too_far = await _pair(stage, TOO_FAR)
    await stage.system.change(CHANGED)
    await asyncio.sleep(too_far[-1].answered_at + 1.5 - stage.now())
    asked = stage.now()
    await stage.system.change({TOO_FAR: {"call_duration": "1s"}})
    in_force = stage.now()
    times = {}
    for name, calls, limit_s in ((CASES[0], raised, 4.0), (CASES[1], lowered, 3.0)):
        each = [cut_times(await call.cut(), limit_s) for call in calls]
        times[name] = min(first for first, _ in each), max(last for _, last in each)
    times[CASES[2]] = await cut_all(raised_in_all, 8.0)
    times[CASES[3]] = await cut_all(lowered_in_all, 6.0)
    byes = [await side.hears("BYE") for call in too_far for side in (call.caller, call.callee)]
    times[CASES[4]] = min(bye.at for bye in byes) - asked, max(bye.at for bye in byes) - in_force
    return times


SCENES = {"changes": _changed}


@pytest.mark.parametrize("name", CASES)
def test_running_calls_feel_a_change_at_once(played: dict[Any, Any], table: Table, name: str) -> None:
    first, last = seen_in(played, "changes")[name]
    table.holds(
        f"change: {name}, on 2 instances",
        "BYEs within 1.0 s of the new limit",
        f"BYEs from {first:+.2f} to {last:+.2f} s",
        in_time(first, last),
    )
