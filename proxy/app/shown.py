"""Calls as an operator sees them."""

from __future__ import annotations

from typing import Any

from proxy.engine.call import Call
from proxy.ops.cdr import instant, readable


def shown(call: Call, now: float, wall_offset: float) -> dict[str, Any]:
    """A call for an operator's eyes."""
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
