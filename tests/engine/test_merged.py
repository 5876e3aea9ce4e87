"""Merged requests (RFC 3261 §8.2.2.2): what was forked on its way to us is answered 482, but for the first copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.verdicts import Registered, Unavailable
from proxy.engine.digest import answer
from proxy.engine.effects import AskRegister
from proxy.engine.events import RegisterDecided
from proxy.sip.message import Response
from tests.engine.test_passing import Stand
from tests.engine.world import Phone, World

OURS = "sip:192.0.2.1:5060"
ALICE = "<sip:alice@example.com>"


class Forked:
    """A client whose requests come by several ways, each with a branch of its own."""

    def __init__(self, world: World, address: str = "203.0.113.9") -> None:
        self.world = world
        self.phone = Phone(world, address, "alice")
        self.branches = 0

    def sends(
        self,
        method: str,
        *extra: str,
        uri: str = OURS,
        call_id: str = "r1",
        cseq: int = 1,
        tag: str = "a",
        to_tag: str = "",
    ) -> Response | None:
        """One copy; what it is answered at once, None: nothing yet."""
        self.branches += 1
        branch = f"z9hG4bK-copy-{self.branches}"
        to = ALICE + (f";tag={to_tag}" if to_tag else "")
        self.phone.request(method, uri, call_id, cseq, f"{ALICE};tag={tag}", to, *extra, branch=branch)
        found = self.phone.got()
        assert len(found) <= 1
        if not found:
            return None
        assert isinstance(found[0], Response)
        return found[0]

    def status(self, method: str, *extra: str, call_id: str = "r1", cseq: int = 1, tag: str = "a") -> int:
        response = self.sends(method, *extra, call_id=call_id, cseq=cseq, tag=tag)
        return response.status if response is not None else 0


@pytest.fixture
def client(world: World) -> Forked:
    return Forked(world)


@pytest.mark.rfc3261("8.2.2.2-1", "8.2.2.2-2")
def test_the_second_copy_of_an_options_is_a_loop(client: Forked) -> None:
    assert client.status("OPTIONS") == 200
    assert client.status("OPTIONS") == 482
    assert client.status("OPTIONS") == 482
    # Each of the three alone makes it another request.
    assert client.status("OPTIONS", cseq=2) == 200
    assert client.status("OPTIONS", tag="b") == 200
    assert client.status("OPTIONS", call_id="r2") == 200
    # Once the transaction of the first is over nobody remembers it.
    client.world.advance(33)
    assert client.status("OPTIONS") == 200


@pytest.mark.rfc3261("8.2.2.2-1", "8.2.2.2-2")
def test_the_second_copy_of_a_register_never_gets_to_the_store(client: Forked) -> None:
    contact = "Contact: <sip:alice@203.0.113.9>"
    challenged = client.sends("REGISTER", contact, uri="sip:example.com")
    assert challenged is not None
    assert challenged.status == 401
    copy = client.sends("REGISTER", contact, uri="sip:example.com")
    assert copy is not None
    assert copy.status == 482
    # A client that answers the challenge without raising its CSeq is no copy of anything; what forks that is.
    value = answer(
        challenged.values("www-authenticate")[0], "alice", "secret", "REGISTER", "sip:example.com", "0a4f"
    )
    lines = (contact, f"Authorization: {value}")
    assert client.sends("REGISTER", *lines, uri="sip:example.com") is None
    copy = client.sends("REGISTER", *lines, uri="sip:example.com")
    assert copy is not None
    assert copy.status == 482
    [asked] = client.world.of(AskRegister)
    records = [record for _, _, record in asked.ask.contacts]
    client.world.handle(RegisterDecided(asked.ask, Registered(records)))
    assert client.phone.statuses() == [200]
    copy = client.sends("REGISTER", *lines, uri="sip:example.com")
    assert copy is not None
    assert copy.status == 482


def test_who_is_told_503_may_try_the_next_server_which_may_be_us(client: Forked) -> None:
    """RFC 3263 §4.3: the same request in a new transaction, maybe to another address of ours; 482 is final."""
    contact = "Contact: <sip:alice@203.0.113.9>"
    challenged = client.sends("REGISTER", contact, uri="sip:example.com")
    assert challenged is not None
    value = answer(
        challenged.values("www-authenticate")[0], "alice", "secret", "REGISTER", "sip:example.com", "0a4f"
    )
    lines = (contact, f"Authorization: {value}")
    for n in range(2):
        assert client.sends("REGISTER", *lines, uri="sip:example.com", cseq=2) is None
        asked = client.world.of(AskRegister)
        assert len(asked) == n + 1
        client.world.handle(RegisterDecided(asked[-1].ask, Unavailable()))
        assert client.phone.statuses() == [503]
    client.world.advance(33)
    assert not client.world.engine.core.stack._identities


def test_what_is_remembered_goes_with_its_transaction(client: Forked) -> None:
    for number in range(100):
        client.sends("OPTIONS", call_id=f"r{number}")
        client.sends("REGISTER", call_id=f"r{number}", uri="sip:example.com")
    stack = client.world.engine.core.stack
    assert len(stack._identities) == 200
    client.world.advance(33)
    assert not stack._identities
    client.world.idle()


def test_a_copy_within_a_dialog_is_no_merged_request(client: Forked) -> None:
    for _ in range(2):
        response = client.sends("OPTIONS", to_tag="t")
        assert response is not None
        assert response.status == 481


def test_both_copies_of_a_register_that_we_only_pass_on_are_passed_on(tmp_path: Path) -> None:
    """There we are a proxy, and it is for the registrar to find that out."""
    stand = Stand(tmp_path)
    for branch in ("z9hG4bK-one", "z9hG4bK-two"):
        stand.phone.request(
            "REGISTER",
            "sip:pbx.example.net",
            "reg",
            1,
            "<sip:alice@pbx.example.net>;tag=a",
            "<sip:alice@pbx.example.net>",
            branch=branch,
        )
    assert [request.method for request in stand.pbx.requests()] == ["REGISTER", "REGISTER"]
