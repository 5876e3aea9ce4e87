"""A whole service on one store: three instances share a payer, die, start again, and hear of each other, or do not.

Hypothesis makes the histories. Each reply of the scripts, on a real Redis, must be that of the model, whoever asked.
Each instance cuts its calls when it believes that the budget is used up: what it believes comes from its own replies,
its renewals, and the notices of others; some notices are lost. SPEC §3 must hold in every history, rule 3 within what a
lost notice can cost: the time to the next renewal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from policies.account import Direction, Limits
from policies.keys import NOTICES
from tests.policies.model import Model
from tests.policies.scripted import START_MS, Outcome, Payer, limit, limits
from tests.policies.test_lua_model import tariffs

LEASE_MS = 150
RENEWAL_MS = 60
"""0.4 of a lease, as policies/renewal.py has it."""
INSTANCES = 3

T = TypeVar("T")


@dataclass
class Leg:
    direction: Direction
    talking: bool = False


@dataclass
class Instance:
    number: int
    alive: bool = True
    legs: dict[str, Leg] = field(default_factory=dict)
    cut_at: int | None = None
    """When it believes that the budget is used up."""
    renews_at: int = START_MS + RENEWAL_MS
    deaf: bool = False
    """Loses the next notice."""

    @property
    def name(self) -> str:
        return f"{self.number:08x}"


class Service:
    """The instances, the store, and the model of it."""

    def __init__(self, client: Redis, tariff: Limits) -> None:
        client.flushdb()
        self.payer = Payer(client, tariff, LEASE_MS)
        self.model = Model(tariff, START_MS, LEASE_MS)
        self.instances = [Instance(number) for number in range(1, INSTANCES + 1)]
        self.pubsub = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        self.pubsub.subscribe(NOTICES)
        self.pubsub.get_message(timeout=1)
        self.admitted = 0
        self.ended: set[str] = set()
        self.inherited: set[tuple[str, str]] = set()
        self.slack = 0
        """Talk that lost notices and deaths may have cost, in ms of all calls."""
        self.most = 1

    # What may happen

    def admit(self, which: int, direction: Direction, tentative: bool) -> None:
        for one in self._alive(which):
            lease = f"{one.name}{self.admitted}"
            self.admitted += 1
            verdict = self._as(one).admit(lease, direction, tentative=tentative)
            assert verdict == self.model.admit(lease, direction, tentative=tentative)
            if verdict == 0:
                one.legs[lease] = Leg(direction)
                self._rules_one_and_two_hold(direction)
            self.most = max(self.most, len(self.model.calls))

    def other_leg_taken(self, which: int) -> None:
        """What was tentative is certain."""
        for one in self._alive(which):
            self._renew(one)

    def answer(self, which: int, leg: int) -> None:
        for one in self._alive(which):
            for lease in _pick(leg, [lease for lease, leg_ in one.legs.items() if not leg_.talking]):
                one.legs[lease].talking = True
                self._told(
                    one,
                    self._as(one).answered(lease, one.legs[lease].direction, dialog="text"),
                    self.model.answered(lease),
                )

    def end(self, which: int, leg: int, outcome: Outcome) -> None:
        for one in self._alive(which):
            for lease in _pick(leg, list(one.legs)):
                self._end(one, lease, "success" if one.legs[lease].talking else outcome)

    def lose_a_notice(self, which: int) -> None:
        self.instances[which % INSTANCES].deaf = True

    def die(self, which: int) -> None:
        for one in self._alive(which):
            # Nobody cuts its calls until their leases have lapsed, or it has started again.
            self.slack += LEASE_MS * _talking(one)
            one.alive, one.cut_at, one.legs = False, None, {}

    def start_again(self, which: int) -> None:
        for one in _pick(which, [one for one in self.instances if not one.alive]):
            one.alive, one.renews_at = True, self.model.now + RENEWAL_MS
            self._inherit(one, one, again=True)

    def look_after_the_dead(self, which: int) -> None:
        """Somebody alive goes through what a dead one left."""
        for heir in self._alive(which):
            for dead in [one for one in self.instances if not one.alive]:
                self._inherit(heir, dead, again=False)

    def change(self, tariff: Limits) -> None:
        """On all instances at once; each asks for its plan anew, as after a reload."""
        self.payer.limits = self.model.limits = tariff
        for one in self.instances:
            one.cut_at = None
            if one.alive:
                self._renew(one)

    def pass_time(self, ms: int) -> None:
        until = self.model.now + ms
        while (due := self._next_due()) is not None and due[0] <= until:
            self._advance(max(0, due[0] - self.model.now))
            if due[1].cut_at is not None and due[1].cut_at <= self.model.now:
                self._cut(due[1])
            else:
                due[1].renews_at = self.model.now + RENEWAL_MS
                self._renew(due[1])
        self._advance(until - self.model.now)

    # How it goes

    def _as(self, one: Instance) -> Payer:
        self.payer.instance = one.number
        return self.payer

    def _alive(self, which: int) -> list[Instance]:
        return _pick(which, [one for one in self.instances if one.alive])

    def _next_due(self) -> tuple[int, Instance] | None:
        dues = [
            (at, one)
            for one in self.instances
            if one.alive
            for at in (one.cut_at, one.renews_at if one.legs else None)
            if at is not None
        ]
        return min(dues, key=lambda due: due[0]) if dues else None

    def _advance(self, ms: int) -> None:
        self.payer.pass_time(ms)
        self.model.now += ms

    def _renew(self, one: Instance) -> None:
        outgoing = [lease for lease, leg in one.legs.items() if leg.direction == "out"]
        incoming = [lease for lease, leg in one.legs.items() if leg.direction == "in"]
        exhausts_in, missing = self._as(one).renew(outgoing, incoming)
        assert (exhausts_in, missing) == self.model.renew(outgoing + incoming)
        assert missing == []  # who renews in time loses nothing
        self._plan(one, exhausts_in)

    def _end(self, one: Instance, lease: str, outcome: Outcome) -> None:
        assert lease not in self.ended  # rule 5, from the service's side
        self.ended.add(lease)
        leg = one.legs.pop(lease)
        self._told(one, self._as(one).ended(lease, outcome, leg.direction), self.model.ended(lease, outcome))
        assert self.payer.ended(lease, outcome, leg.direction)[1] == 0  # and from the store's
        self.model.begin()

    def _cut(self, one: Instance) -> None:
        one.cut_at = None
        total = self.model.limits.total_duration
        assert total is not None
        for lease in [
            lease for lease, leg in one.legs.items() if leg.talking and total.applies(leg.direction)
        ]:
            self._end(one, lease, "success")

    def _told(self, one: Instance, reply: tuple[int, int], expected: tuple[int, int]) -> None:
        assert reply == expected
        self._plan(one, reply[0])

    def _plan(self, one: Instance, exhausts_in: int) -> None:
        one.cut_at = self.model.now + exhausts_in if exhausts_in >= 0 and _talking(one) else None
        self._hear()

    def _hear(self) -> None:
        """Notices reach everyone but their origin, who then ask for themselves; asking moves nothing."""
        while (message := self.pubsub.get_message()) is not None:
            kind, origin, _ = message["data"].decode().split(" ", 2)
            assert kind == "plan"
            for one in self.instances:
                if str(one.number) == origin or not one.alive or not _talking(one):
                    continue
                if one.deaf:
                    one.deaf = False
                    self.slack += RENEWAL_MS * _talking(one)
                    continue
                exhausts_in, missing = self._as(one).renew([])
                assert (exhausts_in, missing) == self.model.renew([])
                one.cut_at = self.model.now + exhausts_in if exhausts_in >= 0 else None

    def _inherit(self, heir: Instance, dead: Instance, *, again: bool) -> None:
        found = self._as(heir).inherit(dead.name, again=again)
        lasting, calls = self.model.inherit(dead.name, again=again)
        told = {(kind, lease) for kind, _, lease, _ in found.calls}
        # What lapsed was told before to an heir whose claim may last still.
        assert found.lasting == lasting
        assert told <= calls
        assert calls - told <= self.inherited
        self.inherited |= {one for one in told if one[0] == "lapsed"}
        for kind, direction, lease, dialog in found.calls:
            assert dialog == "text"
            if kind == "held":
                heir.legs[lease] = Leg("out" if direction == "out" else "in", talking=True)
        if again:
            self._renew(heir)

    # What must be true

    def _rules_one_and_two_hold(self, direction: Direction) -> None:
        model, tariff = self.model, self.model.limits
        if tariff.lines is not None:
            assert self.payer.lines() <= tariff.lines.value
        for option in (tariff.success_calls, tariff.fail_calls):
            if option is not None and option.applies(direction):
                used = model.windows[option.counter].used_at(model.now, option.period_ms)
                assert used + model.pending(option) <= option.value

    def rule_three_holds(self) -> None:
        total = self.model.limits.total_duration
        window = self.model.windows.get(total.counter) if total is not None else None
        if total is not None and window is not None:
            # Whole ms: each of the calls may talk into the ms in which it is cut.
            assert window.used < total.value + max(1, self.most) + self.slack

    def what_is_used_is_the_models(self) -> None:
        self.model.begin()
        seen, model, tariff = self._as(self.instances[0]).usage(), self.model, self.model.limits
        options = {"total": tariff.total_duration, "fail": tariff.fail_calls, "success": tariff.success_calls}
        for name, option in options.items():
            if option is not None:
                window = model.windows.get(option.counter)
                used = window.used_at(model.now, option.period_ms) if window is not None else 0
                assert seen[name][1] == used, name
        assert {lease for _, lease, _ in seen["calls"]} == set(model.calls)

    def play(self, history: list[tuple[Any, ...]], *, tariff_changes: bool) -> None:
        for name, *arguments in history:
            getattr(self, name)(*arguments)
            self._hear()
            self.what_is_used_is_the_models()
            if not tariff_changes:
                self.rule_three_holds()
        # Rules 5 and 6: whatever died, a lease later nothing is held but by those who live.
        self.pass_time(LEASE_MS + 1)
        self._as(self.instances[0]).renew([])
        self.model.renew([])
        live = sum(len(one.legs) for one in self.instances)
        assert self.payer.lines() == len(self.model.calls) == live
        self.pubsub.close()


def _talking(one: Instance) -> int:
    return sum(leg.talking for leg in one.legs.values())


def _pick(which: int, things: list[T]) -> list[T]:
    return [things[which % len(things)]] if things else []


_which = st.integers(0, 9)
_direction: st.SearchStrategy[Direction] = st.sampled_from(["out", "in"])
_outcome: st.SearchStrategy[Outcome] = st.sampled_from(["success", "fail", "fail", "void"])
_steps = st.one_of(
    st.tuples(st.just("admit"), _which, _direction, st.sampled_from([False, False, True])),
    st.tuples(st.just("admit"), _which, _direction, st.just(False)),
    st.tuples(st.just("answer"), _which, _which),
    st.tuples(st.just("answer"), _which, _which),
    st.tuples(st.just("end"), _which, _which, _outcome),
    st.tuples(st.just("other_leg_taken"), _which),
    st.tuples(st.just("lose_a_notice"), _which),
    st.tuples(st.just("die"), _which),
    st.tuples(st.just("start_again"), _which),
    st.tuples(st.just("start_again"), _which),
    st.tuples(st.just("look_after_the_dead"), _which),
    st.tuples(st.just("pass_time"), st.integers(1, 9).map(lambda tens: 10 * tens)),
    st.tuples(st.just("pass_time"), st.sampled_from([LEASE_MS - 1, LEASE_MS, LEASE_MS + 1, 2_000])),
)
_change = st.tuples(st.just("change"), tariffs)
_settings = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


_only_a_budget = st.integers(2, 12).map(
    lambda tens: limits(total=limit("total_duration", 10 * tens, 2_000, "both"))
)
_sharing = st.one_of(
    st.tuples(st.just("admit"), _which, _direction, st.just(False)),
    st.tuples(st.just("answer"), _which, _which),
    st.tuples(st.just("answer"), _which, _which),
    st.tuples(st.just("end"), _which, _which, _outcome),
    st.tuples(st.just("lose_a_notice"), _which),
    st.tuples(st.just("pass_time"), st.integers(1, 5).map(lambda tens: 10 * tens)),
)


@given(tariff=_only_a_budget, history=st.lists(_sharing, min_size=10, max_size=40))
@_settings
def test_a_budget_drained_from_three_sides_is_never_overdrawn(
    redis_client: Redis, tariff: Limits, history: list[tuple[Any, ...]]
) -> None:
    Service(redis_client, tariff).play(history, tariff_changes=False)


@given(tariff=tariffs, history=st.lists(_steps, min_size=20, max_size=60))
@_settings
def test_three_instances_hold_one_payer_to_its_limits(
    redis_client: Redis, tariff: Limits, history: list[tuple[Any, ...]]
) -> None:
    Service(redis_client, tariff).play(history, tariff_changes=False)


@given(tariff=tariffs, history=st.lists(st.one_of(_steps, _change), min_size=20, max_size=60))
@_settings
def test_and_when_its_tariff_changes_under_running_calls(
    redis_client: Redis, tariff: Limits, history: list[tuple[Any, ...]]
) -> None:
    Service(redis_client, tariff).play(history, tariff_changes=True)
