"""A tariff changes while calls run: what was loaded anew, or an activation that starts or ends.

Who pays a leg was decided when it was admitted, and stays: its lease is among that payer's. What the payer may have is
resolved again, and each of its calls feels it at once: its call_duration is counted from its answer as if it had always
been what it is now, the limiter plans total_duration anew, and a payer without a plan for the mode keeps no call.
What speaks against new calls only (lines, numbers of calls, Workers, a disabled group) ends none that runs.

Not here: calls taken up without their lease (takeover.py); those keep the end they were taken up with.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from policies.account import Limit, Limits, NoPlan
from policies.lease import Leg
from policies.reasons import Reason
from proxy.engine import calls, teardown
from proxy.engine.call import Call, CallState, Running
from proxy.engine.effects import LimitsChanged
from proxy.engine.running import NEXT_TURN, PLANS_CHANGE, expect_change, plan_exhaustion

if TYPE_CHECKING:
    from proxy.engine.core import Core

PAYERS_A_TURN: Final = 1_000
"""Re-planned before messages are looked at again: some 15 ms. 20,000 payers with calls take half a second."""
TURN_S: Final = 0.001


def snapshot_changed(core: Core, now: float) -> None:
    """Everything was loaded anew: any payer may have other limits."""
    core.replans.clear()
    core.replans.extend(core.running)
    some(core, now)


def rung(core: Core, token: int, now: float) -> None:
    """The timer: an activation is about to start or end, or it is the turn of more payers."""
    if token == PLANS_CHANGE:
        _plans_change(core, now)
    some(core, now)


def _plans_change(core: Core, now: float) -> None:
    core.plans_timer = None
    wall = now + core.wall_offset
    following = inf
    for key, running in core.running.items():
        until = running.limits.valid_until
        if until <= wall:
            core.replans.append(key)
        elif until < following:
            following = until
    expect_change(core, following, now)


def some(core: Core, now: float) -> None:
    """Re-plan those that wait, and the rest after the messages that came meanwhile."""
    replans = core.replans
    for _ in range(min(PAYERS_A_TURN, len(replans))):
        running = core.running.get(replans.popleft())
        if running is not None:
            _replan(core, running, now)
    if replans:
        core.timers.at(now + TURN_S, core.on_replan, None, NEXT_TURN)


def budget_used_up(core: Core, running: Running, now: float) -> None:
    """The timer of `plan_budget`: every call that draws on this total_duration ends."""
    running.exhaustion = None
    for leg in tuple(running.legs.values()):
        total = running.limits.total_duration
        if leg.answered and total is not None and total.applies(leg.direction):
            _cut(core, leg, Reason.TOTAL_DURATION, now)
    # What is answered from here on may be in another window: that is for the store to say.
    running.exhausts_at = inf


def _replan(core: Core, running: Running, now: float) -> None:
    old = running.limits
    new = core.in_force(now + core.wall_offset, old.payer, old.mode)
    legs = tuple(running.legs.values())
    if isinstance(new, NoPlan):
        for leg in legs:
            _cut(core, leg, Reason.NO_PLAN, now)
        return
    running.limits = new
    for leg in legs:
        leg.limits = new
    if new.valid_until < core.plans_change_at:
        expect_change(core, new.valid_until, now)
    if _of_calls(new) == _of_calls(old):
        return
    core.out.append(LimitsChanged(new))
    if running.exhaustion is not None and _is_wider(old.total_duration, new.total_duration):
        # Until the store has planned anew, the old moment would end calls too early.
        plan_exhaustion(core, running, inf)
    if new.call_duration != old.call_duration:
        for leg in legs:
            _move_end(core, leg, now)


def _of_calls(limits: Limits) -> tuple[Limit | None, ...]:
    """What of the limits a call feels, once it is admitted or in its scripts."""
    return (
        limits.call_duration,
        limits.total_duration,
        limits.success_calls,
        limits.fail_calls,
        limits.lines,
    )


def _is_wider(old: Limit | None, new: Limit | None) -> bool:
    """Whether the new one may let calls talk on where the old one ended them."""
    if old is None or new is None:
        return True
    return new.value > old.value or (new.counter, new.period_ms, new.counts) != (
        old.counter,
        old.period_ms,
        old.counts,
    )


def _move_end(core: Core, leg: Leg, now: float) -> None:
    call = leg.call
    if not isinstance(call, Call) or call.state > CallState.ANSWERED:
        return
    end = calls.end_of(call.legs)
    if end is not None and end <= now:
        teardown.cut(core, call, Reason.CALL_DURATION, now)
    else:
        calls.plan_end(core, call, now)


def _cut(core: Core, leg: Leg, reason: Reason, now: float) -> None:
    call = leg.call
    if isinstance(call, Call):
        teardown.cut(core, call, reason, now)
        heir = leg.call
        if heir is not call and isinstance(heir, Call):
            # What was to take its place has the leg now (replaces.py).
            teardown.cut(core, heir, reason, now)
