"""The dashboard is sound by itself: every panel asks for something, of the chosen source, in its own place."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from policies.counters import StoreCounters
from proxy.engine.counters import EngineCounters
from proxy.net.sink import NetCounters
from proxy.ops.metrics import Metrics
from proxy.sip.transaction import Counters as StackCounters
from tests.observability.queries import DASHBOARD, GRAFANA, Query, panel_queries, panels, rule_queries


def names() -> set[str]:
    """Every name a scrape has series under."""
    metrics = Metrics(
        EngineCounters(), StackCounters(), StoreCounters(), NetCounters(), dict, int, lambda: {("", ""): 0}
    )
    return {sample.name for family in metrics.registry.collect() for sample in family.samples}


@pytest.mark.parametrize("query", panel_queries() + rule_queries(), ids=lambda query: str(query.title))
def test_what_is_asked_for_is_served(query: Query) -> None:
    assert query.metrics() <= names()
    assert query.metrics() or query.expr.startswith("up")


def test_every_metric_of_ours_is_on_the_dashboard_or_in_a_rule() -> None:
    """What nobody looks at need not be counted."""
    asked = set().union(*(query.metrics() for query in panel_queries() + rule_queries()))
    parts = ("_bucket", "_count", "_sum")
    ours = {name for name in names() if name.startswith("callgate_") and not name.endswith(parts)}
    assert {name for name in ours - asked if not name.startswith("callgate_process_")} == set()


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: str(panel["title"]))
def test_every_panel_explains_itself_and_follows_the_choices(panel: dict[str, Any]) -> None:
    assert panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"]["uid"] == "${datasource}"
    for target in panel["targets"]:
        assert target["datasource"]["uid"] == "${datasource}"
        assert 'instance=~"$instance"' in target["expr"]


def test_no_two_panels_share_an_id_or_a_place() -> None:
    every = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    for one, other in combinations((panel["gridPos"] for panel in every), 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)
        assert one["x"] + one["w"] <= 24


@pytest.mark.parametrize(
    "path", sorted((GRAFANA / "provisioning").rglob("*.yaml")), ids=lambda path: str(path.name)
)
def test_provisioning_is_what_grafana_reads(path: Path) -> None:
    read = yaml.safe_load(path.read_text())
    assert read["apiVersion"] == 1
    (entry,) = read.get("datasources") or read["providers"]
    assert entry["type"] in {"prometheus", "file"}
