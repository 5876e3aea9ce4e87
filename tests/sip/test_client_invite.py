"""The INVITE client transaction: RFC 3261 §17.1.1 with RFC 6026, its times as the RFC gives them."""

from __future__ import annotations

import pytest

from proxy.sip.client_invite import State
from proxy.sip.message import Request
from proxy.sip.parse import parse
from proxy.sip.stack import ClientTransaction, TimerConfig
from tests.sip.transactions import World, request, response, wire

INVITE = wire(request("INVITE"))


def sent(world: World) -> ClientTransaction:
    txn = world.stack.send("INVITE", INVITE, "z9hG4bK1", world.flow, "call", world.now)
    world.collect()
    return txn


def ack_tags(world: World) -> list[str]:
    """The To tags of the ACKs sent so far."""
    tags = []
    for _, data in world.sent:
        message = parse(data)
        assert isinstance(message, Request)
        if message.method == "ACK":
            tags.append(message.to_tag)
    return tags


@pytest.mark.rfc3261(
    "17.1.1.2-1",
    "17.1.1.2-2",
    "17.1.1.2-3",
    "17.1.1.2-5",
    "17.1.1.2-6",
    "17.1.1.2-7",
    "17.1.1.2-8",
    "17.1.1.2-11",
    "17.1.1.2-12",
    "17.1.1.2-23",
)
def test_timer_a_doubles_and_timer_b_gives_up_after_64_t1() -> None:
    world = World()
    txn = sent(world)
    assert txn.state == State.CALLING
    world.until(31.9)
    assert world.times() == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert {data for _, data in world.sent} == {INVITE}
    assert world.told() == []
    assert world.counters.retransmissions_sent == 6
    world.until(32.0)
    assert world.told() == [("timeout", "INVITE"), ("terminated", "call")]
    assert txn.state == State.TERMINATED
    assert world.terminated()
    world.until(1000)
    assert len(world.times()) == 7


@pytest.mark.rfc3261("17.1.1.2-10")
def test_all_times_scale_with_t1_but_timer_d_keeps_its_minimum() -> None:
    world = World(config=TimerConfig(t1=0.1))
    sent(world)
    world.until(100)
    assert world.times() == [0, 0.1, 0.3, 0.7, 1.5, 3.1, 6.3]
    assert world.told()[0] == ("timeout", "INVITE")
    world = World(config=TimerConfig(t1=0.1))
    sent(world)
    world.receive(response(486))
    world.until(31.99)
    assert not world.terminated()
    world.until(32)
    assert world.terminated()


@pytest.mark.rfc3261("17.1.1.2-4", "17.1.1.2-5")
def test_a_reliable_transport_sends_once_and_still_gives_up() -> None:
    world = World("TCP")
    sent(world)
    world.until(31.9)
    assert world.times() == [0]
    world.until(32)
    assert world.told() == [("timeout", "INVITE"), ("terminated", "call")]


@pytest.mark.rfc3261("17.1.1.2-9", "17.1.1.2-13", "17.1.1.2-14", "17.1.1.2-15")
def test_a_provisional_stops_retransmission_and_timer_b_for_good() -> None:
    world = World()
    txn = sent(world)
    world.until(0.7)
    assert world.receive(response(100)) == [("response", 100)]
    assert world.receive(response(180)) == [("response", 180)]
    assert world.receive(response(180)) == [("response", 180)]
    world.until(500)
    assert world.times() == [0, 0.5]
    assert txn.state == State.PROCEEDING
    assert txn.pending
    assert txn.data == INVITE, "what a CANCEL is built from"
    assert world.told() == []


@pytest.mark.rfc3261("17.1.1.2-16", "17.1.1.2-17", "17.1.1.2-19", "17.1.1.2-20", "17.1.1.2-21", "17.1.1.2-23")
@pytest.mark.parametrize("first", [None, 180])
@pytest.mark.parametrize("status", [302, 486, 503, 600])
def test_a_failure_is_acknowledged_here_and_again_each_time_it_comes_again(
    first: int | None, status: int
) -> None:
    world = World()
    txn = sent(world)
    if first is not None:
        world.receive(response(first))
    assert world.receive(response(status, to_tag="x")) == [("response", status)]
    world.collect()
    assert ack_tags(world) == ["x"]
    assert txn.state == State.COMPLETED
    assert not txn.pending
    world.until(3)
    assert world.receive(response(status, to_tag="x")) == []
    world.collect()
    assert ack_tags(world) == ["x", "x"]
    assert world.counters.retransmissions_received == 1
    assert world.counters.retransmissions_sent == 1
    # RFC 3261 §17.1.1.2: Timer D, 32 s from entering Completed, not from the last retransmission.
    world.until(31.9)
    assert world.receive(response(status, to_tag="x")) == []
    world.until(32)
    assert world.told() == [("terminated", "call")]
    assert world.terminated()
    assert world.receive(response(status, to_tag="x")) == [("stray", status)]
    assert world.collect() == []


@pytest.mark.rfc3261("17.1.1.2-18")
def test_the_ack_goes_where_the_invite_went_though_the_answer_came_from_elsewhere() -> None:
    world, other = World(), World()
    sent(world)
    world.receive(response(486), other.flow)
    assert [item.flow for item in world.out] == [world.flow]


@pytest.mark.rfc3261("17.1.1.2-17", "17.1.1.2-19", "17.1.1.2-23")
def test_over_a_reliable_transport_a_failure_ends_it_at_once() -> None:
    world = World("TCP")
    sent(world)
    assert world.receive(response(404)) == [("response", 404), ("terminated", "call")]
    world.collect()
    assert ack_tags(world) == ["b"]
    assert world.terminated()


@pytest.mark.rfc3261("17.1.1.2-22")
@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_every_2xx_is_passed_up_until_timer_m_and_none_is_acknowledged(transport: str) -> None:
    world = World(transport)
    txn = sent(world)
    world.receive(response(180))
    assert world.receive(response(200, to_tag="x")) == [("response", 200)]
    assert txn.state == State.ACCEPTED
    assert txn.data is None
    world.until(20)
    assert world.receive(response(200, to_tag="x")) == [("response", 200)]
    assert world.receive(response(202, to_tag="y")) == [("response", 202)]
    assert world.receive(response(180, to_tag="y")) == []
    assert world.receive(response(487, to_tag="y")) == []
    world.until(31.9)
    assert not world.terminated()
    world.until(32)
    assert world.terminated()
    assert world.told() == [("terminated", "call")]
    assert world.times() == [0], "an ACK for a 2xx is the caller's"
    assert world.receive(response(200, to_tag="x")) == [("stray", 200)]


@pytest.mark.rfc3261("17.1.1.2-22")
def test_a_2xx_without_any_provisional_is_accepted_too() -> None:
    world = World()
    txn = sent(world)
    assert world.receive(response(200)) == [("response", 200)]
    assert txn.state == State.ACCEPTED
    world.until(31)
    assert world.times() == [0]


def test_a_2xx_of_another_fork_after_a_failure_is_passed_up() -> None:
    world = World()
    txn = sent(world)
    world.receive(response(603, to_tag="x"))
    assert world.receive(response(200, to_tag="y")) == [("response", 200)]
    assert txn.state == State.COMPLETED
    world.collect()
    assert ack_tags(world) == ["x"]


def test_after_a_cancel_it_is_given_up_when_no_final_response_comes() -> None:
    # RFC 3261 §9.1: an RFC 2543 UAS sends no 487, so 64*T1 after the CANCEL the INVITE counts as cancelled.
    world = World()
    sent(world)
    world.receive(response(180))
    world.until(10)
    world.stack.send("CANCEL", b"CANCEL", "z9hG4bK1", world.flow, None, world.now)
    assert world.receive(response(200, "CANCEL")) == [("response", 200)]
    world.until(41.9)
    assert world.told() == []
    world.until(42)
    assert world.told() == [("timeout", "INVITE"), ("terminated", "call")]
    assert world.terminated()


def test_a_cancel_too_early_still_limits_what_comes_after_it() -> None:
    # RFC 3261 §9.1 wants a provisional response first; the table has every pair all the same.
    world = World()
    sent(world)
    world.stack.send("CANCEL", b"CANCEL", "z9hG4bK1", world.flow, None, world.now)
    world.until(1)
    assert world.receive(response(180)) == [("response", 180)]
    world.until(32)
    assert ("timeout", "INVITE") in world.told()
    assert world.terminated()


@pytest.mark.parametrize("status", [200, 487])
def test_a_final_response_after_the_cancel_counts_as_usual(status: int) -> None:
    world = World()
    sent(world)
    world.receive(response(180))
    world.stack.send("CANCEL", b"CANCEL", "z9hG4bK1", world.flow, None, world.now)
    world.receive(response(200, "CANCEL"))
    assert world.receive(response(status)) == [("response", status)]
    world.until(100)
    assert world.told() == [("terminated", "call")]


@pytest.mark.rfc3261("17.1.4-1")
@pytest.mark.parametrize("transport", ["UDP", "TCP"])
@pytest.mark.parametrize("first", [None, 180])
def test_a_failed_flow_ends_it_while_it_is_pending(transport: str, first: int | None) -> None:
    world = World(transport)
    sent(world)
    if first is not None:
        world.receive(response(first))
    world.stack.flow_failed(world.flow, world.now)
    assert world.told() == [("transport error", "INVITE"), ("terminated", "call")]
    assert world.terminated()
    world.until(100)
    assert world.told() == []


def test_a_failed_flow_is_no_news_once_there_is_a_final_response() -> None:
    world = World()
    sent(world)
    world.receive(response(486))
    world.stack.flow_failed(world.flow, world.now)
    assert world.told() == [("terminated", "call")]
    world = World()
    txn = sent(world)
    world.receive(response(200))
    world.stack.flow_failed(world.flow, world.now)
    assert world.told() == []
    assert txn.state == State.ACCEPTED
