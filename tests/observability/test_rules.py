"""The alert rules load, and each is shown to fire in time and only then (config/prometheus/rules.test.yml)."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.observability.queries import PROMETHEUS, rules
from tests.tools import require

STORIES = (PROMETHEUS / "rules.test.yml").read_text()


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([require("promtool"), *arguments], capture_output=True, text=True, cwd=PROMETHEUS)


def test_prometheus_accepts_the_configuration_and_the_rules_it_names() -> None:
    done = promtool("check", "config", "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules())} rules found" in done.stdout


def test_every_story_of_the_rules_comes_true() -> None:
    done = promtool("test", "rules", "rules.test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", [rule["alert"] for rule in rules()])
def test_every_alert_has_a_story_in_which_it_fires(alert: str) -> None:
    assert re.search(rf'alertname="{alert}", alertstate="firing"', STORIES)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_every_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, dict[str, str]]) -> None:
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}
    assert set(rule["annotations"]) == {"summary", "description"}
