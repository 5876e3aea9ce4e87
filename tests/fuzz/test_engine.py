"""Invariants of the engine, whatever callers, callees, limiter, store and network do, in whatever order:

1. `handle` returns; it never raises. Whatever it sends is a well-formed message.
2. A lease is asked for once, answered at most once while it is held, given back at most once, and never unless it was
   admitted; when all is over, every lease that was admitted has been given back.
3. No INVITE leaves that makes a call of which a leg is not admitted; none leaves within a dialog that is of no call.
4. Each call leaves one record, and only one; a caller who was challenged again leaves none.
5. No call is answered after its call_duration or runs longer, whatever passes within it and however late the loop is.
6. The tables agree with each other between any two events; when everybody has answered, every call is hung up, and
   64*T1 and more have gone by, no call, budget, transaction, timer or name that is waited for is left.

A history is a tape of octets, four a move (tests/fuzz/parties.py), that Hypothesis writes and, when one breaks an
invariant, shortens. `make test` plays some 1,200 of them, the same each time; CALLGATE_FUZZ_EXAMPLES=100000 plays as
many new ones of each kind.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.parties import Parties
from tests.fuzz.soup import Soup

EXAMPLES = int(os.environ.get("CALLGATE_FUZZ_EXAMPLES", "0"))
MOVES_MAX = 60

tapes = st.binary(min_size=4 * MOVES_MAX, max_size=4 * MOVES_MAX)


def play(tape: bytes, on_store_failure: str) -> Soup:
    soup = Soup(on_store_failure)
    parties = Parties(soup)
    for at in range(0, len(tape) - 3, 4):
        parties.move(*tape[at : at + 4])
    return soup


@pytest.mark.timeout(0 if EXAMPLES else 60)
@pytest.mark.parametrize("on_store_failure", ["refuse", "admit"])
@settings(
    max_examples=EXAMPLES or 600,
    derandomize=not EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(tape=tapes)
def test_whatever_happens(on_store_failure: str, tape: bytes) -> None:
    play(tape, on_store_failure).settle()
