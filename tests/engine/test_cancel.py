"""CANCEL in every phase (RFC 3261 §16.10, §9), Timer C (§16.8), and answers that come too late."""

from __future__ import annotations

import pytest

from policies.lease import Outcome
from policies.reasons import Reason
from policies.verdicts import Admitted, Refused, Unavailable
from proxy.sip.message import Response
from tests.engine.world import Phone, World, answered, ringing

FAIL = [("alice@example.com", Outcome.FAIL)]


def phones(world: World) -> tuple[Phone, Phone]:
    return Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")


def cancel(caller: Phone, call_id: str = "c1", *extra: str) -> None:
    caller.cancel("sip:4930@example.com", call_id, *extra)


def ack_of(caller: Phone, call_id: str = "c1") -> None:
    """The hop-by-hop ACK for a final error."""
    frm = f"<sip:alice@example.com>;tag=f-{call_id}"
    uri = "sip:4930@example.com"
    caller.request("ACK", uri, call_id, 1, frm, f"<{uri}>;tag=x", branch=f"z9hG4bK-inv-{call_id}-1")


def test_while_the_limiter_is_asked(world: World) -> None:
    caller, callee = phones(world)
    world.auto = None
    caller.invite("sip:4930@example.com")
    cancel(caller)
    assert caller.statuses() == [100, 200, 487]
    ack_of(caller)
    assert world.released == []
    [leg] = world.asked
    world.decide(leg, Admitted(leg.lease))
    assert not callee.got(), "nothing is forwarded for a call that is over"
    # SPEC §3: the caller's CANCEL of an admitted INVITE is a failure; the store's speed does not decide that.
    assert world.released == FAIL
    assert [record.outcome for record in world.records] == ["fail"]
    world.idle()


def test_while_the_limiter_is_asked_and_it_refuses(world: World) -> None:
    for verdict in (Refused(Reason.LINES, "1"), Unavailable()):
        world.auto = None
        caller, callee = phones(world)
        caller.invite("sip:4930@example.com")
        cancel(caller)
        assert caller.statuses() == [100, 200, 487]
        ack_of(caller)
        world.decide(world.asked.pop(), verdict)
        assert not callee.got()
        assert world.released == []
        world.idle()


@pytest.mark.rfc3261("16.6-43", "16.10-1", "16.10-2", "16.10-3")
def test_while_it_rings(world: World) -> None:
    caller, callee = phones(world)
    invite = ringing(caller, callee)
    cancel(caller, "c1", 'Reason: SIP ;cause=200 ;text="Call completed elsewhere"')
    assert caller.statuses() == [200]
    [request] = callee.requests()
    assert request.method == "CANCEL"
    assert request.via.branch == invite.via.branch
    assert request.value("reason") == 'SIP ;cause=200 ;text="Call completed elsewhere"'
    callee.answer(request, 200, "OK")
    callee.answer(invite, 487, "Request Terminated")
    assert caller.statuses() == [487]
    ack_of(caller)
    assert world.released == FAIL
    world.idle()


def test_before_any_provisional_it_waits_for_one(world: World) -> None:
    caller, callee = phones(world)
    caller.invite("sip:4930@example.com")
    [invite] = callee.requests()
    cancel(caller)
    assert caller.statuses() == [100, 200]
    assert not callee.got(), "RFC 3261 §9.1: no CANCEL before a provisional response"
    callee.answer(invite, 100, "Trying")
    assert [request.method for request in callee.requests()] == ["CANCEL"]


def test_crossing_the_200_the_call_stands(world: World) -> None:
    caller, callee = phones(world)
    invite = ringing(caller, callee)
    cancel(caller)
    [request] = callee.requests()
    callee.answer(invite, 200, "OK")
    callee.answer(request, 481, "No such call")
    _, ok = caller.got()
    assert isinstance(ok, Response)
    assert ok.status == 200
    caller.within("ACK", ok, 1)
    caller.within("BYE", ok, 2)
    assert [message.method for message in callee.requests()] == ["ACK", "BYE"]
    assert world.released == [("alice@example.com", Outcome.SUCCESS)]


def test_after_the_200_it_changes_nothing(world: World) -> None:
    caller, callee = phones(world)
    answered(caller, callee)
    cancel(caller)
    assert caller.statuses() == [200]
    assert not callee.got()
    assert world.released == []


def test_of_an_unknown_invite(world: World) -> None:
    caller, callee = phones(world)
    cancel(caller, "unheard")
    assert caller.statuses() == [481]
    assert not callee.got()


def test_a_487_that_never_comes(world: World) -> None:
    """RFC 3261 §9.1: 64*T1 after the CANCEL the client transaction is given up, and the caller gets its 487 from us."""
    caller, callee = phones(world)
    ringing(caller, callee)
    cancel(caller)
    caller.got()
    world.advance(33)
    assert 487 in caller.statuses()
    ack_of(caller)
    assert world.released == FAIL
    world.idle()


@pytest.mark.rfc3261("16.6-46", "16.6-47", "16.7-4", "16.7-5", "16.8-1", "16.8-2")
def test_timer_c_ends_a_call_that_rings_for_ever(world: World) -> None:
    caller, callee = phones(world)
    invite = ringing(caller, callee)
    world.advance(180)
    callee.got()
    callee.answer(invite, 183, "Session Progress")
    caller.got()
    world.advance(180)
    assert not callee.got(), "a 183 started Timer C anew (§16.7 step 2)"
    world.advance(2)
    request = callee.requests()[0]
    assert request.method == "CANCEL"
    callee.answer(request, 200, "OK")
    callee.answer(invite, 487, "Request Terminated")
    assert caller.statuses() == [487]
    assert world.released == FAIL


def test_a_200_after_timer_c_and_its_cancel(world: World) -> None:
    """The callee answers just as Timer C cancels it: the call stands."""
    caller, callee = phones(world)
    invite = ringing(caller, callee)
    world.advance(182)
    callee.got()
    callee.answer(invite, 200, "OK")
    assert caller.statuses() == [200]
    assert next(iter(world.engine.calls())).record.answered_at is not None


def test_a_200_after_the_caller_was_refused_is_ended_by_us(world: World) -> None:
    """No call may run that nobody is charged for: the late answer gets ACK and BYE and goes no further."""
    caller, callee = phones(world)
    caller.invite("sip:4930@example.com")
    [invite] = callee.requests()
    second = Phone(world, "192.0.2.21", "provider")
    # No sign of life from the first target: Timer B, the next target is tried and declines.
    world.advance(33)
    callee.got()
    retry = second.requests()[0]
    assert retry.via.branch != invite.via.branch
    second.answer(retry, 180, "Ringing")
    second.answer(retry, 486, "Busy Here")
    assert caller.statuses()[-1] == 486
    ack_of(caller)
    second.got()
    second.answer(retry, 200, "OK", "t9")
    assert not caller.got()
    assert world.released == FAIL


@pytest.mark.rfc3261("16.7-41")
def test_a_lost_ack_is_mended_end_to_end(world: World) -> None:
    """The callee repeats its 200 until the ACK comes; each one goes up, and the call is counted once."""
    caller, callee = phones(world)
    invite, _ = answered(caller, callee)
    for _ in range(3):
        world.advance(1)
        callee.answer(invite, 200, "OK")
        assert caller.statuses() == [200]
    assert not callee.got(), "no BYE for what is only repeated"
    world.advance(5)
    callee.answer(invite, 200, "OK")
    [ok] = caller.got()
    assert isinstance(ok, Response)
    caller.within("ACK", ok, 1)
    caller.within("ACK", ok, 1)
    assert [message.method for message in callee.requests()] == ["ACK", "ACK"]
    assert world.released == []


@pytest.mark.rfc3261("16.2-1", "17.2.1-1")
def test_a_retransmitted_invite_while_admitting_asks_once(world: World) -> None:
    caller, callee = phones(world)
    world.auto = None
    for _ in range(3):
        caller.invite("sip:4930@example.com")
    assert caller.statuses() == [100, 100, 100]
    [leg] = world.asked
    world.decide(leg, Admitted(leg.lease))
    [_] = callee.requests()
    caller.invite("sip:4930@example.com")
    assert caller.statuses() == [100]
    assert not callee.got()
    assert len(world.asked) == 1
