"""What the dashboard and the rules ask Prometheus, read from the files an operator uses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

CONFIG = Path(__file__).resolve().parents[2] / "config"
PROMETHEUS = CONFIG / "prometheus"
GRAFANA = CONFIG / "grafana"
DASHBOARD = GRAFANA / "dashboards" / "callgate-overview.json"

_METRIC = re.compile(r"\b(callgate_\w+)\b")


class Query(NamedTuple):
    """One PromQL expression and where it stands."""

    title: str
    expr: str

    def metrics(self) -> set[str]:
        """The names of our series in it."""
        return set(_METRIC.findall(self.expr))

    def plain(self, rate_interval: str) -> str:
        """The expression as Grafana sends it, with all instances chosen."""
        return self.expr.replace("$__rate_interval", rate_interval).replace("$instance", ".*")


def panels() -> list[dict[str, Any]]:
    """The dashboard's panels, its row titles left out."""
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def panel_queries() -> list[Query]:
    return [Query(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]


def rules() -> list[dict[str, Any]]:
    """Every rule of config/prometheus/rules.yml."""
    groups = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def rule_queries() -> list[Query]:
    return [Query(rule["alert"], rule["expr"]) for rule in rules()]
