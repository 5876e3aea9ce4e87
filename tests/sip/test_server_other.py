"""The non-INVITE server transaction: RFC 3261 §17.2.2 with RFC 4320."""

from __future__ import annotations

import pytest

from proxy.sip.server_other import State
from proxy.sip.stack import ServerTransaction
from tests.sip.transactions import World, request


def received(world: World) -> ServerTransaction:
    assert world.receive(request("BYE")) == [("request", "BYE")]
    txn = world.user.requests[-1]
    txn.user = "call"
    return txn


def respond(world: World, txn: ServerTransaction, status: int) -> list[bytes]:
    world.stack.respond(txn, status, b"%d" % status, world.now)
    return world.collect()


def test_it_sends_nothing_by_itself() -> None:
    world = World()
    txn = received(world)
    for _ in range(3):
        assert world.receive(request("BYE")) == []
    world.until(1000)
    assert world.times() == []
    assert txn.state == State.TRYING
    assert txn.pending
    assert world.counters.retransmissions_received == 3


@pytest.mark.rfc3261("17.2.2-1", "17.2.2-2", "17.2.2-4", "17.2.2-5", "17.2.2-7")
def test_a_retransmission_gets_the_last_response_again() -> None:
    world = World()
    txn = received(world)
    assert respond(world, txn, 100) == [b"100"]
    assert txn.state == State.PROCEEDING
    kept = txn.request
    assert kept is not None
    assert world.receive(request("BYE")) == []
    assert world.collect() == [b"100"]
    assert respond(world, txn, 200) == [b"200"]
    assert txn.state == State.COMPLETED
    assert txn.request is None
    assert not txn.pending
    assert world.receive(request("BYE")) == []
    assert world.collect() == [b"200"]
    assert world.counters.retransmissions_sent == 2


@pytest.mark.rfc3261("17.2.2-3", "17.2.2-4")
def test_every_provisional_is_sent_and_the_last_is_what_comes_again() -> None:
    # RFC 4320 §4.1 leaves only the 100. That is for the user to obey: the machine passes whatever it is given.
    world = World()
    txn = received(world)
    assert respond(world, txn, 100) == [b"100"]
    assert respond(world, txn, 182) == [b"182"]
    assert txn.state == State.PROCEEDING
    assert world.receive(request("BYE")) == []
    assert world.collect() == [b"182"]


@pytest.mark.rfc3261("17.2.2-6", "17.2.2-7", "17.2.2-8", "17.2.2-9", "17.2.2-10")
@pytest.mark.parametrize("status", [200, 302, 404, 503, 603])
def test_the_first_final_response_is_the_only_one_and_timer_j_ends_it(status: int) -> None:
    world = World()
    txn = received(world)
    assert respond(world, txn, status) == [b"%d" % status]
    assert respond(world, txn, 200) == []
    assert respond(world, txn, 100) == []
    world.until(31.9)
    assert world.receive(request("BYE")) == []
    assert world.collect() == [b"%d" % status]
    world.until(32)
    assert world.terminated()
    assert txn.user is None
    assert txn.data is None
    assert respond(world, txn, 200) == []
    assert world.receive(request("BYE")) == [("request", "BYE")], "unknown by now"


@pytest.mark.rfc3261("17.2.2-6", "17.2.2-10")
def test_over_a_reliable_transport_the_final_response_ends_it_at_once() -> None:
    world = World("TCP")
    txn = received(world)
    assert respond(world, txn, 200) == [b"200"]
    assert world.terminated()
    assert txn.user is None


@pytest.mark.parametrize("first", [None, 100])
def test_abandoned_it_is_silent_until_timer_j(first: int | None) -> None:
    # RFC 4320 §4.2: no 408, no late final response.
    world = World()
    txn = received(world)
    if first is not None:
        respond(world, txn, first)
    world.until(30)
    world.stack.abandon(txn, world.now)
    assert txn.state == State.SILENT
    assert not txn.pending
    assert txn.request is None
    assert world.receive(request("BYE")) == []
    assert respond(world, txn, 100) == []
    assert respond(world, txn, 408) == []
    assert world.collect() == []
    world.until(61.9)
    assert not world.terminated()
    world.until(62)
    assert world.terminated()


def test_abandoned_over_a_reliable_transport_it_is_gone() -> None:
    world = World("TCP")
    world.stack.abandon(received(world), world.now)
    assert world.terminated()


def test_abandoning_what_is_answered_changes_nothing() -> None:
    world = World()
    txn = received(world)
    respond(world, txn, 200)
    world.stack.abandon(txn, world.now)
    assert world.receive(request("BYE")) == []
    assert world.collect() == [b"200"]


def test_an_invite_cannot_be_abandoned() -> None:
    world = World()
    world.receive(request("INVITE"))
    with pytest.raises(AssertionError):
        world.stack.abandon(world.user.requests[-1], world.now)


def test_a_failed_flow_does_not_touch_it() -> None:
    world = World("TCP")
    txn = received(world)
    world.stack.flow_failed(world.flow, world.now)
    assert world.told() == []
    assert txn.state == State.TRYING
