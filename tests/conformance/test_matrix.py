"""The matrix cannot claim what no test shows, and no statement of ours is left without a word."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance import matrix
from tests.conformance.matrix import Mistake, Row


def given(monkeypatch: pytest.MonkeyPatch, row: Row, *marks: tuple[str, str]) -> None:
    def markers() -> Iterator[tuple[str, str]]:
        yield from marks

    monkeypatch.setattr(matrix, "rows", lambda: {row.id: row})
    monkeypatch.setattr(matrix, "markers", markers)


@pytest.mark.parametrize(
    ("row", "marks", "told"),
    [
        (Row("16.3-1", "MUST", "proxy"), [], "concerns us"),
        (Row("16.3-1", "MUST", "proxy", unmet="hard"), [("16.3-1", "t.py::t")], "shows that it is"),
        (Row("16.3-1", "MUST", "none", why="UAC"), [("16.3-2", "t.py::t")], "no such statement"),
    ],
)
def test_a_matrix_that_contradicts_itself_is_refused(
    monkeypatch: pytest.MonkeyPatch, row: Row, marks: list[tuple[str, str]], told: str
) -> None:
    given(monkeypatch, row, *marks)
    with pytest.raises(Mistake, match=told):
        matrix.matrix()


def test_what_is_met_names_its_tests_and_what_is_not_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, Row("16.3-1", "MUST | check", "proxy"), ("16.3-1", "tests/a.py::test_it"))
    assert "| 16.3-1 | MUST \\| check | proxy | `a.py::test_it` |" in matrix.page()
    given(monkeypatch, Row("16.3-1", "MUST", "proxy", unmet="too dear"))
    assert "**not:** too dear" in matrix.page()


def test_markers_are_found_in_functions_and_in_classes() -> None:
    """This very file has some, in words only; none of them counts."""
    assert all(statement != "0-0" for statement, _ in matrix.markers())
