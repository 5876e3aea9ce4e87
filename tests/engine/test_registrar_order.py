"""REGISTERs one after the other, those that are for nobody here, and what a registrar never says."""

from __future__ import annotations

import inspect
import re

import pytest

from config.references import MEETS_A_REGISTER
from policies import places, registrations
from policies.verdicts import Registered
from proxy.engine import contacts, passing, registrar
from proxy.engine.digest import answer
from proxy.engine.effects import AskRegister, RegisterAsk
from proxy.sip.message import Response
from tests.engine.registering import CONTACT, World, ask_in, response_in


@pytest.mark.rfc3261("10.3-4")
def test_registers_are_asked_of_the_store_as_they_come() -> None:
    """One phone moves, and another of the account comes and goes; the store has not answered yet."""
    world = World()
    other = world.udp.get("203.0.113.10", 40000)
    asks: list[RegisterAsk] = []
    for contact, flow in (
        (f"{CONTACT};expires=600", None),
        ("<sip:alice@10.0.0.6:5062>;expires=600", other),
        (f"{CONTACT};expires=0", None),
        ("<sip:alice@10.0.0.6:5062>;expires=0", other),
    ):
        asks.append(ask_in(world.register(f"Contact: {contact}", flow=flow)))
    assert [ask.cseq for ask in asks] == sorted(ask.cseq for ask in asks)
    assert [[expires for _, expires, _ in ask.contacts] for ask in asks] == [[600], [600], [0], [0]]
    # Each is answered when the store has done it, and by its own transaction.
    for ask in asks:
        response = world.decide(ask, Registered([record for _, expires, record in ask.contacts if expires]))
        assert (response.status, response.cseq) == (200, ask.cseq)


def test_a_repeated_register_is_asked_once() -> None:
    world = World()
    first = response_in(world.send(world.text(())))
    proof = answer(
        first.values("www-authenticate")[0], "alice", "secret", "REGISTER", "sip:example.com", "0a"
    )
    text = world.text((f"Authorization: {proof}", f"Contact: {CONTACT}"))
    effects = [*world.send(text), *world.send(text)]
    assert [type(effect) for effect in effects] == [AskRegister]


def test_a_register_for_a_domain_that_is_not_ours() -> None:
    """As any request that is not for us: whoever sends it has to be one of ours, and no route knows a mere domain."""
    world = World(trunks={"far": {"targets": ["sip:192.0.2.30"]}}, routes=[{"match": "^", "to": "far"}])
    uri = "sip:example.org"
    challenged = response_in(world.send(world.text((), "sip:alice@example.org", uri)))
    assert challenged.status == 407
    value = answer(challenged.values("proxy-authenticate")[0], "alice", "secret", "REGISTER", uri, "0a4f")
    text = world.text((f"Proxy-Authorization: {value}",), "sip:alice@example.org", uri)
    refused: Response = response_in(world.send(text.replace("sip:whoever@", "sip:alice@")))
    assert refused.status == 404


@pytest.mark.rfc3261("10.3-1")
def test_no_reason_that_a_register_meets_may_be_made_a_6xx() -> None:
    """config/references.py refuses one (tests/config/bad/refusal-6xx-of-a-register.yaml) for each reason named here."""
    named = set()
    for module in (registrar, passing, contacts, registrations, places):
        named |= set(re.findall(r"\bReason\.([A-Z_]+)", inspect.getsource(module)))
    assert {name.lower() for name in named} == set(MEETS_A_REGISTER)
    for module in (registrar, passing, contacts):
        assert not re.search(r"\bAnswer\(\s*6\d\d", inspect.getsource(module))
