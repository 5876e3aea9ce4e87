"""What Prometheus sees of the counters: the names, the closed labels, true histograms, and that nothing is left out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from policies.counters import BreakerState, Histogram, StoreCounters, StoreError
from policies.reasons import TABLE, Reason
from proxy.engine.counters import EngineCounters
from proxy.net.sink import NetCounters
from proxy.ops.counters import METHODS, MODES, OUTCOMES, RegisterResult
from proxy.ops.metrics import ANOMALIES, MACHINES, UNMATCHED, Metrics
from proxy.sip.message import ErrorKind
from proxy.sip.transaction import Counters as StackCounters


def fresh(active: Mapping[str, int] | None = None, failures: int = 0) -> Metrics:
    return Metrics(
        EngineCounters(),
        StackCounters(),
        StoreCounters(),
        NetCounters(),
        lambda: active or {},
        lambda: failures,
    )


def samples(metrics: Metrics) -> Iterator[Sample]:
    for family in text_string_to_metric_families(metrics.render().decode()):
        yield from family.samples


def value(metrics: Metrics, name: str, **labels: str) -> float:
    (found,) = [s.value for s in samples(metrics) if s.name == name and s.labels == labels]
    return found


def labels_of(metrics: Metrics, name: str, label: str) -> set[str]:
    return {s.labels[label] for s in samples(metrics) if s.name == name}


def test_a_fresh_process_shows_every_series_at_zero() -> None:
    """A counter that appears with its first event hides that event from rate()."""
    metrics = fresh()
    told = (
        "callgate_build_info",
        "callgate_certificate_expires",
        "callgate_redis_breaker_state",
        "callgate_process_",
    )
    ours = [s for s in samples(metrics) if s.name.startswith("callgate_")]
    assert [s for s in ours if s.value and not s.name.startswith(told)] == []
    assert len({s.name for s in ours}) > 30


def test_labels_are_the_closed_lists_whole() -> None:
    metrics = fresh()
    modes = {"softphone", "gateway", "none"}
    reasons = {row.label for row in TABLE.values()}
    assert {mode or "none" for mode in MODES} == modes
    assert len(reasons) == len(Reason)
    for name, label, closed in (
        ("callgate_calls_active", "mode", modes),
        ("callgate_admissions_total", "mode", modes),
        ("callgate_admissions_total", "decision", {"admitted", "refused"}),
        ("callgate_admissions_total", "reason", reasons | {"none"}),
        ("callgate_cuts_total", "reason", reasons),
        ("callgate_call_outcomes_total", "outcome", set(OUTCOMES)),
        ("callgate_registrations_total", "result", {result.value for result in RegisterResult}),
        ("callgate_requests_total", "method", set(METHODS)),
        ("callgate_responses_total", "class", {"1xx", "2xx", "3xx", "4xx", "5xx", "6xx"}),
        ("callgate_parse_errors_total", "kind", {kind.value for kind in ErrorKind}),
        ("callgate_anomalies_total", "kind", {*ANOMALIES, UNMATCHED}),
        ("callgate_redis_errors_total", "kind", {kind.value for kind in StoreError}),
        ("callgate_redis_breaker_state", "state", {state.value for state in BreakerState}),
        ("callgate_transactions_total", "machine", set(MACHINES)),
        ("callgate_retransmissions_total", "direction", {"in", "out"}),
    ):
        assert labels_of(metrics, name, label) == closed, name


def test_no_counter_of_the_engine_or_the_stack_is_forgotten() -> None:
    """One of them, bumped alone, must change what a scrape shows."""
    for owner in ("engine", "stack"):
        for slot in getattr(fresh(), owner).__slots__:
            metrics = fresh()
            counters = getattr(metrics, owner)
            held = getattr(counters, slot)
            if isinstance(held, int):
                setattr(counters, slot, 1)
            else:
                held[next(iter(held)) if isinstance(held, dict) else 0] += 1
            shown = [s for s in samples(metrics) if s.value and s.name.startswith("callgate_")]
            quiet = [s for s in samples(fresh()) if s.value and s.name.startswith("callgate_")]
            assert len(shown) > len(quiet), f"{owner}.{slot}"


def test_calls_running_are_counted_when_asked() -> None:
    metrics = fresh({"gateway": 2, "": 1})
    assert value(metrics, "callgate_calls_active", mode="gateway") == 2
    assert value(metrics, "callgate_calls_active", mode="softphone") == 0
    assert value(metrics, "callgate_calls_active", mode="none") == 1


def test_decisions_cuts_outcomes_and_registrations() -> None:
    metrics = fresh()
    calls = metrics.calls
    calls.admitted["gateway"] += 3
    calls.admitted_unchecked["softphone"] += 1
    calls.refused["lines", "gateway"] += 4
    calls.refused["unknown_caller", ""] += 5
    calls.cuts["call_duration"] += 6
    calls.outcomes["fail", "softphone"] += 7
    calls.registrations[RegisterResult.REPLAYED] += 8
    metrics.engine.challenges += 9

    def admissions(decision: str, reason: str, mode: str) -> float:
        return value(metrics, "callgate_admissions_total", decision=decision, reason=reason, mode=mode)

    assert admissions("admitted", "none", "gateway") == 3
    assert admissions("admitted", "store_unavailable", "softphone") == 1
    assert admissions("refused", "lines", "gateway") == 4
    assert admissions("refused", "unknown_caller", "none") == 5
    assert admissions("refused", "lines", "softphone") == 0
    assert value(metrics, "callgate_cuts_total", reason="call_duration") == 6
    assert value(metrics, "callgate_call_outcomes_total", outcome="fail", mode="softphone") == 7
    assert value(metrics, "callgate_registrations_total", result="replayed") == 8
    assert value(metrics, "callgate_challenges_total") == 9


def test_messages_and_transactions() -> None:
    metrics = fresh()
    metrics.received.count(b"INVITE sip:bob@example.com SIP/2.0\r\n")
    metrics.received.count(b"SIP/2.0 486 Busy Here\r\n")
    metrics.sent.count(b"SIP/2.0 100 Trying\r\n")
    metrics.engine.parse_errors[ErrorKind.VIA] += 7
    metrics.stack.started[2] += 9
    metrics.stack.ended[2] += 2
    metrics.stack.retransmissions_received += 5
    metrics.stack.retransmissions_sent += 6
    assert value(metrics, "callgate_requests_total", direction="in", method="INVITE") == 1
    assert value(metrics, "callgate_requests_total", direction="out", method="INVITE") == 0
    assert value(metrics, "callgate_responses_total", **{"direction": "in", "class": "4xx"}) == 1
    assert value(metrics, "callgate_responses_total", **{"direction": "out", "class": "1xx"}) == 1
    assert value(metrics, "callgate_parse_errors_total", kind="via") == 7
    assert value(metrics, "callgate_transactions_total", machine="server_invite") == 9
    assert value(metrics, "callgate_transactions_active", machine="server_invite") == 7
    assert value(metrics, "callgate_retransmissions_total", direction="in") == 5
    assert value(metrics, "callgate_retransmissions_total", direction="out") == 6


def test_the_store_and_the_loop() -> None:
    metrics = fresh()
    store, loop = metrics.store, metrics.loop
    store.errors[StoreError.DEADLINE] += 1
    store.breaker = BreakerState.OPEN
    store.leases_renewed += 2
    store.spool_records, store.spool_bytes, store.spool_bytes_max = 3, 300, 10_000
    store.spool_dropped += 4
    loop.ready = loop.overloaded = loop.draining = True
    loop.dropped += 5
    assert value(metrics, "callgate_redis_errors_total", kind="deadline") == 1
    states = {
        s.labels["state"]: s.value for s in samples(metrics) if s.name == "callgate_redis_breaker_state"
    }
    assert states == {"closed": 0, "half_open": 0, "open": 1}
    assert value(metrics, "callgate_leases_total", event="renewed") == 2
    assert value(metrics, "callgate_spool_records") == 3
    assert value(metrics, "callgate_spool_bytes") == 300
    assert value(metrics, "callgate_spool_bytes_max") == 10_000
    assert value(metrics, "callgate_spool_dropped_total") == 4
    assert value(metrics, "callgate_ready") == 1
    assert value(metrics, "callgate_overloaded") == 1
    assert value(metrics, "callgate_draining") == 1
    assert value(metrics, "callgate_messages_dropped_total") == 5


def test_sockets_and_errors_of_ours() -> None:
    metrics = fresh(failures=3)
    metrics.net.connections["WSS"] = 4
    metrics.net.handshakes_failed["certificate"] = 7
    metrics.net.certificate_expires_at = 8.0
    metrics.net.connections_refused = 5
    metrics.net.unreachable = 6
    assert value(metrics, "callgate_internal_errors_total") == 3
    assert value(metrics, "callgate_connections_open", transport="wss") == 4
    assert value(metrics, "callgate_connections_open", transport="tcp") == 0
    assert value(metrics, "callgate_handshakes_failed_total", kind="certificate") == 7
    assert value(metrics, "callgate_certificate_expires_timestamp_seconds") == 8
    assert value(metrics, "callgate_connections_refused_total") == 5
    assert value(metrics, "callgate_peers_unreachable_total") == 6


@pytest.mark.parametrize(
    ("seconds", "slot"), [(0.0, 0), (0.001, 0), (0.0010001, 1), (0.01, 1), (0.02, 2), (9.0, 2)]
)
def test_a_bound_belongs_to_its_bucket(seconds: float, slot: int) -> None:
    histogram = Histogram((0.001, 0.01))
    histogram.observe(seconds)
    assert histogram.counts[slot] == 1
    assert sum(histogram.counts) == 1
    assert histogram.total == seconds


def test_a_histogram_is_cumulative_and_its_last_bucket_is_its_count() -> None:
    metrics = fresh()
    for seconds in (0.0001, 0.0008, 0.0009, 0.004, 7.0):
        metrics.calls.setup_delay.observe(seconds)
    name = "callgate_setup_delay_seconds"
    buckets = {s.labels["le"]: s.value for s in samples(metrics) if s.name == name + "_bucket"}
    assert buckets["0.00025"] == 1
    assert buckets["0.001"] == 3
    assert buckets["0.005"] == 4
    assert buckets["1.0"] == 4
    assert buckets["+Inf"] == value(metrics, name + "_count") == 5
    assert value(metrics, name + "_sum") == pytest.approx(7.0058)


def test_names_are_well_formed_and_said_once() -> None:
    """Prometheus' naming rules: lower case, base units, each with a help text."""
    families = list(text_string_to_metric_families(fresh().render().decode()))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    for family in families:
        assert family.documentation
        if family.name.startswith("callgate_"):
            assert re.fullmatch(r"[a-z_]+", family.name)
            assert not re.search(r"_(ms|milliseconds|us|minutes|kb)$", family.name)
