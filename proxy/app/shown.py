"""Calls, limits and usage as an operator sees them: JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from policies.account import Limits, NoPlan
from policies.options import value_text
from policies.payers import Usage, Window
from policies.resolve import Explanation
from proxy.engine.call import Call
from proxy.ops.cdr import instant, readable

_COUNTERS = ("total_duration", "success_calls", "fail_calls")


def call_shown(call: Call, now: float, wall_offset: float) -> dict[str, Any]:
    """A call of this instance. `now`: engine seconds."""
    record = call.record
    answered = record.answered_at
    return {
        "call_id": readable(call.call_id),
        "state": call.state.name.lower(),
        "caller": readable(record.caller),
        "callee": readable(record.callee),
        "payers": record.payers,
        "mode": record.mode,
        "started": instant(record.started_at + wall_offset),
        "answered": None if answered is None else instant(answered + wall_offset),
        "talked_s": 0.0 if answered is None else round(now - answered, 1),
    }


def limits_shown(found: Explanation) -> dict[str, Any]:
    """Which plans are active, which of them supplied each option, and why."""
    has_plan = not isinstance(found.limits, NoPlan)
    return {
        "active": [activation.id for activation in found.active],
        "has_plan": has_plan,
        "options": {
            name: {
                "value": str(choice.candidates[0].value) if choice.candidates else _absent(name),
                "plan": choice.candidates[0].activation.id if choice.candidates else None,
                "why": choice.why,
            }
            for name, choice in found.choices.items()
        },
    }


def _absent(option: str) -> str:
    return "no" if option == "all_workers" else "unlimited"


def usage_shown(limits: Limits, usage: Usage, ours: Mapping[str, Call]) -> dict[str, Any]:
    """What is used of each counter and when its window ends, and the calls that hold leases now."""
    windows = (usage.total_duration, usage.success_calls, usage.fail_calls)
    return {
        "calls": usage.calls,
        "exhausts_in_s": None if usage.exhausts_in_ms is None else usage.exhausts_in_ms / 1000,
        **{
            name: _window_shown(limits, usage, name, window)
            for name, window in zip(_COUNTERS, windows, strict=True)
        },
        "leases": [
            {
                "lease": one.lease,
                "direction": one.direction,
                "state": "talks" if one.talks else "pending",
                "expires_in_s": one.expires_in_ms / 1000,
                "call_id": readable(ours[one.lease].call_id) if one.lease in ours else None,
            }
            for one in usage.leases
        ],
    }


def _window_shown(limits: Limits, usage: Usage, name: str, window: Window) -> dict[str, Any] | None:
    limit = getattr(limits, name)
    if limit is None:
        return None
    ends = None if window.opened_ms is None else window.opened_ms + limit.period_ms
    return {
        "used": value_text(name, window.used) if window.used else "0",
        "of": value_text(name, limit.value, limit.period_ms),
        "window_ends": None if ends is None or not limit.period_ms else instant(ends / 1000),
        "counter": limit.counter,
    }
