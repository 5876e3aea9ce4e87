"""Who is registered from which flow: what auth.invite: registered_source goes by."""

from __future__ import annotations

import pytest

from policies.reasons import Reason
from policies.verdicts import (
    Registered,
    RegisterOutOfOrder,
    RegisterRefused,
    RegisterVerdict,
    Replayed,
    Unavailable,
)
from proxy.engine import bindings
from proxy.engine.digest import answer
from proxy.engine.events import FlowFailed
from proxy.engine.registrar import Registrar
from proxy.sip.flow import Flow, FlowTable, Local
from proxy.sip.transaction import ServerTransaction
from tests.engine.registering import CONTACT, World, ask_in, binding_in, response_in


def test_a_phone_is_known_by_its_flow_for_as_long_as_it_is_registered() -> None:
    world = World()
    world.registered(f"Contact: {CONTACT};expires=60")
    assert world.source() == "alice@example.com"
    assert world.source(world.udp.get("203.0.113.9", 40001)) == ""
    world.now = 59.9
    assert world.source() == "alice@example.com"
    world.now = 60.0
    assert world.source() == ""


def test_a_question_makes_nobody_a_source_and_unmakes_nobody() -> None:
    world = World()
    record = ask_in(world.register(f"Contact: {CONTACT}")).contacts[0][2]
    world.decide(ask_in(world.register()), Registered([record]))
    assert world.source() == ""
    world.registered(f"Contact: {CONTACT}")
    world.decide(ask_in(world.register()), Registered([]))
    assert world.source() == "alice@example.com"


@pytest.mark.parametrize("lines", [("Contact: *", "Expires: 0"), (f"Contact: {CONTACT};expires=0",)])
def test_who_unregisters_is_no_source_any_more(lines: tuple[str, ...]) -> None:
    world = World()
    world.registered(f"Contact: {CONTACT}")
    world.decide(ask_in(world.register(*lines)), Registered([]))
    assert world.source() == ""


def test_a_binding_left_from_the_same_flow_keeps_it() -> None:
    world = World()
    kept = ask_in(world.register("Contact: <sip:alice@10.0.0.6>;expires=100")).contacts[0][2]
    world.decide(ask_in(world.register(f"Contact: {CONTACT};expires=0")), Registered([kept]))
    world.now = 99.0
    assert world.source() == "alice@example.com"


def test_a_binding_from_another_flow_does_not() -> None:
    world = World()
    other = world.udp.get("203.0.113.77", 5060)
    kept = ask_in(world.register("Contact: <sip:alice@10.0.0.6>", flow=other)).contacts[0][2]
    world.decide(ask_in(world.register(f"Contact: {CONTACT};expires=0")), Registered([kept]))
    assert world.source() == ""


def test_a_pbx_registers_several_accounts_from_one_socket() -> None:
    world = World()
    world.registered(f"Contact: {CONTACT}")
    world.registered("Contact: <sip:+15550100@10.0.0.5:5062>", user="+15550100")
    assert world.source(claimed="alice@example.com") == "alice@example.com"
    assert world.source(claimed="+15550100@example.com") == "+15550100@example.com"
    assert world.source() == ""


def test_a_broken_connection_is_no_source() -> None:
    world = World()
    flow = world.tcp.get("203.0.113.9", 40000, 17)
    flow.open = True
    world.registered(f"Contact: {CONTACT}", flow=flow)
    assert world.source(flow) == "alice@example.com"
    flow.open = False
    world.handle(FlowFailed(flow))
    assert world.source(flow) == ""


def test_nor_is_one_that_broke_while_the_store_was_asked() -> None:
    world = World()
    flow = world.tcp.get("203.0.113.9", 40000, 17)
    flow.open = True
    ask = ask_in(world.register(f"Contact: {CONTACT}", flow=flow))
    flow.open = False
    world.handle(FlowFailed(flow))
    world.decide(ask, Registered([record for _, _, record in ask.contacts]))
    assert world.source(flow) == ""


@pytest.mark.parametrize(
    "verdict", [RegisterRefused(Reason.SIP_ACCOUNTS, "1"), RegisterOutOfOrder(), Replayed(), Unavailable()]
)
def test_nobody_becomes_a_source_by_a_registration_that_failed(verdict: RegisterVerdict) -> None:
    world = World()
    world.decide(ask_in(world.register(f"Contact: {CONTACT}")), verdict)
    assert world.source() == ""


class KnowsItsSource(Registrar):
    """Told, as by the engine, where the request came from."""

    __slots__ = ("source",)

    source: Flow

    def on_register(self, txn: ServerTransaction, now: float, source: Flow | None = None) -> bool:
        return super().on_register(txn, now, self.source)


def test_a_client_without_rport_is_known_by_where_it_sends_and_called_where_it_hears() -> None:
    # Its responses go to the port in its Via (RFC 3261 §18.2.2), which need not be the one it sends from.
    world = World()
    world.engine.registrar = registrar = KnowsItsSource(world.engine.core)
    registrar.source = world.flow
    challenged = response_in(world.send(world.text(()).replace(";rport", "")))
    value = answer(
        challenged.values("www-authenticate")[0], "alice", "secret", "REGISTER", "sip:example.com", "0a4f"
    )
    text = world.text((f"Authorization: {value}", f"Contact: {CONTACT}"))
    ask = ask_in(world.send(text.replace(";rport", "")))
    assert (binding_in(ask).host, binding_in(ask).port) == ("203.0.113.9", 5062)
    world.decide(ask, Registered([ask.contacts[0][2]]))
    assert world.source() == "alice@example.com"


def test_where_an_account_registered_last() -> None:
    sources = World().engine.core.sources
    table = FlowTable(Local("TCP", "192.0.2.1", 5060, 4))
    first, second = table.get("203.0.113.9", 1, 1), table.get("203.0.113.9", 2, 2)
    sources.put(first, "alice", 10, 0)
    sources.put(second, "alice", 10, 0)
    assert sources.newest("alice") is second
    sources.drop(first)
    assert sources.newest("alice") is second
    sources.put(second, "alice", 0, 0)
    assert sources.newest("alice") is None
    sources.put(first, "alice", 10, 0)
    sources.drop(first)
    assert sources.newest("alice") is None


def test_what_is_forgotten_is_forgotten_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bindings, "FLOWS_MAX", 2)
    monkeypatch.setattr(bindings, "ACCOUNTS_MAX", 2)
    sources = World().engine.core.sources
    table = FlowTable(Local("TCP", "192.0.2.1", 5060, 4))
    for number in range(1, 5):
        for name in "abc":
            sources.put(table.get("203.0.113.9", number, number), f"{name}{number}", 10, 0)
    assert len(sources._flows) == 2
    assert len(sources._newest) == 4
