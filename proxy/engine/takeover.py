"""Calls that a process left when it died are taken up from the store (policies/heritage.py) and held to their limits.

With its lease a call is ours as before. Without, only its limits end it now: its lines are free and its talk is
settled, and the BYE of its sides goes to the address of the process that died, not to us.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.reasons import Reason
from proxy.engine import calls
from proxy.engine.call import Call, CallState
from proxy.engine.dialogtext import read_dialog
from proxy.engine.effects import DialogOver, HoldLease
from proxy.engine.running import join

if TYPE_CHECKING:
    from policies.heritage import Inherited
    from proxy.engine.core import Core


def take_up(core: Core, found: Inherited, now: float) -> None:
    """events.CallInherited."""
    call = read_dialog(core, found.dialog, now)
    if call is None or call.token in core.calls:
        if call is None and not found.held:
            core.out.append(DialogOver(found))
        return
    calls.remember(core, call)
    answered_at = call.record.answered_at
    assert answered_at is not None
    if found.held:
        for leg in call.legs:
            join(core, leg, now)
            core.out.append(HoldLease(leg, now - answered_at, found.dialog if leg is call.legs[0] else ""))
        calls.plan_end(core, call, now)
    else:
        _only_cut(core, call, found, now)


def _only_cut(core: Core, call: Call, found: Inherited, now: float) -> None:
    call.orphan = found
    for leg in call.legs:
        leg.released = True
    end = calls.end_of(call.legs)
    ends: list[tuple[float, Reason]] = []
    if any(leg.limits.valid_until <= now + core.wall_offset for leg in call.legs):
        ends.append((now, Reason.NO_PLAN))
    if end is not None:
        ends.append((end, Reason.CALL_DURATION))
    if found.exhausts_in is not None:
        ends.append((now + found.exhausts_in, Reason.TOTAL_DURATION))
    if not ends:
        # Nothing will ever end it here.
        call.state = CallState.ENDED
        calls.forget(core, call)
        return
    at, reason = min(ends, key=_moment)
    call.deadline = core.timers.at(max(now, at), core.on_orphan_due, (call, reason), 0)


def _moment(end: tuple[float, Reason]) -> float:
    return end[0]
