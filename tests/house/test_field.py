"""docs/field.md: every complaint has its test or its reason, and both exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    line.strip("|").split("|")
    for line in (ROOT / "docs/field.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith(("| complaint", "| ---"))
]
NAMED = sorted({test for _, by in ROWS for test in re.findall(r"`(tests/[^`]+)`", by)})
REASONS = sorted({reason for _, by in ROWS for reason in re.findall(r"\*\*(.+?)\*\*", by)})
AT_LEAST = 40
"""Rows: the table does not shrink unseen."""


def test_every_complaint_has_its_answer() -> None:
    assert len(ROWS) >= AT_LEAST
    assert [complaint for complaint, by in ROWS if "`tests/" not in by and "**" not in by] == []


@pytest.mark.parametrize("name", NAMED)
def test_the_test_exists(name: str) -> None:
    name, _, case = name.rstrip("]").partition("[")
    path, *scopes = name.split("::")
    body: list[ast.stmt] = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
    for scope in scopes:
        found = [
            one
            for one in body
            if isinstance(one, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and one.name == scope
        ]
        assert found, f"{path} has no {scope}"
        body = found[0].body
    if case:
        # Cases are named after the function that plays them, somewhere in the same folder.
        folder = (ROOT / path).parent
        played = case.replace(" ", "_")
        assert any(f"def {played}(" in one.read_text(encoding="utf-8") for one in folder.glob("*.py")), case


@pytest.mark.parametrize("reason", REASONS)
def test_the_reason_stands_in_the_architecture(reason: str) -> None:
    assert f"**{reason}.**" in (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
