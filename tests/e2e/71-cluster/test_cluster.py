"""The store is a Cluster of three: limits hold while slots move with calls up, and a node that dies costs the store to
its own payers and nobody else."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from load.processes import Processes
from tests.e2e.net import Net
from tests.e2e.service import Callgate, Tariff, settings_of
from tests.e2e.stage import Stage
from tests.servers import SLOTS, Cluster, cluster_of, slot_of

NODES, LIMIT_S = 3, 6.0


def names(word: str) -> list[str]:
    """One subscriber for each node, in the order of the nodes."""
    found: dict[int, str] = {}
    for n in itertools.count():
        name = f"{word}-{n}"
        found.setdefault(slot_of(name) * NODES // SLOTS, name)
        if len(found) == NODES:
            return [found[node] for node in range(NODES)]
    raise AssertionError


MOVED, NEIGHBOURS = names("moved"), names("neighbour")
TARIFFS = {
    **{name: Tariff({"lines": 1, "success_calls": "2 per 1h"}, mode="gateway") for name in MOVED},
    **{name: Tariff({"lines": 1, "call_duration": "6s"}, mode="gateway") for name in NEIGHBOURS},
}


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    with cluster_of(NODES) as started:
        yield started


@pytest.fixture(scope="module")
def callgate(
    net: Net, nodes: Cluster, tariffs: dict[str, Tariff], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callgate]:
    settings = settings_of(net, nodes.url, host=81)
    settings["store"].update(deadline="1s")
    with Processes() as processes:
        service = Callgate(processes, tmp_path_factory.mktemp("cluster"), settings, tariffs)
        service.start()
        service.until("it is connected to all", lambda: breakers(service, "closed") == NODES)
        yield service
        assert service.metric("callgate_internal_errors_total") == 0, service.running.tail(60)


@pytest.fixture
def stage(callgate: Callgate, stage_of: Callable[[Callgate], Stage]) -> Stage:
    return stage_of(callgate)


def breakers(callgate: Callgate, state: str) -> float:
    """Nodes whose breaker is in that state."""
    return callgate.metric("callgate_redis_breaker_state", state=state)


def test_limits_hold_while_the_slots_move_with_calls_up(stage: Stage, nodes: Cluster) -> None:
    provider = stage.provider()
    callee = stage.callee(provider, calls=2 * NODES)
    up = [stage.caller(who=name, number=provider.number, hold_s=4) for name in MOVED]
    for caller in up:
        caller.await_message("SIP/2.0 200")
    for n, name in enumerate(MOVED):
        assert nodes.node_of(name) is nodes.nodes[n]
        nodes.move(slot_of(name), nodes.nodes[(n + 1) % NODES])
    for name in MOVED:
        refused = stage.caller("refused", who=name, number=provider.number)
        refused.succeeds()
        assert refused.received("SIP/2.0 486"), "its line is held where it has gone"
    for caller in up:
        caller.succeeds()
    for name in MOVED:
        stage.caller(who=name, number=provider.number).succeeds()
    callee.succeeds()
    for name in MOVED:
        refused = stage.caller("refused", who=name, number=provider.number)
        refused.succeeds()
        assert "success_calls" in refused.one("SIP/2.0 402").value("Warning")
    assert stage.callgate.metric("callgate_spool_records") == 0
    assert stage.callgate.metric("callgate_leases_total", event="lapsed") == 0


def test_a_dead_node_costs_its_own_payers_the_store_and_nobody_elses(stage: Stage, nodes: Cluster) -> None:
    callgate, gone = stage.callgate, nodes.nodes[1]
    lost, kept = NEIGHBOURS[1], [NEIGHBOURS[0], NEIGHBOURS[2]]
    provider = stage.provider()
    callee = stage.callee(provider, calls=4)
    cut = stage.caller("hung-up-on", who=lost, number=provider.number)
    cut.await_message("SIP/2.0 200")
    gone.stop()
    callgate.until("its breaker is open", lambda: breakers(callgate, "closed") == NODES - 1)
    assert callgate.ready()
    refused = stage.caller("refused", who=lost, number=provider.number)
    refused.succeeds()
    assert "store_unavailable" in refused.one("SIP/2.0 503").value("Warning")
    for name in kept:
        stage.caller(who=name, number=provider.number).succeeds()

    # The call that was up is cut by its limit, and settled when the node is back.
    cut.succeeds()
    bye = cut.one("BYE ")
    assert "call_duration" in bye.value("Reason")
    assert LIMIT_S - 0.05 <= bye.at - cut.one("SIP/2.0 200").at <= LIMIT_S + 1.0
    callgate.until("its end waits on disk", lambda: callgate.metric("callgate_spool_records") > 0)
    gone.start()
    callgate.until("it is connected to all again", lambda: breakers(callgate, "closed") == NODES)
    callgate.until("all is settled", lambda: callgate.metric("callgate_spool_records") == 0)
    stage.caller(who=lost, number=provider.number).succeeds()
    callee.succeeds()
