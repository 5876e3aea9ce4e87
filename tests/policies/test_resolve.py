"""Resolution of several active plans: the rows of resolution.yaml, through the loader, the catalog and `resolve`."""

from __future__ import annotations

import re
from math import inf
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.load import load
from config.units import instant_of
from policies.account import Limit, Limits, NoPlan
from policies.catalog import Catalog, build
from policies.options import MODE_OPTIONS, value_text
from policies.resolve import Explanation, explain, group_size, resolve

TABLE: dict[str, Any] = yaml.load((Path(__file__).parent / "resolution.yaml").read_text(), yaml.BaseLoader)
ROWS: list[dict[str, Any]] = TABLE["rows"]
NOON = "2026-06-01T12:00:00Z"


def catalog_of(row: dict[str, Any], folder: Path) -> Catalog:
    """The row's world, written as the three files and loaded like them."""
    plans = {name: plan for name, plan in TABLE["plans"].items() if row.get("free") != "no" or name != "free"}
    group = {"members": ["bob"], "counters": row.get("counters", "shared")}
    alice = {"activations": row.get("bought", []), "group": group}
    (folder / "callgate.yaml").write_text("domains: [example.com]\nlisten: [udp://127.0.0.1:0]\n")
    (folder / "plans.yaml").write_text(yaml.safe_dump({"plans": plans}))
    (folder / "subscribers.yaml").write_text(yaml.safe_dump({"subscribers": {"alice": alice, "bob": {}}}))
    return build(load(folder / "callgate.yaml"))


def described(explanation: Explanation) -> dict[str, str]:
    """What came out, in the words of the table, with everything that could be said."""
    limits = explanation.limits
    assert isinstance(limits, Limits)
    said = {"all_workers": "yes"} if limits.all_workers else {}
    for option in MODE_OPTIONS:
        limit: Limit | None = getattr(limits, option.name)
        choice = explanation.choices[option.name]
        if limit is not None:
            said[option.name] = f"{value_text(option.name, limit.value, limit.period_ms)} from {limit.plan}"
            said[f"{option.name} counter"] = limit.counter
            said[f"{option.name} counts"] = limit.counts
        elif choice.candidates:
            said[option.name] = f"{choice.candidates[0].value} from {choice.candidates[0].activation.plan}"
    return said


@pytest.mark.parametrize("row", ROWS, ids=lambda row: re.sub(r"\W+", "-", row["name"]))
def test_row(row: dict[str, Any], tmp_path: Path) -> None:
    catalog = catalog_of(row, tmp_path)
    at = instant_of(row.get("at", NOON))
    mode = row.get("mode", "softphone")
    explanation = explain(catalog, "alice", mode, at, row.get("member", ""))
    limits = explanation.limits
    assert resolve(catalog, "alice", mode, at, row.get("member", "")) == limits
    assert (limits.payer, limits.mode) == (row.get("payer", "alice"), mode)
    assert limits.valid_until == (instant_of(row["until"]) if "until" in row else inf)
    if row["expect"] == "no plan":
        assert isinstance(limits, NoPlan)
        return
    said = described(explanation)
    # A row need not tell counters and counts, but everything else.
    assert {key: text for key, text in said.items() if " " not in key or key in row["expect"]} == row[
        "expect"
    ]


def test_the_table_is_long_enough_and_no_row_stands_twice() -> None:
    names = [row["name"] for row in ROWS]
    assert len(names) >= 60
    assert len(set(names)) == len(names)
    known = {"name", "free", "bought", "mode", "at", "expect", "until", "member", "counters", "payer"}
    assert [row["name"] for row in ROWS if set(row) - known] == []


def test_until_is_exactly_when_the_answer_changes(tmp_path: Path) -> None:
    """What was resolved holds up to `valid_until` and not a moment longer."""
    bought = [
        {"plan": "small", "since": "2026-01-01", "until": "2026-03-01"},
        {"plan": "large", "since": "2026-02-01"},
    ]
    catalog = catalog_of({"free": "no", "bought": bought}, tmp_path)
    seen = []
    now = float(instant_of("2025-12-01"))
    while now != inf:
        limits = resolve(catalog, "alice", "softphone", now)
        just_before = min(limits.valid_until - 0.001, 4e9)
        assert resolve(catalog, "alice", "softphone", just_before) == limits
        seen.append(
            limits.success_calls.plan if isinstance(limits, Limits) and limits.success_calls else None
        )
        now = limits.valid_until
    assert seen == [None, "small", "large", "large"]


def test_an_unknown_subscriber_has_no_plan(tmp_path: Path) -> None:
    assert resolve(catalog_of({}, tmp_path), "zoe", "softphone", 0.0) == NoPlan("zoe", "softphone", inf)


WHY = {
    "the only active plan that names it": [{"plan": "small", "since": "2026-01-01"}],
    "the highest value": [{"plan": "small", "since": "2026-01-01"}, {"plan": "large", "since": "2026-01-01"}],
    "the same value, and this plan expires earlier": [
        {"plan": "small", "since": "2026-01-01"},
        {"plan": "twin", "since": "2026-01-01", "until": "2027-01-01"},
    ],
    "the same value and end, and activated earlier": [
        {"plan": "small", "since": "2026-01-01"},
        {"plan": "twin", "since": "2026-02-01"},
    ],
    "the same value, end and start, and first by name": [
        {"plan": "small", "since": "2026-01-01"},
        {"plan": "twin", "since": "2026-01-01"},
    ],
    "no active plan names it": [{"plan": "silent", "since": "2026-01-01"}],
}


@pytest.mark.parametrize("why", WHY)
def test_every_choice_says_why(why: str, tmp_path: Path) -> None:
    catalog = catalog_of({"free": "no", "bought": WHY[why]}, tmp_path)
    explanation = explain(catalog, "alice", "softphone", instant_of(NOON))
    assert explanation.choices["success_calls"].why == why


def test_the_losers_are_told_too(tmp_path: Path) -> None:
    bought = [{"plan": name, "since": "2026-01-01"} for name in ("small", "endless", "large")]
    explanation = explain(catalog_of({"bought": bought}, tmp_path), "alice", "softphone", instant_of(NOON))
    candidates = explanation.choices["success_calls"].candidates
    assert [f"{one.value} from {one.activation.plan}" for one in candidates] == [
        "unlimited from endless",
        "50 per 1d from large",
        "10 per 1d from small",
    ]
    assert {one.plan for one in explanation.active} == {"small", "endless", "large", "free"}


def test_group_size_is_none_where_no_plan_names_it(tmp_path: Path) -> None:
    catalog = catalog_of(
        {"bought": [{"plan": "circle", "since": "2026-01-01", "until": "2026-07-01"}]}, tmp_path
    )
    assert group_size(catalog, "alice", instant_of(NOON))[0] == 5
    assert group_size(catalog, "alice", instant_of("2026-07-01"))[0] == 0
    assert group_size(catalog, "bob", instant_of(NOON))[0] == 0
