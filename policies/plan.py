"""Plans as resolution sees them: activations with their values, every choice made at activation already applied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from types import MappingProxyType
from typing import Final

from config.tariffs import Activation as ActivationSchema
from config.tariffs import Counts, Plan
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


class Tariffs:
    """The plans, ready to be activated: what a plan grants is worked out once, not once a subscriber."""

    __slots__ = ("_categories", "_values", "automatic")

    def __init__(self, plans: Mapping[str, Plan]) -> None:
        self._categories = {name: frozenset(plan.categories.model_fields_set) for name, plan in plans.items()}
        self._values = {name: MappingProxyType(_granted(plan)) for name, plan in plans.items()}
        self.automatic = tuple(
            Activation(name, AUTO_SINCE, inf, f"{name}@{AUTO}", self._categories[name], self._values[name])
            for name, plan in plans.items()
            if plan.auto_activate
        )
        """The activations that every subscriber has."""

    def activation(self, bought: ActivationSchema) -> Activation:
        """What was bought, with the values that were chosen."""
        values: Mapping[tuple[str, str], Value] = self._values[bought.plan]
        chosen = bought.options.chosen()
        if chosen:
            values = MappingProxyType({**values, **_chosen(chosen, values)})
        until = inf if bought.until is None else bought.until
        name = f"{bought.plan}@{instant_id(bought.since)}"
        return Activation(bought.plan, bought.since, until, name, self._categories[bought.plan], values)


def _granted(plan: Plan) -> dict[tuple[str, str], Value]:
    """The plan's own values."""
    values: dict[tuple[str, str], Value] = {}
    for option in OPTIONS:
        for category in option.categories:
            holder = plan if category == PLAN_WIDE else getattr(plan.categories, category)
            granted = getattr(holder, option.name, None) if holder is not None else None
            if granted is not None:
                amount = _amount(granted.value)
                counts: Counts = getattr(granted, "counts", "both")
                values[category, option.name] = Value(
                    option.name, amount.value, amount.period_ms, counts, False
                )
    return values


def _chosen(
    chosen: Mapping[str, Amount | bool], granted: Mapping[tuple[str, str], Value]
) -> dict[tuple[str, str], Value]:
    """The values chosen at activation; the loader has seen to it that the plan has them, and as mutable ones."""
    values = {}
    for name, value in chosen.items():
        category, _, option = name.rpartition(".")
        amount = _amount(value)
        counts = granted[category, option].counts
        values[category, option] = Value(option, amount.value, amount.period_ms, counts, True)
    return values


def _amount(value: Amount | bool) -> Amount:
    return Amount(int(value)) if isinstance(value, bool) else value
