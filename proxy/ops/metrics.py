"""Every metric of callgate: its name, its help, its labels, and where its number comes from. The one owner file.

The layers bump plain integers in objects of their own; this collector turns them into Prometheus families at scrape.
So a count costs an addition, and a scrape costs what it shows (some 250 series, about 3 ms). Labels come from enums
and closed tuples: never a subscriber, a number or a Call-ID.

Not here: sums over several processes. Each process serves its own numbers; Prometheus adds.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Protocol

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from policies.counters import BreakerState, Histogram, StoreCounters
from policies.reasons import TABLE, Reason
from proxy.engine.counters import EngineCounters
from proxy.engine.results import State
from proxy.ops.counters import MODES, CallCounters, LoopCounters, Traffic
from proxy.sip.transaction import Counters as StackCounters

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# The order of StackCounters' lists.
MACHINES = ("client_invite", "client_other", "server_invite", "server_other")

# What may be odd about a message or a call without being a refusal: the engine's plain counts, and of the stack's the
# responses of no transaction.
ANOMALIES = ("crossed", "late_answers", "stray_requests", "teardowns_failed")
UNMATCHED = "unmatched_responses"

_INFINITY = float("inf")


class NetNumbers(Protocol):
    """What is shown of the sockets (proxy.net.sink.NetCounters; this layer does not see that one)."""

    certificate_expires_at: float
    connections: dict[str, int]
    connections_refused: int
    handshakes_failed: dict[str, int]
    keepalives: int
    media: dict[str, int]
    unreachable: int


class Metrics(Collector):
    """The counters of one process and what Prometheus sees of them.

    The driver bumps `received`, `sent`, `calls` and `loop`; the others bring their own. `active` is asked at scrape
    for the calls admitted and not over yet, by mode (a count of what is there, never a sum of +1 and -1), `failures`
    for the exceptions that were ours.
    """

    def __init__(
        self,
        engine: EngineCounters,
        stack: StackCounters,
        store: StoreCounters,
        net: NetNumbers,
        active: Callable[[], Mapping[str, int]],
        failures: Callable[[], int],
        trunks: Callable[[], Mapping[tuple[str, str], int]] = dict,
    ) -> None:
        """`trunks` is asked at scrape for the number of targets by (trunk, state)."""
        self.engine = engine
        self.stack = stack
        self.store = store
        self.net = net
        self.active = active
        self.failures = failures
        self.banned: Callable[[], int] = int
        """Addresses banned, as of now."""
        self.unread: Callable[[], int] = int
        """Datagrams and connections of those, dropped unread."""
        self.registered_elsewhere: Callable[[], Mapping[State, int]] = dict
        """Registrations of ours elsewhere by state, as of now."""
        self.trunks = trunks
        self.received = Traffic()
        self.sent = Traffic()
        self.calls = CallCounters()
        self.loop = LoopCounters()
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(namespace="callgate", registry=self.registry)
        GCCollector(registry=self.registry)

    def render(self) -> bytes:
        """The exposition in Prometheus text format 0.0.4."""
        return generate_latest(self.registry)

    def collect(self) -> Iterable[Metric]:
        yield from self._calls()
        yield from self._admissions()
        yield from self._messages()
        yield from self._transactions()
        yield from self._trunks()
        yield from self._guard()
        yield from self._store()
        yield from self._loop()
        yield from self._process()

    def _calls(self) -> Iterator[Metric]:
        calls = self.calls
        running = self.active()
        active = GaugeMetricFamily(
            "callgate_calls_active", "Calls admitted and not over yet", labels=["mode"]
        )
        for mode in MODES:
            active.add_metric([_mode(mode)], running.get(mode, 0))
        outcomes = CounterMetricFamily(
            "callgate_call_outcomes", "Calls that are over, by how they ended", labels=["outcome", "mode"]
        )
        for (outcome, mode), count in calls.outcomes.items():
            outcomes.add_metric([outcome, _mode(mode)], count)
        cuts = CounterMetricFamily("callgate_cuts", "Running calls ended by callgate", labels=["reason"])
        for reason, count in calls.cuts.items():
            cuts.add_metric([_label(reason)], count)
        registrations = CounterMetricFamily(
            "callgate_registrations",
            "REGISTER requests with the right credentials, by result",
            labels=["result"],
        )
        for result, count in calls.registrations.items():
            registrations.add_metric([result.value], count)
        yield from (active, outcomes, cuts, registrations)
        elsewhere = self.registered_elsewhere()
        states = GaugeMetricFamily(
            "callgate_registrations_elsewhere",
            "Accounts that callgate registers at providers and PBXes, by state",
            labels=["state"],
        )
        for state in State:
            states.add_metric([state.value], elsewhere.get(state, 0))
        results = CounterMetricFamily(
            "callgate_registrations_elsewhere_results",
            "What came of REGISTERs of callgate's own",
            labels=["result"],
        )
        for became, count in self.engine.registrations.items():
            results.add_metric([became.value], count)
        yield from (states, results)
        yield _counter(
            "callgate_challenges_answered",
            "401 and 407 of trunks answered in an account's place",
            self.engine.challenges_answered,
        )
        pings = CounterMetricFamily(
            "callgate_nat_pings", "OPTIONS that keep NATs open, and their answers", labels=["event"]
        )
        pings.add_metric(["sent"], self.engine.pings_sent)
        pings.add_metric(["answered"], self.engine.pings_answered)
        yield pings
        yield _counter("callgate_keepalives", "CRLF and STUN keep-alives answered", self.net.keepalives)
        yield _counter("callgate_challenges", "401 and 407 answers", self.engine.challenges)
        yield _histogram("callgate_setup_delay_seconds", "From INVITE in to INVITE out", calls.setup_delay)

    def _admissions(self) -> Iterator[Metric]:
        calls = self.calls
        family = CounterMetricFamily(
            "callgate_admissions",
            "New calls decided on; reason says which limit refused, or why an admitted call was not checked",
            labels=["decision", "reason", "mode"],
        )
        unchecked = _label(Reason.STORE_UNAVAILABLE.value)
        for mode in MODES:
            family.add_metric(["admitted", "none", _mode(mode)], calls.admitted[mode])
            family.add_metric(["admitted", unchecked, _mode(mode)], calls.admitted_unchecked[mode])
        for (reason, mode), count in calls.refused.items():
            family.add_metric(["refused", _label(reason), _mode(mode)], count)
        yield family

    def _messages(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "callgate_requests", "SIP requests on the wire", labels=["direction", "method"]
        )
        responses = CounterMetricFamily(
            "callgate_responses", "SIP responses on the wire", labels=["direction", "class"]
        )
        for direction, traffic in (("in", self.received), ("out", self.sent)):
            for method, count in traffic.requests().items():
                requests.add_metric([direction, method], count)
            for status_class, count in traffic.responses().items():
                responses.add_metric([direction, status_class], count)
        errors = CounterMetricFamily(
            "callgate_parse_errors", "Input that is not a SIP message, by what is wrong", labels=["kind"]
        )
        for kind, count in self.engine.parse_errors.items():
            errors.add_metric([kind.value], count)
        odd = CounterMetricFamily(
            "callgate_anomalies", "What is odd about messages and calls but no refusal", labels=["kind"]
        )
        for name in ANOMALIES:
            odd.add_metric([name], getattr(self.engine, name))
        odd.add_metric([UNMATCHED], self.stack.strays)
        yield from (requests, responses, errors, odd)

    def _transactions(self) -> Iterator[Metric]:
        stack = self.stack
        started = CounterMetricFamily("callgate_transactions", "Transactions begun", labels=["machine"])
        alive = GaugeMetricFamily("callgate_transactions_active", "Transactions alive", labels=["machine"])
        for label, begun, ended in zip(MACHINES, stack.started, stack.ended, strict=True):
            started.add_metric([label], begun)
            alive.add_metric([label], begun - ended)
        again = CounterMetricFamily(
            "callgate_retransmissions", "SIP messages received or sent once more", labels=["direction"]
        )
        again.add_metric(["in"], stack.retransmissions_received)
        again.add_metric(["out"], stack.retransmissions_sent)
        yield from (started, alive, again)
        yield _counter(
            "callgate_transactions_refused", "New requests beyond the bound on transactions", stack.overloads
        )

    def _guard(self) -> Iterator[Metric]:
        engine = self.engine
        dropped = CounterMetricFamily(
            "callgate_guard_dropped", "What strangers sent and was met with silence, by why", labels=["cause"]
        )
        dropped.add_metric(["banned"], self.unread())
        for cause, count in engine.guard_dropped.items():
            dropped.add_metric([cause.value], count)
        bans = CounterMetricFamily("callgate_bans", "Addresses banned, by why", labels=["cause"])
        for why, count in engine.bans.items():
            bans.add_metric([why.value], count)
        yield from (dropped, bans)
        yield _gauge("callgate_bans_active", "Addresses that are not listened to now", self.banned())
        yield _counter("callgate_auth_failures", "Wrong passwords", engine.auth_failures)

    def _trunks(self) -> Iterator[Metric]:
        # A trunk's name is no subscriber's: the operator has written the list of them into callgate.yaml.
        targets = GaugeMetricFamily(
            "callgate_trunk_targets",
            "Targets of each trunk, by what is known of them",
            labels=["trunk", "state"],
        )
        for (trunk, state), count in self.trunks().items():
            targets.add_metric([trunk, state], count)
        outages = CounterMetricFamily(
            "callgate_trunk_outages", "Servers found not to answer, by how", labels=["cause"]
        )
        for cause, count in self.engine.trunk_outages.items():
            outages.add_metric([cause.value], count)
        checks = CounterMetricFamily(
            "callgate_trunk_checks", "OPTIONS to trunks, by result", labels=["result"]
        )
        for result, count in self.engine.trunk_checks.items():
            checks.add_metric([result], count)
        yield from (targets, outages, checks)

    def _store(self) -> Iterator[Metric]:
        store = self.store
        yield _histogram(
            "callgate_redis_round_trip_seconds", "From queueing a command to its reply", store.round_trip
        )
        errors = CounterMetricFamily(
            "callgate_redis_errors", "Commands that brought no answer", labels=["kind"]
        )
        for kind, count in store.errors.items():
            errors.add_metric([kind.value], count)
        breaker = GaugeMetricFamily(
            "callgate_redis_breaker_state",
            "1 for the state the breaker is in; in a Cluster the nodes whose breaker is in it",
            labels=["state"],
        )
        states = store.breakers()
        for state in BreakerState:
            breaker.add_metric([state.value], states.count(state))
        leases = CounterMetricFamily("callgate_leases", "What became of leases", labels=["event"])
        leases.add_metric(["renewed"], store.leases_renewed)
        leases.add_metric(["lapsed"], store.leases_lapsed)
        leases.add_metric(["taken_over"], store.leases_taken_over)
        yield from (errors, breaker, leases)
        yield _gauge("callgate_spool_records", "Outcomes waiting on disk for Redis", store.spool_records)
        yield _gauge("callgate_spool_bytes", "Size of the spool on disk", store.spool_bytes)
        yield _gauge("callgate_spool_bytes_max", "Size at which the spool is full", store.spool_bytes_max)
        yield _counter(
            "callgate_spool_dropped", "Outcomes lost because the spool was full", store.spool_dropped
        )

    def _loop(self) -> Iterator[Metric]:
        loop = self.loop
        yield _histogram("callgate_loop_lag_seconds", "How late the event loop was for its timer", loop.lag)
        yield _gauge(
            "callgate_overloaded", "1 while new calls are answered 503 to shed load", loop.overloaded
        )
        yield _gauge("callgate_ready", "1 while callgate takes calls", loop.ready)
        yield _gauge("callgate_draining", "1 while only running calls go on", loop.draining)
        yield _counter("callgate_messages_dropped", "Messages a full queue had no room for", loop.dropped)
        yield _counter(
            "callgate_internal_errors", "Exceptions that are our own fault; each is logged", self.failures()
        )

    def _process(self) -> Iterator[Metric]:
        net = self.net
        connections = GaugeMetricFamily(
            "callgate_connections_open", "Stream connections, either side's", labels=["transport"]
        )
        for transport, count in net.connections.items():
            connections.add_metric([transport.lower()], count)
        failed = CounterMetricFamily(
            "callgate_handshakes_failed", "TLS and WebSocket handshakes that came to nothing", labels=["kind"]
        )
        for kind, count in net.handshakes_failed.items():
            failed.add_metric([kind], count)
        media = CounterMetricFamily(
            "callgate_media", "Session descriptions for rtpengine, by what came of them", labels=["result"]
        )
        for result, count in net.media.items():
            media.add_metric([result], count)
        yield from (connections, failed, media)
        yield _gauge(
            "callgate_certificate_expires_timestamp_seconds",
            "When the first of our certificates expires, Unix time; 0: it has; +Inf: there is none",
            net.certificate_expires_at,
        )
        yield _counter(
            "callgate_connections_refused", "Connections beyond the bound", net.connections_refused
        )
        yield _counter("callgate_peers_unreachable", "Peers reported unreachable", net.unreachable)
        build = GaugeMetricFamily(
            "callgate_build_info", "What runs here; always 1", labels=["version", "python"]
        )
        build.add_metric([version("callgate"), platform.python_version()], 1)
        yield build


def _mode(mode: str) -> str:
    """To Prometheus an empty label is no label; a call that nobody of ours pays for says so."""
    return mode or "none"


def _label(reason: str) -> str:
    return TABLE[Reason(reason)].label


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help_text, value=float(value))


def _counter(name: str, help_text: str, value: float) -> Metric:
    return CounterMetricFamily(name, help_text, value=value)


def _histogram(name: str, help_text: str, histogram: Histogram) -> Metric:
    """To Prometheus each bucket holds the ones below it too."""
    buckets: list[tuple[str, float]] = []
    below = 0
    for bound, count in zip((*histogram.bounds, _INFINITY), histogram.counts, strict=True):
        below += count
        buckets.append(("+Inf" if bound == _INFINITY else repr(bound), below))
    return HistogramMetricFamily(name, help_text, buckets=buckets, sum_value=histogram.total)
