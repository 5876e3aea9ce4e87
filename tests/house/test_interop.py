"""tests/interop/README.md: every cell names tests that exist, or claims nothing."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "tests/interop/README.md").read_text(encoding="utf-8")
TESTS = dict(re.findall(r"^(\d+)\. `(tests/[^`]+)`$", TEXT, re.MULTILINE))
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if line.startswith("| ") and not line.startswith("| ---")
]
CLIENTS = 6


def test_every_cell_names_its_tests() -> None:
    head, *rows = ROWS
    assert len(rows) == CLIENTS
    cited = set()
    for row in rows:
        assert len(row) == len(head)
        for cell in row[1:]:
            if cell != "–":
                cited |= set(cell.split(", "))
    assert cited == set(TESTS)


@pytest.mark.parametrize("name", TESTS.values())
def test_the_test_exists(name: str) -> None:
    path, _, function = name.partition("::")
    body = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
    assert function in {one.name for one in body if isinstance(one, ast.FunctionDef)}
