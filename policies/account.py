"""What a payer may do: the values that pass between resolution, the limiter and the engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from config.tariffs import Counts, Mode

__all__ = ["Counts", "Direction", "Limit", "Limits", "Mode", "NoPlan"]

Direction = Literal["out", "in"]
"""Of a leg, as its payer sees it: `out` = its account calls, `in` = its account is called."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One option in force. An unlimited option is no Limit: it is None in Limits."""

    value: int
    """Milliseconds for durations, a count for everything else; always ≥ 1."""
    counter: str
    """`<plan>@<since>:<category>:<option>`, or "" when the option has no counter. Names the activation, never the
    amount, so usage survives a change of value. `<since>` is ISO 8601 basic
    in UTC (`20260101T000000Z`), or `auto`."""
    period_ms: int
    """Length of the window, 0 when the option has none."""
    plan: str
    """The plan that supplied it, for people."""
    counts: Counts
    """Which legs it applies to."""

    def applies(self, direction: Direction) -> bool:
        """Whether a leg of this direction is limited by it."""
        return self.counts == "both" or (self.counts == "outgoing") == (direction == "out")


@dataclass(frozen=True, slots=True)
class Limits:
    """Everything in force for one payer in one mode. None = unlimited."""

    payer: str
    mode: Mode
    call_duration: Limit | None
    total_duration: Limit | None
    success_calls: Limit | None
    fail_calls: Limit | None
    sip_accounts: Limit | None
    lines: Limit | None
    all_workers: bool
    """False: only free Workers and the one of the account's SIP template."""
    valid_until: float
    """Unix seconds of the next start or end of an activation (inf = none): resolve again then."""


@dataclass(frozen=True, slots=True)
class NoPlan:
    """The payer has no active plan with the category of the mode: its calls and registrations are refused."""

    payer: str
    mode: Mode
    valid_until: float

    def of_calls_left(self) -> Limits:
        """For its calls of a run in which it had one: nothing that could be counted, and no longer in force, so that
        they end."""
        return Limits(
            payer=self.payer,
            mode=self.mode,
            call_duration=None,
            total_duration=None,
            success_calls=None,
            fail_calls=None,
            sip_accounts=None,
            lines=None,
            all_workers=False,
            valid_until=0.0,
        )
