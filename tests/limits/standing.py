"""Where a customer's limits stand after its calls, against what the records of those calls say.

Three customers are needed for it, for a limit that is reached hides the others: one whose answered calls are counted,
one whose failed ones, one whose talk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tests.limits.budget import BYE_S, EARLY_S
from tests.limits.probes import fails_left, lines_free, successes_left, talk_left
from tests.limits.stage import Call, Stage
from tests.limits.system import Bought
from tests.limits.table import Table

Counted = Literal["success", "fail", "talk"]
LINES, SUCCESSES, FAILS = 2, 5, 3


def bought(counted: Counted, others: Mapping[str, str | int], budget_ms: int) -> Bought:
    """The tariff of one of the three."""
    limits = {"lines": LINES, **others}
    if counted == "success":
        limits["success_calls"] = f"{SUCCESSES} per 1h"
    elif counted == "fail":
        limits["fail_calls"] = f"{FAILS} per 1h"
    else:
        limits["total_duration"] = f"{budget_ms}ms per 1h"
    return Bought(limits)


@dataclass(frozen=True, slots=True)
class Standing:
    """Of one customer."""

    success: int
    fail: int
    talk_s: float
    """Those three as the records of its calls tell."""
    lines: int
    left: float
    """Of what is counted: answered calls, failed calls, seconds."""
    left_at_most: float
    """Of seconds, for what is seen is a little late."""


async def standing(stage: Stage, who: str, counted: Counted, calls: Sequence[Call], at: int) -> Standing:
    """Found by calling through instance `at`, when all records of `calls` are written."""
    cdrs = [await stage.cdr(call.call_id) for call in calls]
    success, fail = (sum(cdr.outcome == outcome for cdr in cdrs) for outcome in ("success", "fail"))
    talk = sum(cdr.talk_s for cdr in cdrs)
    if counted == "talk":
        return Standing(success, fail, talk, LINES, *await talk_left(stage, who, at))
    lines = await lines_free(stage, who, LINES, at)
    left = await (successes_left if counted == "success" else fails_left)(stage, who, at)
    return Standing(success, fail, talk, lines, left, left)


def holds(table: Table, case: str, found: Mapping[Counted, Standing], budget_ms: int) -> None:
    """Every limit is exactly where the records say."""
    s, f, t = found["success"], found["fail"], found.get("talk")
    # The probe of the lines is answered calls itself.
    successes, fails = SUCCESSES - s.success - LINES, FAILS - f.fail
    expected = f"{LINES} lines, {successes} successes, {fails} fails"
    seen = f"{s.lines if s.lines != LINES else f.lines} lines, {s.left:g} successes, {f.left:g} fails"
    true = (s.lines, f.lines, s.left, f.left) == (LINES, LINES, successes, fails)
    if t is not None:
        left = budget_ms / 1000 - t.talk_s
        expected += f", {left:.1f} s left"
        seen += f", {t.left:.1f} s left"
        true = true and left - EARLY_S <= t.left_at_most and t.left <= left + BYE_S
    table.holds(case, expected, seen, true)
