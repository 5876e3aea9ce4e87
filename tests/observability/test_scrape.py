"""A real Prometheus scrapes a busy callgate: every panel has something to draw, every rule something to watch."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.observability.prometheus import RATE_INTERVAL, Prometheus, free_port, watching
from tests.observability.queries import panel_queries, rule_queries
from tests.observability.traffic import CALLEE_HOST, CALLER_HOST, Address, Busy, Callee, Caller
from tests.redis import private_redis

PROXY_HOST = "127.0.0.2"
START_TIMEOUT = 20.0
ANSWER_TIMEOUT = 20.0

CONFIG = """\
domains: [example.com]
listen: ["udp://{proxy_host}:{port}"]
store: {{url: "{store}", spool: {{path: spool}}}}
metrics: {{listen: "127.0.0.1:{metrics_port}"}}
admin: {{socket: admin.sock}}
plans: plans.yaml
subscribers: subscribers.yaml
trunks:
  caller: {{from: ["{caller}/32"], identity: from}}
  callee: {{targets: ["sip:{callee}:{callee_port}"]}}
routes:
  - {{match: "^[0-9]+$", to: callee}}
cdr: {{}}
"""
PLANS = """\
plans:
  one_line:
    categories:
      gateway: {lines: 1, call_duration: 1s}
"""
SUBSCRIBERS = """\
subscribers:
  alice:
    accounts: [{user: alice, password: secret, mode: gateway}]
    activations: [{plan: one_line, since: 2026-01-01}]
"""


@contextmanager
def callgate(folder: Path, store: str, callee: Address) -> Iterator[tuple[Address, str]]:
    """`callgate serve` with one account on one line; its SIP address and its metrics target."""
    port, metrics_port = free_port(PROXY_HOST), free_port("127.0.0.1")
    values = {
        "proxy_host": PROXY_HOST,
        "port": port,
        "store": store,
        "metrics_port": metrics_port,
        "caller": CALLER_HOST,
        "callee": CALLEE_HOST,
        "callee_port": callee[1],
    }
    (folder / "callgate.yaml").write_text(CONFIG.format(**values))
    (folder / "plans.yaml").write_text(PLANS)
    (folder / "subscribers.yaml").write_text(SUBSCRIBERS)
    program = Path(sys.executable).with_name("callgate")
    with (folder / "callgate.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "serve", "-c", folder / "callgate.yaml"], cwd=folder, stdout=log, stderr=log
        )
    target = f"127.0.0.1:{metrics_port}"
    try:
        _await_ready(target, process, folder / "callgate.log")
        yield (PROXY_HOST, port), target
    finally:
        process.kill()
        process.wait()


def _await_ready(target: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            urllib.request.urlopen(f"http://{target}/readyz", timeout=1).close()
        except (OSError, urllib.error.URLError):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        else:
            return


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It has seen some rounds of calls, and calls go on while it is asked."""
    folder = tmp_path_factory.mktemp("observability")
    with (
        private_redis() as redis,
        Callee() as callee,
        callgate(folder, redis.url, callee.address) as (proxy, target),
        watching(target, folder) as server,
        Busy(Caller(proxy, "alice", "4930123", "example.com")),
    ):
        cut = f'increase(callgate_cuts_total{{reason="call_duration"}}[{RATE_INTERVAL}]) > 0'
        assert server.until(cut, ANSWER_TIMEOUT), (folder / "callgate.log").read_text()
        yield server


def test_every_panel_draws_something(prometheus: Prometheus) -> None:
    empty = [
        query for query in panel_queries() if not prometheus.until(query.plain(RATE_INTERVAL), ANSWER_TIMEOUT)
    ]
    assert empty == []


def test_every_metric_a_rule_names_exists_and_every_rule_works(prometheus: Prometheus) -> None:
    named = set().union(*(query.metrics() for query in rule_queries()))
    assert named - prometheus.names() == set()
    assert prometheus.until("up", ANSWER_TIMEOUT) == [1]
    assert {rule["name"] for rule in prometheus.rules() if rule["health"] not in ("ok", "unknown")} == set()


@pytest.mark.parametrize(
    "expr",
    [
        'callgate_admissions_total{decision="admitted",reason="none",mode="gateway"} > 0',
        'callgate_admissions_total{decision="refused",reason="lines",mode="gateway"} > 0',
        'callgate_admissions_total{decision="refused",reason="unknown_caller",mode="none"} > 0',
        'callgate_cuts_total{reason="call_duration"} > 0',
        'callgate_call_outcomes_total{outcome="success",mode="gateway"} > 0',
        "callgate_challenges_total > 0",
        'callgate_requests_total{direction="in",method="INVITE"} > 0',
        'callgate_requests_total{direction="out",method="BYE"} > 0',
        'callgate_responses_total{direction="out",class="4xx"} > 0',
        'callgate_retransmissions_total{direction="in"} > 0',
        'sum(callgate_parse_errors_total{kind!="empty"}) > 0',
        "callgate_setup_delay_seconds_count > 0",
        "callgate_redis_round_trip_seconds_count > 0",
        "callgate_loop_lag_seconds_count > 0",
        'callgate_redis_breaker_state{state="closed"} == 1',
        'sum by (machine) (callgate_transactions_total{machine="server_invite"}) > 0',
        "callgate_ready == 1",
    ],
)
def test_what_happened_was_counted(prometheus: Prometheus, expr: str) -> None:
    assert prometheus.until(expr, ANSWER_TIMEOUT)


def test_nothing_went_wrong_on_our_side(prometheus: Prometheus) -> None:
    assert prometheus.until("callgate_internal_errors_total", ANSWER_TIMEOUT) == [0]
    assert prometheus.until('sum(callgate_anomalies_total{kind="teardowns_failed"})', ANSWER_TIMEOUT) == [0]
