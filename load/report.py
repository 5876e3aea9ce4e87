"""`python -m load.report [FILE]`: the table of SPEC §7 from a run's JSON (the newest, when none is named).

Writes load/results/latest.md, and the part of README.md between the two markers. What is claimed is ratios and whether
a budget holds; the figures beside them belong to the machine they were taken on.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from load.figures import FIGURES, RESULTS, Figure, Run, load

ROOT = Path(__file__).resolve().parents[1]
BEGIN = "<!-- load:begin -->"
END = "<!-- load:end -->"
OURS, THEIRS = "callgate", "kamailio"


@dataclass(frozen=True, slots=True)
class Budget:
    """One row of SPEC §7: what must hold first and then, of the median."""

    figure: str
    of: str
    """What the bounds apply to: "ratio" (callgate ÷ Kamailio) or "value" (callgate's own)."""
    first: float | None
    then: float
    at_most: bool = True

    def verdict(self, run: Run, bound: float | None) -> str:
        """Yes, no, or "–" when not asked for or not measured."""
        value = self.value(run)
        if bound is None or value is None:
            return "–"
        return "yes" if (value <= bound if self.at_most else value >= bound) else "**no**"

    def value(self, run: Run) -> float | None:
        """The median that is held against the bounds."""
        if self.of == "value":
            return run.median(self.figure, OURS)
        ratios = run.ratios(self.figure, OURS, THEIRS)
        return statistics.median(ratios) if ratios else None

    def words(self, bound: float | None, unit: str) -> str:
        """The bound as the table shows it."""
        if bound is None:
            return "–"
        sign = "≤" if self.at_most else "≥"
        of = "× Kamailio" if self.of == "ratio" else unit
        return f"{sign} {bound:g} {of}".rstrip("× ")


BUDGETS = {
    budget.figure: budget
    for budget in (
        Budget("cpu", "ratio", 1.0, 0.5),
        Budget("highest", "ratio", 1.0, 1.5, at_most=False),
        Budget("delay_p99", "value", 5.0, 2.0),
        Budget("memory", "value", 12.0, 6.0),
        Budget("growth", "value", 1.15, 1.05),
        Budget("scaling", "value", None, 1.8, at_most=False),
    )
}


def text(run: Run) -> str:
    """The whole report as Markdown."""
    lines = [
        "| figure | callgate | Kamailio 5.6 | callgate ÷ Kamailio | budget, first | holds | then | holds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [_row(run, figure) for figure in FIGURES if figure.key in run.values]
    return "\n".join([*lines, "", *_notes(run)])


def _row(run: Run, figure: Figure) -> str:
    ratios = run.ratios(figure.key, OURS, THEIRS)
    cells = [
        figure.title,
        _spread(run.values[figure.key].get(OURS, []), figure),
        _spread(run.values[figure.key].get(THEIRS, []), figure),
        _ratio(ratios),
    ]
    budget = BUDGETS.get(figure.key)
    for bound in (budget.first, budget.then) if budget else ():
        assert budget
        cells += [budget.words(bound, figure.unit), budget.verdict(run, bound)]
    cells += [""] * (8 - len(cells))
    return "| " + " | ".join(cells) + " |"


def _spread(values: Sequence[float], figure: Figure) -> str:
    if not values:
        return "–"
    shown: Callable[[float], str] = lambda value: f"{value:,.{figure.digits}f}"  # noqa: E731
    unit = "" if figure.unit in ("", "×") else f" {figure.unit}"
    if len(values) == 1:
        return f"{shown(values[0])}{unit}"
    return f"{shown(statistics.median(values))}{unit} ({shown(min(values))}–{shown(max(values))})"


def _ratio(ratios: Sequence[float]) -> str:
    if not ratios:
        return "–"
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


def _notes(run: Run) -> list[str]:
    shown = ", ".join(f"{key} {value}" for key, value in run.settings.items())
    return [
        f"Medians over the repeats, minimum–maximum in brackets; ratios pair by pair. {run.machine.cores} cores "
        f"({run.machine.cpu}), shared by the proxy, Redis, and SIPp as caller and callee. "
        f"Commit {run.commit or 'unknown'}, {run.made}. Settings: {shown}.",
        *(f"Not at the first try: {failure}." for failure in run.failures),
        "",
        "The figures are this machine's; only ratios and budgets are claims. `make bench` makes the table anew.",
    ]


def write_all(run: Run, root: Path = ROOT, results: Path = RESULTS) -> None:
    """Write load/results/latest.md and the README's part."""
    table = text(run)
    page = f"# callgate and Kamailio under the same load\n\n{table}\n"
    results.mkdir(parents=True, exist_ok=True)
    (results / "latest.md").write_text(page, encoding="utf-8")
    readme = root / "README.md"
    before = readme.read_text(encoding="utf-8")
    after = replaced(before, table)
    if after != before:
        readme.write_text(after, encoding="utf-8")


def replaced(page: str, table: str) -> str:
    """`page` with what stands between the markers replaced; unchanged where it has no markers."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        return page
    return f"{head}{BEGIN}\n{table}\n{END}{tail}"


def main(argv: Sequence[str]) -> int:
    """Make the report of a run anew."""
    found = [Path(argv[0])] if argv else sorted(RESULTS.glob("*.json"))[-1:]
    if not found:
        print("no results yet: python -m load.run", file=sys.stderr)
        return 1
    write_all(load(found[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
