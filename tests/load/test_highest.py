"""The search for the highest good rate: within its precision from wherever it starts, and no try wasted below."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from load.highest import GROWTH, PRECISION, RATE_MAX, RATE_MIN, search


@given(limit=st.floats(2, 10_000), start=st.floats(2, 10_000))
def test_the_answer_is_good_and_within_the_precision(limit: float, start: float) -> None:
    found = search(lambda rate: rate <= limit, start)
    assert found <= limit < found * PRECISION


def test_nothing_good_is_zero() -> None:
    tried: list[float] = []

    def never(rate: float) -> bool:
        tried.append(rate)
        return False

    assert search(never, 100) == 0
    assert min(tried) <= RATE_MIN
    assert tried == sorted(tried, reverse=True)


def test_no_rate_is_tried_twice() -> None:
    tried: list[float] = []

    def good(rate: float) -> bool:
        tried.append(rate)
        return rate <= 777

    search(good, 500)
    assert len(set(tried)) == len(tried)


@pytest.mark.parametrize("start", [1000.0, RATE_MAX])
def test_a_peer_that_takes_everything_ends_the_search_too(start: float) -> None:
    assert search(lambda rate: True, start) >= RATE_MAX / GROWTH
