"""Which legs a limit applies to."""

from __future__ import annotations

import pytest

from policies.account import Counts, Limit


@pytest.mark.parametrize(
    ("counts", "out", "incoming"),
    [("both", True, True), ("outgoing", True, False), ("incoming", False, True)],
)
def test_a_limit_applies_to_the_legs_it_counts(counts: Counts, out: bool, incoming: bool) -> None:
    limit = Limit(value=5, counter="", period_ms=0, plan="free", counts=counts)
    assert (limit.applies("out"), limit.applies("in")) == (out, incoming)
