"""The mutation fuzzer (tests/fuzz/mutants.py says what it holds) for FUZZ_SECONDS, 60 unless set, of both targets
together and side by side: a third for the parser, the rest for the engine. And its seeds, each as it stands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fuzz import mutants, mutate
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


def test_what_breaks_is_found_and_kept_also_without_atheris(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A parser that trips over a number no seed has."""

    def tripping(data: bytes) -> set[object]:
        assert b"4294967296" not in data
        return mutants.parser(data)

    monkeypatch.setattr(mutate, "OUT", tmp_path)
    monkeypatch.setitem(mutants.TARGETS, "parser", tripping)
    first = [data for data in mutants.seeds("parser") if b"4294967296" not in data]
    assert mutate.unguided(mutants, "parser", 30.0, SEED, first) == mutate.BROKEN
    figures = mutate.figures_of("parser", mutate.BROKEN, capsys.readouterr().out)
    assert figures.executions > 0
    assert figures.corpus >= len(first)
    assert figures.broken is not None
    assert b"4294967296" in figures.broken.read_bytes()
    with pytest.raises(AssertionError):
        mutate.replay("parser", figures.broken)


@pytest.mark.timeout(SECONDS * 2 + 120)
def test_mutants() -> None:
    found = run({target: SECONDS * share for target, share in SHARES.items()}, SEED)
    for figures in found:
        print(figures)
    for figures in found:
        assert figures.broken is None, f"{figures}\n{figures.output[-4000:]}"
        assert figures.executions > LEAST[figures.target] * SECONDS * SHARES[figures.target]
