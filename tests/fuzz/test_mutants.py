"""The mutation fuzzer (tests/fuzz/mutants.py says what it holds) for FUZZ_SECONDS, 60 unless set, of both targets
together and side by side: a third for the parser, the rest for the engine. And its seeds, each as it stands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fuzz import mutants
from tests.fuzz.mutate import SHARES, run

SECONDS = float(os.environ.get("FUZZ_SECONDS", "60"))
SEED = 3261
LEAST = {"parser": 50, "engine": 5}
"""Executions a second that even a machine under load gets done; fewer, and nothing is being fuzzed."""


@pytest.mark.parametrize("path", sorted((mutants.SEEDS / "engine").iterdir()), ids=lambda path: path.name)
def test_seeds_of_the_engine(path: Path) -> None:
    tape = mutants.read_tape(path.read_text())
    assert mutants.read_tape(mutants.write_tape(tape)) == tape
    assert mutants.engine(tape)


def test_seeds_of_the_parser() -> None:
    for data in mutants.seeds("parser"):
        mutants.parser(data)


@pytest.mark.timeout(SECONDS * 2 + 120)
def test_mutants() -> None:
    found = run({target: SECONDS * share for target, share in SHARES.items()}, SEED)
    for figures in found:
        print(figures)
    for figures in found:
        assert figures.broken is None, f"{figures}\n{figures.output[-4000:]}"
        assert figures.executions > LEAST[figures.target] * SECONDS * SHARES[figures.target]
