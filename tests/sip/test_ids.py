"""Identifiers: their form, their reproducibility, and the loop hash that comes back."""

from __future__ import annotations

import random

import pytest

from proxy.sip.grammar import TOKEN
from proxy.sip.ids import MAGIC, Ids, loop_hash_of


@pytest.mark.rfc3261("16.6-38", "16.6-39")
def test_a_branch_carries_its_loop_hash() -> None:
    ids = Ids(random.Random(1))
    branch = ids.branch(0x1234ABCD)
    assert branch.startswith(MAGIC)
    assert TOKEN.fullmatch(branch)
    assert loop_hash_of(branch) == 0x1234ABCD
    # A hash is cut to 32 bits, a negative one too (hash() gives those).
    assert loop_hash_of(ids.branch(-1)) == 0xFFFFFFFF
    assert loop_hash_of(ids.branch(1 << 40)) == 0


@pytest.mark.parametrize(
    "branch", ["", "z9hG4bK", "z9hG4bK-524287-1---abc", "z9hG4bKcg0000", "z9hG4bKcg" + "x" * 24]
)
def test_a_strange_branch_has_no_loop_hash(branch: str) -> None:
    assert loop_hash_of(branch) is None


def test_identifiers_differ_and_the_seed_decides_them() -> None:
    ids, again = Ids(random.Random(7)), Ids(random.Random(7))
    made = [ids.branch(5) for _ in range(500)] + [ids.tag() for _ in range(500)]
    assert len(set(made)) == 1000
    assert made == [again.branch(5) for _ in range(500)] + [again.tag() for _ in range(500)]


def test_tags_and_call_ids_are_tokens() -> None:
    ids = Ids(random.Random(2))
    assert TOKEN.fullmatch(ids.tag())
    assert TOKEN.fullmatch(ids.call_id())
    assert len({ids.call_id() for _ in range(100)}) == 100
