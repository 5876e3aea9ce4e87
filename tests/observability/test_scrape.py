"""A real Prometheus scrapes a busy callgate: every panel has something to draw, every rule something to watch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from load.processes import Processes
from tests.e2e.net import Net
from tests.e2e.service import DOMAIN, Callgate, Tariff, settings_of
from tests.observability.prometheus import RATE_INTERVAL, Prometheus, start
from tests.observability.queries import panel_queries, rule_queries
from tests.observability.traffic import Busy, Callee, Caller
from tests.redis import private_redis

TARIFFS = {"alice": Tariff({"lines": 1, "call_duration": "1s"}, mode="gateway")}
NUMBER = "100"
"""Dials the first provider over UDP."""
ANSWER_TIMEOUT = 20.0


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It has seen some rounds of calls, and calls go on while it is asked."""
    folder = tmp_path_factory.mktemp("observability")
    net = Net()
    with (
        private_redis() as redis,
        Processes() as processes,
        Callee((net.host(Net.PROVIDERS), net.sip_port)),
    ):
        callgate = Callgate(processes, folder, settings_of(net, redis.url), TARIFFS)
        callgate.start()
        server = start(processes, folder, callgate.settings["metrics"]["listen"])
        with Busy(Caller(net.host(Net.TRUSTED), callgate.address(), "alice", NUMBER, DOMAIN)) as busy:
            cut = f'increase(callgate_cuts_total{{reason="call_duration"}}[{RATE_INTERVAL}]) > 0'
            assert server.until(cut, ANSWER_TIMEOUT), f"{busy.error!r}\n{callgate.log()[-20:]}"
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
