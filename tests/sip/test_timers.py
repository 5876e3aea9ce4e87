"""Timers: everything fires once, never early, in the order of deadlines, whichever lane or heap it waits in."""

from __future__ import annotations

import weakref
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sip.timers import LANES_MAX, SWEEP_MIN, TimerHandle, Timers


class Log:
    def __init__(self) -> None:
        self.fired: list[tuple[object, int, float]] = []

    def handler(self, owner: object, token: int, now: float) -> None:
        self.fired.append((owner, token, now))


def test_an_entry_fires_at_its_deadline_and_not_before() -> None:
    timers, log = Timers(), Log()
    timers.after(0.5, log.handler, "a", 7, 10.0)
    timers.expire(10.499)
    assert log.fired == []
    timers.expire(10.5)
    assert log.fired == [("a", 7, 10.5)]
    timers.expire(99.0)
    assert len(log.fired) == 1


@pytest.mark.parametrize("start", [0.1, 1e9 / 3, 123456.789])
def test_expiring_at_the_next_deadline_fires_whatever_the_rounding(start: float) -> None:
    timers, log = Timers(), Log()
    for step in range(50):
        timers.after(0.1, log.handler, step, 0, start + step * 0.01)
    while (deadline := timers.next_deadline()) is not None:
        before = len(log.fired)
        timers.expire(deadline)
        assert len(log.fired) > before


def test_a_late_expire_handles_all_lanes_and_the_heap_in_the_order_of_deadlines() -> None:
    timers, log = Timers(), Log()
    timers.after(4.0, log.handler, "at 4", 0, 0.0)
    timers.after(1.0, log.handler, "at 1", 0, 0.0)
    timers.at(2.5, log.handler, "at 2.5", 0)
    timers.after(1.0, log.handler, "at 3", 0, 2.0)
    timers.after(4.0, log.handler, "at 7", 0, 3.0)
    timers.expire(6.0)
    assert [owner for owner, _, _ in log.fired] == ["at 1", "at 2.5", "at 3", "at 4"]
    assert all(now == 6.0 for _, _, now in log.fired)
    assert timers.next_deadline() == 7.0


def test_earliest_is_exact_after_expire_and_falls_with_each_earlier_entry() -> None:
    timers, log = Timers(), Log()
    assert timers.earliest == float("inf")
    assert timers.next_deadline() is None
    timers.after(32.0, log.handler, "b", 0, 0.0)
    assert timers.earliest == 32.0
    timers.after(0.5, log.handler, "a", 0, 0.0)
    assert timers.earliest == 0.5
    timers.after(32.0, log.handler, "c", 0, 1.0)
    assert timers.earliest == 0.5
    timers.expire(0.5)
    assert timers.earliest == timers.next_deadline() == 32.0
    timers.expire(40.0)
    assert timers.earliest == float("inf")
    assert len(timers) == 0


def test_a_handler_may_add_entries_to_its_own_lane_and_to_others() -> None:
    timers = Timers()
    fired: list[tuple[int, float]] = []

    def again(owner: object, token: int, now: float) -> None:
        fired.append((token, now))
        if token < 3:
            timers.after(1.0, again, owner, token + 1, now)

    timers.after(1.0, again, None, 0, 0.0)
    for now in (1.0, 2.0, 3.0, 4.0, 5.0):
        timers.expire(now)
    assert fired == [(0, 1.0), (1, 2.0), (2, 3.0), (3, 4.0)]
    assert len(timers) == 0


def test_an_entry_added_in_the_past_by_a_handler_fires_in_the_same_expire() -> None:
    timers, log = Timers(), Log()

    def add(owner: object, token: int, now: float) -> None:
        timers.at(now - 5.0, log.handler, "past", 0)

    timers.after(1.0, add, None, 0, 0.0)
    timers.expire(9.0)
    assert [owner for owner, _, _ in log.fired] == ["past"]


def test_a_handler_that_raises_loses_only_its_own_entry() -> None:
    timers, log = Timers(), Log()

    def broken(owner: object, token: int, now: float) -> None:
        raise RuntimeError(owner)

    timers.after(1.0, broken, "first", 0, 0.0)
    timers.after(1.0, broken, "second", 0, 0.5)
    timers.after(2.0, log.handler, "third", 0, 0.0)
    for owner in ("first", "second"):
        with pytest.raises(RuntimeError, match=owner):
            timers.expire(3.0)
    timers.expire(3.0)
    assert [owner for owner, _, _ in log.fired] == ["third"]
    timers.after(1.0, log.handler, "fourth", 0, 4.0)
    timers.expire(5.0)
    assert [owner for owner, _, _ in log.fired] == ["third", "fourth"]


def test_a_cancelled_deadline_does_not_ring_and_lets_go_of_its_owner_at_once() -> None:
    timers, log = Timers(), Log()
    owner = Log()
    seen = weakref.ref(owner)
    handle = timers.at(5.0, log.handler, owner, 0)
    timers.at(5.0, log.handler, "other", 0)
    del owner
    assert seen() is not None
    timers.cancel(handle)
    assert seen() is None
    timers.cancel(handle)
    assert len(timers) == 1
    timers.expire(9.0)
    assert [owner for owner, _, _ in log.fired] == ["other"]


def test_a_handle_whose_deadline_rang_keeps_nothing_and_may_be_cancelled() -> None:
    timers, log = Timers(), Log()
    owner = Log()
    seen = weakref.ref(owner)
    handle = timers.at(5.0, log.handler, owner, 0)
    del owner
    timers.expire(5.0)
    assert [token for _, token, _ in log.fired] == [0]
    log.fired.clear()
    assert seen() is None
    timers.cancel(handle)
    timers.expire(9.0)
    assert log.fired == []


def test_cancelled_deadlines_hours_away_do_not_pile_up() -> None:
    timers, log = Timers(), Log()
    timers.after(32.0, log.handler, "lane", 0, 0.0)
    for number in range(10_000):
        timers.cancel(timers.at(7200.0 + number, log.handler, number, 0))
    assert len(timers._heap) <= 2 * SWEEP_MIN
    assert len(timers) == 1
    timers.expire(20_000.0)
    assert [owner for owner, _, _ in log.fired] == ["lane"]


def test_after_a_sweep_the_rest_still_rings_in_order() -> None:
    timers, log = Timers(), Log()
    deadlines = [float(number * 7919 % 1000) for number in range(1000)]
    handles = [timers.at(deadline, log.handler, deadline, 0) for deadline in deadlines]
    for number, handle in enumerate(handles):
        if number % 3:
            timers.cancel(handle)
    assert len(timers._heap) < 600, "swept"
    timers.expire(1000.0)
    assert [owner for owner, _, _ in log.fired] == sorted(deadlines[::3])
    for handle in handles:
        timers.cancel(handle)
    assert timers._dead == 0, "what rang or was swept is not waited for"


@pytest.mark.parametrize("through_lane", [False, True])
def test_a_handler_may_cancel_so_many_that_the_heap_is_swept_under_it(through_lane: bool) -> None:
    timers, log = Timers(), Log()
    doomed = [timers.at(2.0, log.handler, number, 0) for number in range(3 * SWEEP_MIN)]

    def cancel_all(owner: object, token: int, now: float) -> None:
        for handle in doomed:
            timers.cancel(handle)

    if through_lane:
        timers.after(1.0, cancel_all, None, 0, 0.0)
    else:
        timers.at(1.0, cancel_all, None, 0)
    timers.after(3.0, log.handler, "lane", 0, 0.0)
    timers.at(3.0, log.handler, "odd", 0)
    timers.expire(4.0)
    assert sorted(str(owner) for owner, _, _ in log.fired) == ["lane", "odd"]
    assert timers.next_deadline() is None


def test_delays_beyond_the_bound_on_lanes_still_fire() -> None:
    timers, log = Timers(), Log()
    count = LANES_MAX * 3
    for index in range(count):
        timers.after(1.0 + index / 1000, log.handler, index, 0, 0.0)
    assert len(timers._lanes) == LANES_MAX
    timers.expire(10.0)
    assert [owner for owner, _, _ in log.fired] == list(range(count))


_DELAYS = st.sampled_from([0.5, 1.0, 4.0, 5.0, 32.0])
_STEP = st.one_of(
    st.tuples(st.just("after"), _DELAYS),
    st.tuples(st.just("at"), st.floats(0, 50)),
    st.tuples(st.just("jump"), st.floats(0, 20)),
    st.tuples(st.just("cancel"), st.floats(0, 1)),
)


@given(st.lists(_STEP, max_size=60), st.sampled_from([0, 1, 100]))
def test_any_history_fires_every_entry_once_and_in_order(
    steps: list[tuple[str, float]], sweep_min: int
) -> None:
    with mock.patch("proxy.sip.timers.SWEEP_MIN", sweep_min):
        play(steps)


def play(steps: list[tuple[str, float]]) -> None:
    timers = Timers()
    handles: dict[int, TimerHandle] = {}
    now = 100.0
    deadlines: dict[int, float] = {}
    fired: list[int] = []

    def handler(owner: object, token: int, at: float) -> None:
        assert deadlines[token] <= at
        fired.append(token)

    def expire() -> None:
        due = {token for token, deadline in deadlines.items() if deadline <= now} - set(fired)
        before = len(fired)
        timers.expire(now)
        batch = fired[before:]
        assert set(batch) == due
        assert len(batch) == len(due)
        assert [deadlines[token] for token in batch] == sorted(deadlines[token] for token in batch)
        waiting = [deadline for token, deadline in deadlines.items() if token not in fired]
        next_deadline = timers.next_deadline()
        if waiting:
            assert next_deadline is not None
            assert now < next_deadline <= min(waiting)
        assert len(timers) == len(waiting)

    for token, (kind, value) in enumerate(steps):
        if kind == "after":
            deadlines[token] = now + value
            timers.after(value, handler, None, token, now)
        elif kind == "at":
            deadlines[token] = 100.0 + value
            handles[token] = timers.at(100.0 + value, handler, None, token)
        elif kind == "cancel":
            if handles:
                chosen = [*handles][int(value * (len(handles) - 1))]
                timers.cancel(handles.pop(chosen))
                if chosen not in fired:
                    del deadlines[chosen]
        else:
            now += value
            expire()
        assert timers.earliest <= min(
            (deadline for token, deadline in deadlines.items() if token not in fired), default=float("inf")
        )
    now += 1000.0
    expire()
    assert len(timers) == 0
