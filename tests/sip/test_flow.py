"""Flows: one object for a peer while anyone holds it, and a bound on those nobody does."""

from __future__ import annotations

from proxy.sip.flow import Flow, FlowTable, Local

LOCAL = Local("UDP", "192.0.2.1", 5060, 4)


def test_one_flow_for_one_peer() -> None:
    table = FlowTable(LOCAL)
    flow = table.get("198.51.100.1", 5061)
    assert table.get("198.51.100.1", 5061) is flow
    assert table.get("198.51.100.1", 5062) is not flow
    assert table.get("198.51.100.1", 5061, conn=3) is not flow
    assert (flow.transport, flow.host, flow.port, flow.conn) == ("UDP", "198.51.100.1", 5061, 0)
    assert flow.local is LOCAL


def test_a_held_flow_stays_the_same_however_many_others_come() -> None:
    table = FlowTable(LOCAL, idle_max=10)
    held = table.get("198.51.100.1", 5060)
    for port in range(100):
        table.get("203.0.113.1", port)
    assert table.get("198.51.100.1", 5060) is held


def test_flows_that_nobody_holds_are_forgotten() -> None:
    table = FlowTable(LOCAL, idle_max=10)
    for port in range(1000):
        table.get("203.0.113.1", port)
    assert len(table._recent) <= 10
    assert len(table._held) == 0


def test_only_udp_is_unreliable() -> None:
    assert not Flow("UDP", "h", 1, LOCAL).reliable
    for transport in ("TCP", "TLS", "WS", "WSS"):
        assert Flow(transport, "h", 1, LOCAL).reliable
