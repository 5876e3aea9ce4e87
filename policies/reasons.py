"""Why a call or a registration is refused, or a call is cut: one row a reason, and nowhere else.

A row's status can be changed by `refusals: {reason: status}` in callgate.yaml; nothing else can.
Not here: syntax errors, challenges and answers of the far side, which are no refusals of ours.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal

from config.schema import ReasonName
from config.units import duration_text

LogLevel = Literal["debug", "info", "warning", "error"]


class Reason(enum.Enum):
    """The value is the name in files, metrics, CDRs and logs."""

    TOTAL_DURATION = "total_duration"
    SUCCESS_CALLS = "success_calls"
    FAIL_CALLS = "fail_calls"
    CALL_DURATION = "call_duration"
    LINES = "lines"
    SIP_ACCOUNTS = "sip_accounts"
    NO_PLAN = "no_plan"
    WORKER = "worker"
    GROUP_DISABLED = "group_disabled"
    ACCOUNT_DISABLED = "account_disabled"
    UNKNOWN_CALLER = "unknown_caller"
    CONTACTS = "contacts"
    NOT_REGISTERED = "not_registered"
    NO_ROUTE = "no_route"
    TRUNK_DOWN = "trunk_down"
    STORE_UNAVAILABLE = "store_unavailable"
    OVERLOAD = "overload"
    DRAINING = "draining"
    HANGUP = "hangup"
    SESSION_EXPIRED = "session_expired"
    DIALOG_LOST = "dialog_lost"
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True)
class Row:
    """One reason, whole."""

    status: int
    """SIP status of the refusal, and the cause in the Reason header of a cut."""
    phrase: str
    """Reason phrase of the status line."""
    label: str
    """Value of the metric label `reason`."""
    log_level: LogLevel
    """Of the line that tells of the call."""
    text: str
    """For a person, in the Warning header: `{limit}` is the limit's value. ASCII, no double quote."""
    retry_after: bool = False
    """The answer carries Retry-After."""

    def warning(self, limit: str, resets_in_ms: int | None) -> str:
        """The words of `Warning: 399`: which limit, its value, when it resets."""
        words = self.text.format(limit=limit or "none")
        if resets_in_ms is None:
            return words
        return f"{words}; resets in {_seconds_up(resets_in_ms)} s ({duration_text(_seconds_up(resets_in_ms) * 1000)})"


def _seconds_up(ms: int) -> int:
    return max(1, -(-ms // 1000))


_DISALLOWED: Final = "SIP account has disallowed settings"

TABLE: Final[Mapping[Reason, Row]] = MappingProxyType(
    {
        Reason.TOTAL_DURATION: Row(
            402,
            "Total calls duration is exceeded",
            "total_duration",
            "info",
            "total_duration reached: the limit on talk time is {limit}",
        ),
        Reason.SUCCESS_CALLS: Row(
            402,
            "Amount of success calls is exceeded",
            "success_calls",
            "info",
            "success_calls reached: the limit on answered calls is {limit}",
        ),
        Reason.FAIL_CALLS: Row(
            402,
            "Amount of fail calls is exceeded",
            "fail_calls",
            "info",
            "fail_calls reached: the limit on failed calls is {limit}",
        ),
        Reason.CALL_DURATION: Row(
            402,
            "Call duration is exceeded",
            "call_duration",
            "info",
            "call_duration reached: the limit on one call is {limit}",
        ),
        Reason.LINES: Row(
            486,
            "No lines for call",
            "lines",
            "info",
            "lines reached: the limit on simultaneous calls is {limit}",
        ),
        Reason.SIP_ACCOUNTS: Row(
            402,
            _DISALLOWED,
            "sip_accounts",
            "info",
            "sip_accounts reached: the limit on active accounts of this mode is {limit}",
        ),
        Reason.NO_PLAN: Row(
            402, _DISALLOWED, "no_plan", "info", "no_plan: no active tariff plan contains the mode {limit}"
        ),
        Reason.WORKER: Row(
            402, _DISALLOWED, "worker", "info", "worker: the payer may not use the Worker {limit}"
        ),
        Reason.GROUP_DISABLED: Row(
            403,
            "Group is disabled",
            "group_disabled",
            "info",
            "group_disabled: more members with access than the owner's plans allow: {limit}",
        ),
        Reason.ACCOUNT_DISABLED: Row(
            403,
            "Account is disabled",
            "account_disabled",
            "info",
            "account_disabled: this SIP account is switched off",
        ),
        Reason.UNKNOWN_CALLER: Row(
            403, "Forbidden", "unknown_caller", "info", "unknown_caller: callgate does not know who calls"
        ),
        Reason.CONTACTS: Row(
            403,
            "Too many contacts",
            "contacts",
            "info",
            "contacts: one account registers from at most {limit} contacts at once",
        ),
        Reason.NOT_REGISTERED: Row(
            480,
            "Temporarily Unavailable",
            "not_registered",
            "info",
            "not_registered: the account that is called is not registered",
        ),
        Reason.NO_ROUTE: Row(
            404, "Not Found", "no_route", "info", "no_route: no account and no route for this address"
        ),
        Reason.TRUNK_DOWN: Row(
            # Not 503, which would tell whoever calls that this proxy is down (RFC 3261 §16.7 step 6).
            500,
            "No Server Is Reachable",
            "trunk_down",
            "warning",
            "trunk_down: every server that this call could go to is out of order",
        ),
        Reason.STORE_UNAVAILABLE: Row(
            503,
            "Service Unavailable",
            "store_unavailable",
            "warning",
            "store_unavailable: limits cannot be checked now",
            retry_after=True,
        ),
        Reason.OVERLOAD: Row(
            503,
            "Service Unavailable",
            "overload",
            "warning",
            "overload: too many calls at this moment",
            retry_after=True,
        ),
        Reason.DRAINING: Row(
            503,
            "Service Unavailable",
            "draining",
            "info",
            "draining: this server is going down and takes no new calls",
            retry_after=True,
        ),
        Reason.HANGUP: Row(480, "Temporarily Unavailable", "hangup", "info", "hangup: ended by the operator"),
        Reason.SESSION_EXPIRED: Row(
            408,
            "Session expired",
            "session_expired",
            "info",
            "session_expired: neither side refreshed the session in time",
        ),
        Reason.DIALOG_LOST: Row(
            481,
            "Dialog is lost",
            "dialog_lost",
            "info",
            "dialog_lost: one side does not know of the call any more",
        ),
        Reason.REPLACED: Row(
            410,
            "Call is replaced",
            "replaced",
            "info",
            "replaced: another call has taken the place of this one",
        ),
    }
)


def rows(overrides: Mapping[ReasonName, int]) -> Mapping[Reason, Row]:
    """The table with the statuses of `refusals:`."""
    changed = {Reason(name): status for name, status in overrides.items()}
    return MappingProxyType(
        {reason: replace(row, status=changed.get(reason, row.status)) for reason, row in TABLE.items()}
    )


_CUT_TEXTS: Final[Mapping[Reason, str]] = MappingProxyType(
    {
        Reason.NO_PLAN: "no active tariff plan any more",
        Reason.HANGUP: "ended by the operator",
        Reason.SESSION_EXPIRED: "session expired",
        Reason.DIALOG_LOST: "dialog lost",
        Reason.REPLACED: "replaced by another call",
    }
)
"""Of those that are no limits."""


def cut_text(reason: Reason) -> str:
    """The text of a cut's Reason header: `SIP ;cause=402 ;text="total_duration reached"`."""
    return _CUT_TEXTS.get(reason) or f"{reason.value} reached"
