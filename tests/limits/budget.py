"""A shared budget of talk time, reckoned from what the callers saw: when it was used up, and when they were cut."""

from __future__ import annotations

from collections.abc import Sequence

from tests.limits.probes import NO_TALK
from tests.limits.stage import Call, Stage

BYE_S = 1.0
"""So long a BYE may take after the moment of exhaustion."""
EARLY_S = 0.15
"""A caller sees the answer a little later than the system does."""


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
    # The system hears an answer after it left the callee and before it reaches the caller.
    sent = [call.callee.answered_at for call in calls if call.callee.answered_at is not None]
    got = [call.answered_at for call in calls]
    return min(ends) - exhausted_at(sent, budget_s), max(ends) - exhausted_at(got, budget_s)


def in_time(first: float, last: float) -> bool:
    return first >= -EARLY_S and last <= BYE_S


async def refused_everywhere(stage: Stage, who: str) -> bool:
    """No instance lets another call through."""
    for at in range(len(stage.system.instances)):
        call = stage.call(who, at=at)
        if await call.decided() or call.refusal() != NO_TALK:
            return False
    return True
