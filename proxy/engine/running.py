"""The legs there are, by who pays them: they drain one total_duration together, and a change of the tariff meets all.

Not here: the change itself (replan.py).
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from policies.options import limit_text
from policies.reasons import Reason
from proxy.engine.call import Running

if TYPE_CHECKING:
    from policies.lease import Leg
    from proxy.engine.core import Core

PLANS_CHANGE: Final = 0
NEXT_TURN: Final = 1
"""What the timer of replan.py rings for."""
RELOOK_S: Final = 60.0
"""Plans start and end by the wall clock, which may be set while we wait for one to."""


def join(core: Core, leg: Leg, now: float) -> None:
    """The leg's lease is about to be asked for."""
    limits = leg.limits
    key = (limits.payer, limits.mode)
    running = core.running.get(key)
    if running is None:
        running = core.running[key] = Running(limits)
    running.legs[leg.lease] = leg
    if limits.valid_until < core.plans_change_at:
        expect_change(core, limits.valid_until, now)


def leave(core: Core, leg: Leg) -> None:
    """The leg is over. Leaving twice changes nothing."""
    key = (leg.limits.payer, leg.limits.mode)
    running = core.running.get(key)
    if running is None or running.legs.pop(leg.lease, None) is None or running.legs:
        return
    plan_exhaustion(core, running, inf)
    del core.running[key]


def plan_budget(
    core: Core, key: tuple[str, str], exhausts_in: float | None, version: int, now: float
) -> None:
    """events.BudgetPlanned: when the calls of this payer have used its total_duration up."""
    running = core.running.get(key)
    if running is None or version < running.version or running.limits.total_duration is None:
        return
    running.version = version
    plan_exhaustion(core, running, inf if exhausts_in is None else now + exhausts_in)


def plan_exhaustion(core: Core, running: Running, at: float) -> None:
    """`at`: engine time; inf: no moment is known."""
    if running.exhaustion is not None:
        core.timers.cancel(running.exhaustion)
        running.exhaustion = None
    running.exhausts_at = at
    if at < inf:
        running.exhaustion = core.timers.at(at, core.on_budget, running, 0)


def spent(core: Core, legs: tuple[Leg, ...], now: float) -> tuple[Reason, str] | None:
    """The limit on duration that an answered one of these legs has reached, and its value; timers may ring late."""
    for leg in legs:
        limits = leg.limits
        each, total = limits.call_duration, limits.total_duration
        if not leg.answered:
            continue
        if each is not None and each.applies(leg.direction) and leg.answered_at + each.value / 1000 <= now:
            return Reason.CALL_DURATION, limit_text("call_duration", each)
        if total is not None and total.applies(leg.direction):
            running = core.running.get((limits.payer, limits.mode))
            if running is not None and running.exhausts_at <= now:
                return Reason.TOTAL_DURATION, limit_text("total_duration", total)
    return None


def expect_change(core: Core, at_unix: float, now: float) -> None:
    """An activation of a payer with calls here starts or ends then; one timer for the first of them all."""
    core.plans_change_at = at_unix
    if core.plans_timer is not None:
        core.timers.cancel(core.plans_timer)
        core.plans_timer = None
    if at_unix < inf:
        due = min(at_unix - core.wall_offset, now + RELOOK_S)
        core.plans_timer = core.timers.at(due, core.on_replan, None, PLANS_CHANGE)
