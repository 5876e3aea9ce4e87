"""The table: ratios by pair, budgets of SPEC §7 held or not, generated into the README between its markers."""

from __future__ import annotations

from pathlib import Path

import pytest

from load.figures import FIGURES, Run, load
from load.procfs import Machine
from load.report import BEGIN, BUDGETS, END, replaced, text, write_all


def run() -> Run:
    return Run(
        made="2026-01-02T03:04Z", commit="abc", machine=Machine(cpu="a cpu", cores=2), settings={"rate": 500}
    )


def row(run_: Run, title: str) -> list[str]:
    (line,) = (line for line in text(run_).splitlines() if line.startswith(f"| {title} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_ratios_are_taken_pair_by_pair_and_not_of_medians() -> None:
    it = run()
    # A machine that slows down to a third in the middle of the run: the ratio of every pair stays one half.
    for ours, theirs in ((50, 100), (150, 300), (160, 320)):
        it.add("cpu", "callgate", ours)
        it.add("cpu", "kamailio", theirs)
    cells = row(it, "CPU of proxy + Redis per admitted call")
    assert cells[1:4] == ["150 µs (50–160)", "300 µs (100–320)", "0.50 (0.50–0.50)"]
    assert cells[4:] == ["≤ 1 × Kamailio", "yes", "≤ 0.5 × Kamailio", "yes"]


@pytest.mark.parametrize(
    ("figure", "ours", "theirs", "first", "then"),
    [
        ("cpu", 101, 100, "**no**", "**no**"),
        ("cpu", 80, 100, "yes", "**no**"),
        ("highest", 99, 100, "**no**", "**no**"),
        ("highest", 120, 100, "yes", "**no**"),
        ("highest", 150, 100, "yes", "yes"),
        ("delay_p99", 5.01, 1, "**no**", "**no**"),
        ("delay_p99", 2, 1, "yes", "yes"),
        ("memory", 12, 1, "yes", "**no**"),
        ("growth", 1.16, 1, "**no**", "**no**"),
        ("scaling", 1.7, 1, "–", "**no**"),
    ],
)
def test_a_budget_holds_or_not(figure: str, ours: float, theirs: float, first: str, then: str) -> None:
    it = run()
    it.add(figure, "callgate", ours)
    it.add(figure, "kamailio", theirs)
    title = next(one.title for one in FIGURES if one.key == figure)
    cells = row(it, title)
    assert (cells[5], cells[7]) == (first, then)


def test_what_was_not_measured_is_no_row_and_no_verdict() -> None:
    it = run()
    it.add("cpu", "callgate", 100)
    assert row(it, "CPU of proxy + Redis per admitted call")[2:6] == ["–", "–", "≤ 1 × Kamailio", "–"]
    assert "memory" not in text(it)


def test_every_budget_is_of_a_figure_and_unknown_figures_are_refused() -> None:
    assert set(BUDGETS) <= {figure.key for figure in FIGURES}
    with pytest.raises(KeyError):
        run().add("speed", "callgate", 1)


def test_a_run_survives_its_file(tmp_path: Path) -> None:
    it = run()
    it.add("trips", "callgate", 3.0)
    assert load(it.save(tmp_path)) == it


def test_the_readme_changes_between_its_markers_only(tmp_path: Path) -> None:
    it = run()
    it.add("cpu", "callgate", 100)
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    write_all(it, root=tmp_path, results=tmp_path)
    assert readme.read_text(encoding="utf-8") == f"before\n{BEGIN}\n{text(it)}\n{END}\nafter\n"
    assert text(it) in (tmp_path / "latest.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["no markers", f"{BEGIN} no end", f"{END} the wrong way round {BEGIN}"])
def test_a_page_without_both_markers_is_left_alone(page: str) -> None:
    assert replaced(page, "table") == page
