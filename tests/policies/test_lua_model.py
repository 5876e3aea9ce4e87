"""Every history of a payer's calls goes as the model says, and SPEC §3 holds in it.

Hypothesis makes histories of admissions, answers, ends, renewals, changes of tariff and jumps of time, with leases lost
and ends told twice; each reply of the scripts, on a real Redis, must be the model's.
"""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from policies.account import Counts, Direction, Limit, Limits
from tests.policies.model import Model
from tests.policies.scripted import START_MS, Outcome, Payer, limit, limits

LEASE_MS = 150

_counts: st.SearchStrategy[Counts] = st.sampled_from(["outgoing", "both", "both", "incoming"])
_plan = st.sampled_from(["basic", "basic", "office"])

# Times are mostly whole tens, so that moments coincide: there is where mistakes hide.
_period = st.sampled_from([40, 100, 300, 2_000])
_tens = st.integers(1, 9).map(lambda number: 10 * number)


def _limit(option: str, values: st.SearchStrategy[int]) -> st.SearchStrategy[Limit | None]:
    some = st.builds(limit, st.just(option), values, _period, _counts, _plan)
    return st.one_of(some, some, some, st.none())


tariffs = st.builds(
    limits,
    total=_limit("total_duration", _tens | st.integers(1, 300)),
    success=_limit("success_calls", st.integers(1, 4)),
    fail=_limit("fail_calls", st.integers(1, 4)),
    lines=st.one_of(st.none(), st.none(), st.integers(2, 5)),
)

_direction: st.SearchStrategy[Direction] = st.sampled_from(["out", "in"])
_outcome: st.SearchStrategy[Outcome] = st.sampled_from(["success", "fail", "fail", "void"])
_which = st.integers(0, 9)

Step = tuple[Any, ...]
# What is done, and to which call: the number picks one that it can be done to, if there is any.
_steps: tuple[st.SearchStrategy[Step], ...] = (
    st.tuples(st.just("admit"), _direction),
    st.tuples(st.just("admit"), _direction),
    st.tuples(st.just("admit"), _direction),
    st.tuples(st.just("answer"), _which),
    st.tuples(st.just("answer"), _which),
    st.tuples(st.just("end"), _which, _outcome),
    st.tuples(st.just("tell_again"), _which, _outcome),
    st.tuples(st.just("renew_all_but"), st.sets(_which, max_size=3)),
    st.tuples(st.just("pass_time"), _tens),
    st.tuples(
        st.just("pass_time"), st.sampled_from([LEASE_MS - 1, LEASE_MS, 2 * LEASE_MS]) | st.integers(1, 99)
    ),
    st.tuples(st.just("pass_to_exhaustion"), st.integers(-1, 1)),
    st.tuples(st.just("pass_to_window_end"), _which, st.integers(-1, 1)),
)
_change = st.tuples(st.just("change"), tariffs)


def _histories(*steps: st.SearchStrategy[Step]) -> st.SearchStrategy[list[Step]]:
    return st.lists(st.one_of(*steps), min_size=20, max_size=60)


_quick = settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class History:
    """The scripts and the model, side by side."""

    def __init__(self, client: Redis, tariff: Limits) -> None:
        client.flushdb()
        self.payer = Payer(client, tariff, LEASE_MS)
        self.model = Model(tariff, START_MS, LEASE_MS)
        self.direction: dict[str, Direction] = {}
        """Of the leases ever admitted: their owner knows."""

    def play(self, history: list[Step]) -> None:
        for name, *arguments in history:
            getattr(self, name)(*arguments)
        assert self.renew([]) == []
        assert self.payer.lines() == len(self.model.calls)  # rule 5: there are no counts but these sets

    def admit(self, direction: Direction) -> None:
        lease = f"lease-{len(self.direction)}"
        before = self.payer.lines()
        verdict = self.payer.admit(lease, direction)
        assert verdict == self.model.admit(lease, direction)
        self.direction[lease] = direction
        if verdict == 0:
            self._rules_hold(direction)
        else:
            assert self.payer.lines() <= before  # rule 8

    def _rules_hold(self, direction: Direction) -> None:
        """Right after an admission, which is the only thing that could break them."""
        model, tariff = self.model, self.model.limits
        if tariff.lines is not None:
            assert self.payer.lines() <= tariff.lines.value  # rule 1
        for option in (tariff.success_calls, tariff.fail_calls):
            if option is not None and option.applies(direction):
                used = model.windows[option.counter].used_at(model.now, option.period_ms)
                assert used + model.pending(option) <= option.value  # rule 2

    def answer(self, which: int) -> None:
        if lease := _pick(which, [lease for lease, call in self.model.calls.items() if not call.talking]):
            self._answer(lease)

    def _answer(self, lease: str) -> None:
        reply = self.payer.answered(lease, self.direction[lease])
        assert reply == self.model.answered(lease)
        self.told(reply[0])

    def end(self, which: int, outcome: Outcome) -> None:
        if lease := _pick(which, list(self.model.calls)):
            talking = self.model.calls[lease].talking
            self._end(lease, "success" if talking else outcome)

    def tell_again(self, which: int, outcome: Outcome) -> None:
        """Of any call there ever was, over or not, refused ones included."""
        if lease := _pick(which, list(self.direction)):
            self._answer(lease)
            self._end(lease, outcome)

    def _end(self, lease: str, outcome: Outcome) -> None:
        reply = self.payer.ended(lease, outcome, self.direction[lease])
        assert reply == self.model.ended(lease, outcome)
        self.told(reply[0])

    def renew_all_but(self, lost: set[int]) -> None:
        self.renew([lease for number, lease in enumerate(self.model.calls) if number not in lost])

    def renew(self, leases: list[str]) -> list[str]:
        outgoing = [lease for lease in leases if self.direction[lease] == "out"]
        incoming = [lease for lease in leases if self.direction[lease] == "in"]
        reply = self.payer.renew(outgoing, incoming)
        assert reply == self.model.renew(outgoing + incoming)
        self.told(reply[0])
        return reply[1]

    def told(self, exhausts_in: int) -> None:
        """When the budget will be used up, as an instance learns it."""

    def pass_time(self, ms: int) -> None:
        self.payer.pass_time(ms)
        self.model.now += ms

    def pass_to_exhaustion(self, offset: int) -> None:
        seen = copy.deepcopy(self.model)
        seen.begin()
        self.pass_time(max(1, seen.exhausts_in() + offset))

    def pass_to_window_end(self, which: int, offset: int) -> None:
        tariff = self.model.limits
        running = [
            option for option in (tariff.total_duration, tariff.success_calls, tariff.fail_calls) if option
        ]
        ends = []
        for option in running:
            window = self.model.windows.get(option.counter)
            if window is not None and window.used_at(self.model.now, option.period_ms):
                ends.append(window.ends_in(self.model.now, option.period_ms))
        if ends:
            self.pass_time(max(1, ends[which % len(ends)] + offset))

    def change(self, tariff: Limits) -> None:
        self.payer.limits = self.model.limits = tariff


class Obedient(History):
    """Calls are cut when the last reply said that the budget would be used up, knowing nothing else."""

    cut_at: int | None = None

    def told(self, exhausts_in: int) -> None:
        self.cut_at = self.model.now + exhausts_in if exhausts_in >= 0 else None

    def pass_time(self, ms: int) -> None:
        until = self.model.now + ms
        while self.cut_at is not None and self.cut_at <= until:
            super().pass_time(self.cut_at - self.model.now)
            self._cut()
        super().pass_time(until - self.model.now)

    def _cut(self) -> None:
        self.cut_at = None
        total = self.model.limits.total_duration
        assert total is not None
        for lease, call in list(self.model.calls.items()):
            if call.talking and total.applies(call.direction):
                self._end(lease, "success")

    def play(self, history: list[Step]) -> None:
        most = 0
        for name, *arguments in history:
            getattr(self, name)(*arguments)
            most = max(most, len(self.model.calls))
            total = self.model.limits.total_duration
            window = self.model.windows.get(total.counter) if total is not None else None
            if total is not None and window is not None:
                # Rule 3. Whole ms: each of the calls may talk into the ms in which it is cut.
                assert window.used < total.value + max(1, most)


def _pick(which: int, leases: list[str]) -> str | None:
    return leases[which % len(leases)] if leases else None


@given(tariff=tariffs, history=_histories(*_steps, _change))
@settings(
    max_examples=500,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_every_reply_is_the_models(redis_client: Redis, tariff: Limits, history: list[Step]) -> None:
    History(redis_client, tariff).play(history)


@given(tariff=tariffs, history=_histories(*_steps))
@_quick
def test_calls_cut_when_told_never_talk_longer_than_their_budget(
    redis_client: Redis, tariff: Limits, history: list[Step]
) -> None:
    Obedient(redis_client, tariff).play(history)
