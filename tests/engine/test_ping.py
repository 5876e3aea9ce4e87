"""Pings of ours within a dialog: both sides, no number of theirs disturbed; who is gone ends the call, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.lease import Outcome
from proxy.sip.message import Request, Response
from tests.engine.world import CALLGATE, Phone, World, answered, set_up

PINGS = CALLGATE + "dialog_ping: {enabled: yes, every: 60s, lost_after: 2}\n"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, PINGS)


def one(phone: Phone, method: str) -> Request:
    """The one that came, retransmissions apart."""
    found = {request.via.branch: request for request in phone.requests() if request.method == method}
    [request] = found.values()
    return request


def test_both_sides_are_asked_and_their_own_numbers_stay_theirs(world: World) -> None:
    caller, callee, invite, ok = set_up(world)
    for _ in range(3):
        world.advance(60)
        to_callee, to_caller = one(callee, "OPTIONS"), one(caller, "OPTIONS")
        assert (to_callee.from_tag, to_callee.to_tag, to_callee.cseq) == (invite.from_tag, "t1", 1)
        assert (to_caller.from_tag, to_caller.to_tag, to_caller.cseq) == ("t1", invite.from_tag, 0)
        callee.answer(to_callee, 200, "OK")
        # Those that take an equal number for an old one have found the dialog all the same (pjsip).
        caller.answer(to_caller, 500, "Invalid CSeq")
    # What the ends send next is what they would have sent anyway.
    caller.within("INFO", ok, 2)
    info = one(callee, "INFO")
    assert info.cseq == 2
    callee.answer(info, 200, "OK")
    callee.back("INFO", invite, "t1", 1)
    [info] = [message for message in caller.got() if isinstance(message, Request)]
    assert info.cseq == 1
    caller.answer(info, 200, "OK")
    world.advance(60)
    assert one(callee, "OPTIONS").cseq == 2
    assert world.released == []


@pytest.mark.parametrize("gone", ["caller", "callee"])
def test_a_481_ends_the_call_on_both_sides(world: World, gone: str) -> None:
    caller, callee, _, _ = set_up(world)
    world.advance(60)
    to_callee, to_caller = one(callee, "OPTIONS"), one(caller, "OPTIONS")
    if gone == "callee":
        callee.answer(to_callee, 481, "Call/Transaction Does Not Exist")
        caller.answer(to_caller, 200, "OK")
    else:
        callee.answer(to_callee, 200, "OK")
        caller.answer(to_caller, 481, "Call/Transaction Does Not Exist")
    for phone in (caller, callee):
        bye = one(phone, "BYE")
        assert bye.value("reason") == 'SIP ;cause=481 ;text="dialog lost"'
        phone.answer(bye, 200, "OK")
    assert world.released == [("alice@example.com", Outcome.SUCCESS)]
    world.idle()


def test_one_lost_ping_is_no_lost_call_and_two_are(world: World) -> None:
    caller, callee, _, _ = set_up(world)
    for silent in (True, False, True, True):
        world.advance(60)
        caller.answer(one(caller, "OPTIONS"), 200, "OK")
        pings = [request for request in callee.requests() if request.method == "OPTIONS"]
        assert world.released == []
        if not silent:
            callee.answer(pings[-1], 405, "Method Not Allowed")
    world.advance(40)
    assert one(caller, "BYE").value("reason") == 'SIP ;cause=481 ;text="dialog lost"'
    assert world.released == [("alice@example.com", Outcome.SUCCESS)]


def test_the_caller_is_not_asked_before_its_ack(world: World) -> None:
    caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
    answered(caller, callee)
    world.advance(60)
    assert [request.method for request in callee.requests()] == ["OPTIONS"]
    assert not caller.requests()


def test_who_refreshes_is_not_asked(tmp_path: Path) -> None:
    world = World(tmp_path, PINGS + "session_timers: {enabled: yes}\n")
    caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
    caller.invite("sip:4930@example.com", "c1", "Supported: timer")
    callee.answer(callee.requests()[0], 200, "OK")
    caller.within("ACK", caller.got()[-1], 1)  # type: ignore[arg-type]
    callee.got()
    world.advance(600)
    assert not callee.got()
    assert not caller.got()


def test_who_cannot_refresh_is_asked(tmp_path: Path) -> None:
    world = World(tmp_path, PINGS + "session_timers: {enabled: yes}\n")
    caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
    caller.invite("sip:4930@example.com", "c1", "Supported: timer")
    callee.answer(callee.requests()[0], 200, "OK")
    ok = caller.got()[-1]
    assert isinstance(ok, Response)
    caller.within("ACK", ok, 1)
    callee.got()
    caller.within("UPDATE", ok, 2, "Supported: timer", "Session-Expires: 1800;refresher=uac")
    callee.answer(one(callee, "UPDATE"), 501, "Not Implemented")
    caller.got()
    world.advance(60)
    one(callee, "OPTIONS")
    one(caller, "OPTIONS")


def test_nobody_is_asked_after_the_end(world: World) -> None:
    caller, callee, _, ok = set_up(world)
    caller.within("BYE", ok, 2)
    callee.answer(one(callee, "BYE"), 200, "OK")
    caller.got()
    world.advance(120)
    assert not callee.got()
    assert not caller.got()
    world.idle()
    assert len(world.engine.timers) == 0


def test_a_late_answer_to_a_ping_ends_nothing_twice(world: World) -> None:
    caller, callee, _, ok = set_up(world)
    world.advance(60)
    ping = one(callee, "OPTIONS")
    caller.within("BYE", ok, 2)
    callee.answer(ping, 481, "Call/Transaction Does Not Exist")
    callee.answer(one(callee, "BYE"), 200, "OK")
    assert world.released == [("alice@example.com", Outcome.SUCCESS)]
    assert len(world.records) == 1
