"""What the store would say to one more leg, by what was read of it a moment ago: for people, not for calls.

The checks and their order are those of lua/admit-8.lua.
"""

from __future__ import annotations

from policies.account import Direction, Limit, Limits
from policies.options import limit_text
from policies.payers import Usage, Window
from policies.reasons import Reason
from policies.verdicts import Refused


def foreseen(limits: Limits, direction: Direction, usage: Usage) -> Refused | None:
    """The refusal, or None when every limit has room."""
    for reason, limit, window, pends in (
        (Reason.TOTAL_DURATION, limits.total_duration, usage.total_duration, False),
        (Reason.SUCCESS_CALLS, limits.success_calls, usage.success_calls, True),
        (Reason.FAIL_CALLS, limits.fail_calls, usage.fail_calls, True),
    ):
        if limit is None or not limit.applies(direction):
            continue
        pending = pending_of(limit, usage) if pends else 0
        if window.used + pending >= limit.value:
            resets = resets_in_ms(limit, window, usage) if window.used >= limit.value else None
            return Refused(reason, limit_text(reason.value, limit), resets)
    if limits.lines is not None and usage.calls >= limits.lines.value:
        return Refused(Reason.LINES, limit_text("lines", limits.lines))
    return None


def pending_of(limit: Limit, usage: Usage) -> int:
    """Attempts whose outcome is open: each holds a place."""
    return sum(not lease.talks and limit.applies(lease.direction) for lease in usage.leases)


def resets_in_ms(limit: Limit, window: Window, usage: Usage) -> int | None:
    """Until the window of the limit ends; None = none is open."""
    return None if window.opened_ms is None else window.opened_ms + limit.period_ms - usage.now_ms
