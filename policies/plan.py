"""Plans as resolution sees them: activations with their values, every choice made at activation already applied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from types import MappingProxyType
from typing import Final

from config.tariffs import Activation as ActivationSchema
from config.tariffs import Counts, Plan, Subscriber
from config.units import Amount, instant_id
from policies.options import OPTIONS, PLAN_WIDE, value_text

AUTO: Final = "auto"
AUTO_SINCE: Final = 0.0
"""Unix seconds. A plan that activates by itself is in force since before every other, and never ends."""


@dataclass(frozen=True, slots=True)
class Value:
    """One option as one activation grants it."""

    option: str
    value: int | None
    """Milliseconds or a count; None = unlimited; a permission is 1 or 0."""
    period_ms: int
    counts: Counts
    chosen: bool
    """Chosen at activation, not the plan's own."""

    @property
    def height(self) -> float:
        """What is compared between plans: the amount alone, whatever its period; unlimited is highest."""
        return inf if self.value is None else self.value

    def __str__(self) -> str:
        return value_text(self.option, self.value, self.period_ms)


@dataclass(frozen=True, slots=True)
class Activation:
    """One plan in force for one subscriber from `since` up to (not including) `until`; Unix seconds, inf = never."""

    plan: str
    since: float
    until: float
    id: str
    """`<plan>@<since>`: the first part of its counters' names."""
    categories: frozenset[str]
    values: Mapping[tuple[str, str], Value]
    """By (category, option); plan-wide options have the category ""."""

    def active(self, now: float) -> bool:
        """Whether it is in force."""
        return self.since <= now < self.until


def activations_of(subscriber: Subscriber, plans: Mapping[str, Plan]) -> tuple[Activation, ...]:
    """What the subscriber bought, without the plans that activate by themselves."""
    return tuple(_activation(bought, plans[bought.plan]) for bought in subscriber.activations)


def automatic(plans: Mapping[str, Plan]) -> tuple[Activation, ...]:
    """The activations that every subscriber has."""
    return tuple(
        Activation(name, AUTO_SINCE, inf, f"{name}@{AUTO}", _categories(plan), _values(plan, {}))
        for name, plan in plans.items()
        if plan.auto_activate
    )


def _activation(bought: ActivationSchema, plan: Plan) -> Activation:
    return Activation(
        bought.plan,
        bought.since,
        inf if bought.until is None else bought.until,
        f"{bought.plan}@{instant_id(bought.since)}",
        _categories(plan),
        _values(plan, bought.options.chosen()),
    )


def _categories(plan: Plan) -> frozenset[str]:
    return frozenset(plan.categories.model_fields_set)


def _values(plan: Plan, chosen: Mapping[str, Amount | bool]) -> Mapping[tuple[str, str], Value]:
    values: dict[tuple[str, str], Value] = {}
    for option in OPTIONS:
        for category in option.categories:
            holder = plan if category == PLAN_WIDE else getattr(plan.categories, category)
            granted = getattr(holder, option.name, None)
            if granted is None:
                continue
            key = f"{category}.{option.name}" if category else option.name
            amount = chosen.get(key, granted.value)
            if isinstance(amount, bool):
                amount = Amount(int(amount))
            counts: Counts = getattr(granted, "counts", "both")
            values[category, option.name] = Value(
                option.name, amount.value, amount.period_ms, counts, key in chosen
            )
    return MappingProxyType(values)
