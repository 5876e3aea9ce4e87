"""The non-INVITE client transaction: RFC 3261 §17.1.2, its times as the RFC gives them."""

from __future__ import annotations

import pytest

from proxy.sip.client_other import State
from proxy.sip.stack import ClientTransaction, TimerConfig
from tests.sip.transactions import World, request, response, wire

BYE = wire(request("BYE"))


def sent(world: World) -> ClientTransaction:
    txn = world.stack.send("BYE", BYE, "z9hG4bK1", world.flow, "call", world.now)
    world.collect()
    return txn


@pytest.mark.rfc3261("17.1.2.2-1", "17.1.2.2-2", "17.1.2.2-3", "17.1.2.2-4", "17.1.2.2-12")
def test_timer_e_doubles_up_to_t2_and_timer_f_gives_up_after_64_t1() -> None:
    world = World()
    txn = sent(world)
    world.until(31.9)
    # RFC 3261 §17.1.2.2: "intervals of 500 ms, 1 s, 2 s, 4 s, 4 s, 4 s, etc."
    assert world.times() == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert {data for _, data in world.sent} == {BYE}
    world.until(32)
    assert world.told() == [("timeout", "BYE")]
    assert txn.state == State.TERMINATED
    assert txn.user is None
    assert world.terminated()
    world.until(1000)
    assert len(world.times()) == 11


def test_the_intervals_follow_t1_and_t2() -> None:
    world = World(config=TimerConfig(t1=1.0, t2=3.0))
    sent(world)
    world.until(17)
    assert world.times() == [0, 1, 3, 6, 9, 12, 15]


@pytest.mark.rfc3261("17.1.2.2-5", "17.1.2.2-7", "17.1.2.2-8")
def test_a_provisional_slows_retransmission_to_t2_and_does_not_stop_it() -> None:
    world = World()
    txn = sent(world)
    world.until(0.7)
    assert world.receive(response(100, "BYE")) == [("response", 100)]
    assert txn.state == State.PROCEEDING
    assert txn.pending
    world.until(31.9)
    # Timer E was set for 1.5 s while Trying; from then on every T2.
    assert world.times() == [0, 0.5, 1.5, 5.5, 9.5, 13.5, 17.5, 21.5, 25.5, 29.5]
    world.until(32)
    assert world.told() == [("timeout", "BYE")]
    assert world.terminated()


@pytest.mark.rfc3261("17.1.2.2-6", "17.1.2.2-9", "17.1.2.2-10", "17.1.2.2-11", "17.1.2.2-12")
@pytest.mark.parametrize("first", [None, 100])
@pytest.mark.parametrize("status", [200, 302, 404, 503, 603])
def test_the_first_final_response_is_passed_up_and_the_rest_absorbed(first: int | None, status: int) -> None:
    world = World()
    txn = sent(world)
    if first is not None:
        world.receive(response(first, "BYE"))
    assert world.receive(response(status, "BYE")) == [("response", status)]
    assert txn.state == State.COMPLETED
    assert not txn.pending
    assert txn.data is None
    assert world.receive(response(status, "BYE")) == []
    assert world.receive(response(200, "BYE")) == []
    assert world.receive(response(100, "BYE")) == []
    assert world.counters.retransmissions_received == 3
    world.until(4.9)
    assert not world.terminated()
    world.until(5)
    assert world.terminated()
    assert world.times() == [0]
    assert world.receive(response(status, "BYE")) == [("stray", status)]
    world.until(100)
    assert world.told() == []


@pytest.mark.rfc3261("17.1.2.2-10")
def test_a_reliable_transport_sends_once_and_is_done_with_the_final_response() -> None:
    world = World("TCP")
    sent(world)
    world.until(20)
    assert world.times() == [0]
    assert world.receive(response(200, "BYE")) == [("response", 200)]
    assert world.terminated()
    world = World("TCP")
    sent(world)
    world.until(32)
    assert world.told() == [("timeout", "BYE")]
    assert world.terminated()


@pytest.mark.rfc3261("17.1.4-1")
@pytest.mark.parametrize("transport", ["UDP", "TCP"])
@pytest.mark.parametrize("first", [None, 100])
def test_a_failed_flow_ends_it_while_it_is_pending(transport: str, first: int | None) -> None:
    world = World(transport)
    sent(world)
    if first is not None:
        world.receive(response(first, "BYE"))
    world.stack.flow_failed(world.flow, world.now)
    assert world.told() == [("transport error", "BYE")]
    assert world.terminated()


def test_a_failed_flow_is_no_news_once_there_is_a_final_response() -> None:
    world = World()
    txn = sent(world)
    world.receive(response(200, "BYE"))
    world.stack.flow_failed(world.flow, world.now)
    assert world.told() == []
    assert txn.state == State.COMPLETED
