"""The options of tariff plans: one row each (SPEC §2). The schema of plans.yaml is held to this table by a test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from config.units import UNLIMITED, duration_text

if TYPE_CHECKING:
    from policies.account import Limit

Quantity = Literal["duration", "count", "permission"]

SOFTPHONE: Final = "softphone"
GATEWAY: Final = "gateway"
PLAN_WIDE: Final = ""
"""Category of the options that stand in the plan itself."""


@dataclass(frozen=True, slots=True)
class Option:
    """One limit or permission."""

    name: str
    categories: tuple[str, ...]
    quantity: Quantity
    counter: bool = False
    """Has a period and a counter."""
    lendable: bool = False
    """A plan with the category `group` lends it to the group: limits on duration and number of calls."""


_BOTH: Final = (SOFTPHONE, GATEWAY)

OPTIONS: Final = (
    Option("all_workers", (PLAN_WIDE,), "permission"),
    Option("group_size", (PLAN_WIDE,), "count"),
    Option("call_duration", _BOTH, "duration", lendable=True),
    Option("total_duration", _BOTH, "duration", counter=True, lendable=True),
    Option("success_calls", _BOTH, "count", counter=True, lendable=True),
    Option("fail_calls", _BOTH, "count", counter=True, lendable=True),
    Option("sip_accounts", _BOTH, "count"),
    Option("lines", (GATEWAY,), "count"),
)

MODE_OPTIONS: Final = tuple(option for option in OPTIONS if PLAN_WIDE not in option.categories)
BY_NAME: Final = {option.name: option for option in OPTIONS}


def value_text(option: str, value: int | None, period_ms: int = 0) -> str:
    """As the plan file writes it: `2m`, `30m per 1d`, `5 per 1h`, `10`, `yes`, `unlimited`."""
    quantity = BY_NAME[option].quantity
    if quantity == "permission":
        return "yes" if value else "no"
    if value is None:
        return UNLIMITED
    text = duration_text(value) if quantity == "duration" else str(value)
    return f"{text} per {duration_text(period_ms)}" if period_ms else text


def limit_text(option: str, limit: Limit | None) -> str:
    """A limit in force as the plan file writes it; "" when there is none."""
    return value_text(option, limit.value, limit.period_ms) if limit is not None else ""
