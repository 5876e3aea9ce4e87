"""A shared budget of talk time, reckoned from what the callers saw: when it was used up, and when they were cut."""

from __future__ import annotations

from collections.abc import Sequence

from tests.limits.probes import NO_TALK
from tests.limits.stage import Call, Stage

BYE_S = 1.0
"""So long a BYE may take after the moment of exhaustion."""
EARLY_S = 0.05
"""Clocks: the store's counts in whole milliseconds, the instance's timers ring a little early."""


def exhausted_at(starts: Sequence[float], budget_s: float) -> float:
    """When calls answered at `starts`, and hung up by nobody, have talked so long together."""
    used, now, running = 0.0, min(starts), 0
    for start in sorted(starts):
        if used + running * (start - now) >= budget_s:
            break
        used, now, running = used + running * (start - now), start, running + 1
    return now + (budget_s - used) / running


async def cut_all(calls: Sequence[Call], budget_s: float) -> tuple[float, float]:
    """All are cut, on both sides, with the reason. Returns when the first and last BYE came, from the exhaustion on."""
    ends = []
    for call in calls:
        await call.cut()
        for side in (call.caller, call.callee):
            assert side.bye is not None
            assert side.bye["reason"] == 'SIP ;cause=402 ;text="total_duration reached"'
            ends.append(side.bye.at)
    earliest = exhausted_at([call.answer_left_at for call in calls], budget_s)
    latest = exhausted_at([call.answered_at for call in calls], budget_s)
    return min(ends) - earliest, max(ends) - latest


def cut_times(call: Call, limit_s: float) -> tuple[float, float]:
    """When both sides had their BYE, after the call had reached its own limit."""
    ends = [side.bye.at for side in (call.caller, call.callee) if side.bye is not None]
    return min(ends) - call.answer_left_at - limit_s, max(ends) - call.answered_at - limit_s


def in_time(first: float, last: float) -> bool:
    """Of two moments, counted from the earliest and the latest at which the limit may have been reached."""
    return first >= -EARLY_S and last <= BYE_S


async def refused_everywhere(stage: Stage, who: str) -> bool:
    """No instance lets another call through."""
    for at in range(len(stage.system.instances)):
        call = stage.call(who, at=at)
        if await call.decided() or call.refusal() != NO_TALK:
            return False
    return True
