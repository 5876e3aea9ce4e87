"""A real Prometheus on loopback that scrapes one target, for as long as a test asks it things."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from load.processes import Processes, wait_until
from tests.e2e.net import POLL_S, free_port
from tests.observability.queries import PROMETHEUS
from tests.tools import require

SCRAPE_INTERVAL = "250ms"
RATE_INTERVAL = "5s"
START_TIMEOUT = 30.0
"""Seconds; on a busy machine with two cores it is up in three."""


class Prometheus:
    """Asks a running server."""

    def __init__(self, port: int) -> None:
        self._api = f"http://127.0.0.1:{port}/api/v1/"

    def _get(self, path: str, **parameters: str) -> Any:
        url = self._api + path + "?" + urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def query(self, expr: str) -> list[float]:
        """The values of an instant query, one a series; NaN is left out, for a panel draws nothing of it."""
        values = [float(sample["value"][1]) for sample in self._get("query", query=expr)["result"]]
        return [value for value in values if value == value]

    def answers(self) -> bool:
        try:
            self.names()
        except (OSError, AssertionError):
            return False
        return True

    def names(self) -> set[str]:
        """Every name it has series under."""
        return set(self._get("label/__name__/values"))

    def rules(self) -> list[dict[str, Any]]:
        """Every rule, with its health."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def until(self, expr: str, timeout: float) -> list[float]:
        """Ask until there is an answer; [] if there was none in `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            values = self.query(expr)
            if values or time.monotonic() > deadline:
                return values
            time.sleep(POLL_S)


def start(processes: Processes, folder: Path, target: str) -> Prometheus:
    """With the shipped scrape job and rules, only faster and of `target` (host:port). Ends with `processes`."""
    program = require("prometheus")
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    config["global"] = {
        "scrape_interval": SCRAPE_INTERVAL,
        "scrape_timeout": SCRAPE_INTERVAL,
        "evaluation_interval": "1s",
    }
    config["rule_files"] = [str(PROMETHEUS / name) for name in config["rule_files"]]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port("127.0.0.1")
    argv = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    child = processes.start("prometheus", argv, folder / "prometheus.log")
    server = Prometheus(port)
    wait_until("its API answers", server.answers, child, START_TIMEOUT)
    return server
