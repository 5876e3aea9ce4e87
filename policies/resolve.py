"""Several active plans → the limits in force for one payer in one mode (SPEC §2). Pure; the same code explains itself.

Within a category the highest value over all active plans that contain the category wins. On a tie the plan that
expires earlier supplies it, then the earlier activation, then the plan's name. Values are not added up. An option that
a plan does not name is one on which this plan says nothing: the others decide; if none names it, it is unlimited.
Amounts are compared, not rates: `100h per 30d` is higher than `30m per 1d`.

Cost: some 10 µs for two plans; the caller keeps the result until `valid_until`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Final

from policies.account import Limit, Limits, Mode, NoPlan
from policies.catalog import Catalog
from policies.options import BY_NAME, MODE_OPTIONS, PLAN_WIDE
from policies.plan import Activation, Value

_LENDING: Final = "group"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One active plan's word on one option."""

    activation: Activation
    value: Value

    @property
    def precedence(self) -> tuple[float, float, float, str]:
        """The lowest wins."""
        return -self.value.height, self.activation.until, self.activation.since, self.activation.plan


@dataclass(frozen=True, slots=True)
class Choice:
    """One option: who had a word on it, winner first, and why it won."""

    candidates: tuple[Candidate, ...]
    """Empty: no active plan names the option, and its default holds."""

    @property
    def why(self) -> str:
        """In words."""
        if not self.candidates:
            return "no active plan names it"
        if len(self.candidates) == 1:
            return "the only active plan that names it"
        first, second = self.candidates[0], self.candidates[1]
        if first.value.height != second.value.height:
            return "the highest value"
        if first.activation.until != second.activation.until:
            return "the same value, and this plan expires earlier"
        if first.activation.since != second.activation.since:
            return "the same value and end, and activated earlier"
        return "the same value, end and start, and first by name"


@dataclass(frozen=True, slots=True)
class Explanation:
    """A resolution with everything that led to it."""

    limits: Limits | NoPlan
    active: tuple[Activation, ...]
    """All active activations, also those without the category."""
    choices: Mapping[str, Choice]
    """By option, in the table's order; only all_workers when there is no plan for the mode."""


def resolve(
    catalog: Catalog, subscriber: str, mode: Mode, now_unix: float, member: str = ""
) -> Limits | NoPlan:
    """The limits of `subscriber` in `mode`.

    member: a member of the subscriber's group whose leg the group pays: then only the plans that lend to groups count,
    and only their limits on duration and number of calls.
    A subscriber that the catalog does not know has no plan.
    """
    return explain(catalog, subscriber, mode, now_unix, member).limits


def resolve_payer(catalog: Catalog, payer: str, mode: Mode, now_unix: float) -> Limits | NoPlan:
    """The limits of a payer by its id, that of a group too. It keeps this id whatever the group now has for one."""
    owner, member = owner_and_member(payer)
    found = resolve(catalog, owner, mode, now_unix, member)
    return found if found.payer == payer else replace(found, payer=payer)


def owner_and_member(payer: str) -> tuple[str, str]:
    """(subscriber, "") of a subscriber; of a group its owner, and the member or, where they share, "*"."""
    kind, _, rest = payer.partition(":")
    if not rest:
        return kind, ""
    owner, _, member = rest.partition(":")
    return owner, member or "*"


def explain(catalog: Catalog, subscriber: str, mode: Mode, now_unix: float, member: str = "") -> Explanation:
    """`resolve`, with the candidates for each option."""
    customer = catalog.subscribers.get(subscriber)
    activations = customer.activations if customer is not None else ()
    payer = catalog.group_payer(subscriber, member) if member else subscriber
    active = tuple(activation for activation in activations if activation.active(now_unix))
    until = _next_change(activations, now_unix)
    holders = [one for one in active if mode in one.categories and (not member or _LENDING in one.categories)]
    workers = _choice(active, PLAN_WIDE, "all_workers")
    if not holders:
        return Explanation(NoPlan(payer, mode, until), active, {"all_workers": workers})
    choices = {
        option.name: _choice(holders if option.lendable or not member else (), mode, option.name)
        for option in MODE_OPTIONS
    }
    limits = Limits(
        payer=payer,
        mode=mode,
        call_duration=_limit(choices["call_duration"], mode),
        total_duration=_limit(choices["total_duration"], mode),
        success_calls=_limit(choices["success_calls"], mode),
        fail_calls=_limit(choices["fail_calls"], mode),
        sip_accounts=_limit(choices["sip_accounts"], mode),
        lines=_limit(choices["lines"], mode),
        all_workers=bool(workers.candidates and workers.candidates[0].value.value),
        valid_until=until,
    )
    return Explanation(limits, active, {"all_workers": workers, **choices})


def group_size(catalog: Catalog, subscriber: str, now_unix: float) -> tuple[int | None, Choice]:
    """Members with access that the subscriber's group may have (None = unlimited, 0 = no group), and why."""
    customer = catalog.subscribers.get(subscriber)
    activations = customer.activations if customer is not None else ()
    choice = _choice((one for one in activations if one.active(now_unix)), PLAN_WIDE, "group_size")
    return (choice.candidates[0].value.value if choice.candidates else 0), choice


def _choice(activations: Iterable[Activation], category: str, option: str) -> Choice:
    found = [
        Candidate(activation, value)
        for activation in activations
        if (value := activation.values.get((category, option))) is not None
    ]
    if len(found) > 1:
        found.sort(key=lambda candidate: candidate.precedence)
    return Choice(tuple(found))


def _limit(choice: Choice, mode: Mode) -> Limit | None:
    if not choice.candidates:
        return None
    winner = choice.candidates[0]
    value = winner.value
    if value.value is None:
        return None
    counter = f"{winner.activation.id}:{mode}:{value.option}" if BY_NAME[value.option].counter else ""
    return Limit(value.value, counter, value.period_ms, winner.activation.plan, value.counts)


def _next_change(activations: Iterable[Activation], now: float) -> float:
    """The next instant at which an activation starts or ends."""
    return min((at for one in activations for at in (one.since, one.until) if at > now), default=inf)
