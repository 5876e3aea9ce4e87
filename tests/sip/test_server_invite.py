"""The INVITE server transaction: RFC 3261 §17.2.1 with RFC 6026, its times as the RFC gives them."""

from __future__ import annotations

import pytest

from proxy.sip.server_invite import State
from proxy.sip.stack import ServerTransaction, TimerConfig
from tests.sip.transactions import World, request

SCHEDULE = [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]


def received(world: World) -> ServerTransaction:
    assert world.receive(request("INVITE")) == [("request", "INVITE")]
    txn = world.user.requests[-1]
    txn.user = "call"
    return txn


def respond(world: World, txn: ServerTransaction, status: int) -> list[bytes]:
    world.stack.respond(txn, status, b"%d" % status, world.now)
    return world.collect()


@pytest.mark.rfc3261("17.2.1-3", "17.2.1-4", "17.2.1-5")
def test_a_retransmission_gets_the_last_provisional_again_and_never_reaches_the_user() -> None:
    world = World()
    txn = received(world)
    assert world.receive(request("INVITE")) == []
    assert world.collect() == [], "nothing was said yet"
    assert respond(world, txn, 100) == [b"100"]
    assert world.receive(request("INVITE")) == []
    assert world.collect() == [b"100"]
    assert respond(world, txn, 180) == [b"180"]
    assert world.receive(request("INVITE")) == []
    assert world.collect() == [b"180"]
    assert world.counters.retransmissions_received == 3
    assert world.counters.retransmissions_sent == 2
    assert txn.pending
    world.until(1000)
    assert world.told() == []
    assert txn.state == State.PROCEEDING


def test_responses_go_to_where_the_request_came_from() -> None:
    world, other = World(), World()
    txn = received(world)
    world.stack.respond(txn, 180, b"180", world.now)
    world.receive(request("INVITE"), other.flow)
    assert [item.flow for item in world.out] == [world.flow, world.flow]


@pytest.mark.rfc3261("17.2.1-8", "17.2.1-9", "17.2.1-12", "17.2.1-14")
def test_a_failure_is_repeated_by_timer_g_until_timer_h_gives_up() -> None:
    world = World()
    txn = received(world)
    respond(world, txn, 486)
    assert txn.state == State.COMPLETED
    assert not txn.pending
    assert txn.request is None
    world.until(31.9)
    # RFC 3261 §17.2.1: MIN(2*T1, T2), "identical to the retransmit behavior for requests in the Trying state".
    assert world.times() == SCHEDULE
    assert {data for _, data in world.sent} == {b"486"}
    assert world.told() == []
    world.until(32)
    assert world.told() == [("ack timeout",), ("terminated", "call")]
    assert txn.user is None
    assert world.terminated()
    world.until(1000)
    assert len(world.times()) == len(SCHEDULE)


@pytest.mark.rfc3261("17.2.1-9")
def test_over_a_reliable_transport_a_failure_goes_once_and_timer_h_stays() -> None:
    world = World("TCP")
    txn = received(world)
    respond(world, txn, 486)
    world.until(31.9)
    assert world.times() == [0]
    world.until(32)
    assert world.told() == [("ack timeout",), ("terminated", "call")]


def test_the_times_follow_t1_and_t2() -> None:
    world = World(config=TimerConfig(t1=0.1, t2=0.4))
    respond(world, received(world), 486)
    world.until(2)
    assert world.times() == [0, 0.1, 0.3, 0.7, 1.1, 1.5, 1.9]
    world.until(6.4)
    assert world.told() == [("ack timeout",), ("terminated", "call")]


@pytest.mark.rfc3261("17.2.1-10")
def test_a_retransmitted_invite_gets_the_failure_again() -> None:
    world = World()
    respond(world, received(world), 404)
    assert world.receive(request("INVITE")) == []
    assert world.collect() == [b"404"]


@pytest.mark.rfc3261("17.2.1-11", "17.2.1-13", "17.2.1-14")
def test_its_ack_ends_the_repetition_and_stays_here() -> None:
    world = World()
    txn = received(world)
    respond(world, txn, 486)
    world.until(0.6)
    assert world.receive(request("ACK")) == []
    assert txn.state == State.CONFIRMED
    assert txn.data is None
    assert world.receive(request("ACK")) == []
    assert world.receive(request("INVITE")) == []
    world.until(5.5)
    assert world.times() == [0, 0.5]
    assert not world.terminated()
    # RFC 3261 §17.2.1: Timer I, T4 from the ACK.
    world.until(5.6)
    assert world.told() == [("terminated", "call")]
    assert world.terminated()
    world.until(100)
    assert world.told() == []


def test_over_a_reliable_transport_the_ack_ends_it_at_once() -> None:
    world = World("TCP")
    respond(world, received(world), 486)
    assert world.receive(request("ACK")) == [("terminated", "call")]
    assert world.terminated()


@pytest.mark.rfc3261("17.2.1-6", "17.2.1-7")
@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_after_a_2xx_it_absorbs_the_invite_and_passes_acks_and_2xx_until_timer_l(transport: str) -> None:
    world = World(transport)
    txn = received(world)
    respond(world, txn, 180)
    assert respond(world, txn, 200) == [b"200"]
    assert txn.state == State.ACCEPTED
    assert not txn.pending
    assert txn.request is None
    assert txn.data is None
    world.until(0.5)
    assert world.receive(request("INVITE")) == []
    assert world.collect() == [], "the UAS repeats its 2xx, nobody else"
    assert respond(world, txn, 200) == [b"200"], "its repetition"
    assert respond(world, txn, 202) == [b"202"], "another fork's"
    assert respond(world, txn, 180) == []
    assert respond(world, txn, 486) == []
    assert world.receive(request("ACK")) == [("ack", "ACK")]
    assert world.receive(request("ACK")) == [("ack", "ACK")]
    world.until(31.9)
    assert world.receive(request("INVITE")) == []
    assert world.times() == [0, 0, 0.5, 0.5], "the stack never repeats a 2xx by itself"
    world.until(32)
    assert world.told() == [("terminated", "call")]
    assert world.terminated()


def test_a_2xx_of_another_fork_after_a_failure_is_still_sent() -> None:
    # RFC 3261 §16.7 step 5: after a final response has been sent, any 2xx is forwarded, and nothing else.
    world = World()
    txn = received(world)
    respond(world, txn, 486)
    assert respond(world, txn, 200) == [b"200"]
    assert respond(world, txn, 180) == []
    assert respond(world, txn, 487) == []
    assert txn.state == State.COMPLETED
    assert world.receive(request("INVITE")) == []
    assert world.collect() == [b"486"], "what is repeated is still the failure"
    world.receive(request("ACK"))
    assert respond(world, txn, 200) == [b"200"]
    assert txn.state == State.CONFIRMED


def test_nothing_is_sent_once_it_is_gone() -> None:
    # RFC 6026 §6: no response without its transaction.
    world = World()
    txn = received(world)
    respond(world, txn, 200)
    world.until(32)
    for status in (180, 200, 486):
        assert respond(world, txn, status) == []


def test_an_ack_before_any_final_response_means_nothing() -> None:
    world = World()
    txn = received(world)
    assert world.receive(request("ACK")) == []
    assert txn.state == State.PROCEEDING


def test_a_failed_flow_does_not_touch_it() -> None:
    # RFC 6026 §7.1: the state must stay, to absorb retransmissions of the INVITE.
    world = World("TCP")
    txn = received(world)
    world.stack.flow_failed(world.flow, world.now)
    assert world.told() == []
    assert txn.state == State.PROCEEDING
