"""What the suite ends with: case, what it should be, what was seen."""

from __future__ import annotations

from collections.abc import Iterator


class Table:
    """Filled by the cases, printed at the end of the run."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str]] = []

    def holds(self, case: str, expected: str, seen: str, true: bool) -> None:
        """One line of the table; it fails the case that is not as expected."""
        self.rows.append((case, expected, seen if true else f"{seen}   <-- not so"))
        assert true, f"{case}: expected {expected}; seen {seen}"

    def lines(self) -> Iterator[str]:
        head = ("case", "expected", "seen")
        widths = [max(len(row[n]) for row in (head, *self.rows)) for n in range(2)]
        for row in (head, ("-" * widths[0], "-" * widths[1], "-" * 4), *self.rows):
            yield f"{row[0]:{widths[0]}}  {row[1]:{widths[1]}}  {row[2]}".rstrip()
