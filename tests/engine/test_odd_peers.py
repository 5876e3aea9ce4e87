"""What no standard lets a peer do, and some do. Each story was found by tests/fuzz/test_engine.py."""

from __future__ import annotations

import pytest

from policies.lease import Outcome
from proxy.engine.events import Hangup
from proxy.sip.message import Response
from tests.engine.world import Phone, World, answered, ringing, set_up


def test_a_dialog_that_is_lost_while_its_bye_waits_leaves_no_call(world: World) -> None:
    # Story: hung up before the ACK, the caller's BYE waits 64*T1; meanwhile a request within the dialog got no answer,
    # which counted the dialog as over, so nobody ended the wait and the call stayed in memory for ever.
    caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
    _, ok = answered(caller, callee)
    caller.within("INFO", ok, 2)
    [info] = callee.requests()
    world.handle(Hangup("c1"))
    [bye] = callee.requests()
    callee.answer(bye, 200, "OK")
    callee.answer(info, 481, "Call/Transaction Does Not Exist")
    assert caller.statuses() == [481]
    assert caller.got() == []
    world.advance(32.1)
    [bye] = caller.requests()
    assert bye.method == "BYE"
    caller.answer(bye, 200, "OK")
    world.idle()


def test_an_ack_for_a_dialog_without_2xx_acknowledges_nothing(world: World) -> None:
    # Story: an ACK with the tag of a 180 let the caller's BYE go before the real ACK; after the cut it took away from
    # the BYEs under way, and the call stayed for ever.
    caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
    invite = ringing(caller, callee)
    callee.answer(invite, 183, "Session Progress", "t2")
    [progress] = caller.got()
    assert isinstance(progress, Response)
    callee.answer(invite, 200, "OK")
    caller.got()
    world.handle(Hangup("c1"))
    callee.requests()
    caller.within("ACK", progress, 1)
    callee.got()
    assert caller.got() == []
    world.advance(100)
    world.idle()


def test_our_bye_takes_from_a_contact_only_what_may_stand_in_a_request_line(world: World) -> None:
    # RFC 3261 §19.1.1. Story: `BYE sip:x@host;method=INVITE?Route=… SIP/2.0` went out.
    caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
    invite = ringing(caller, callee)
    callee.send(
        "SIP/2.0 200 OK",
        *[f"Via: {value}" for value in invite.values("via")],
        *[f"Record-Route: {value}" for value in invite.values("record-route")],
        f"From: {invite.value('from')}",
        f"To: {invite.value('to')};tag=t1",
        f"Call-ID: {invite.call_id}",
        "CSeq: 1 INVITE",
        "Contact: <sip:provider@192.0.2.20;method=INVITE;x=1?Route=%3Csip:elsewhere%3E>",
    )
    world.handle(Hangup("c1"))
    [bye] = callee.requests()
    assert bye.uri == "sip:provider@192.0.2.20;x=1"
    world.advance(100)
    world.idle()


@pytest.mark.parametrize(
    "routes", ["<sip:192.0.2.\xee1;lr>", "sip:192.0.2.30;lr", "<sip:192.0.2.30;lr>, <sip:[;lr>"]
)
def test_a_route_set_that_cannot_be_read_is_none(world: World, routes: str) -> None:
    caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
    caller.invite("sip:4930@example.com", "c1", f"Record-Route: {routes}")
    caller.got()
    [invite] = callee.requests()
    ours = invite.values("record-route")[0]
    callee.send(
        "SIP/2.0 200 OK",
        *[f"Via: {value}" for value in invite.values("via")],
        f"Record-Route: {routes}, {ours}",
        f"From: {invite.value('from')}",
        f"To: {invite.value('to')};tag=t1",
        f"Call-ID: {invite.call_id}",
        "CSeq: 1 INVITE",
        f"Contact: <sip:provider@{callee.address}>",
    )
    [ok] = caller.got()
    assert isinstance(ok, Response)
    world.handle(Hangup("c1"))
    world.advance(33)
    byes = {request.call_id: request for phone in (caller, callee) for request in phone.requests()}
    assert byes["c1"].values("route") == []
    world.advance(100)
    world.idle()


@pytest.mark.rfc3261("16.7-6")
@pytest.mark.parametrize("status", [183, 200, 486])
def test_a_response_without_the_callers_via_goes_no_further(world: World, status: int) -> None:
    # RFC 3261 §16.7 step 3. Story: it went to the caller, with no Via at all.
    caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
    invite = ringing(caller, callee)
    callee.send(
        f"SIP/2.0 {status} Reason",
        f"Via: {invite.via.value}",
        f"From: {invite.value('from')}",
        f"To: {invite.value('to')};tag=t1",
        f"Call-ID: {invite.call_id}",
        "CSeq: 1 INVITE",
        f"Contact: <sip:provider@{callee.address}>",
    )
    methods = [request.method for request in callee.requests()]
    if status < 200:
        assert caller.got() == []
        callee.answer(invite, 486, "Busy Here")
        assert caller.statuses() == [486]
    else:
        # A branch that failed; the callee who thinks it has answered is told that it has not.
        assert caller.statuses() == [500]
        assert methods == (["ACK", "BYE"] if status == 200 else ["ACK"])
    assert world.released == [("alice@example.com", Outcome.FAIL)]
    world.idle()


def test_a_second_2xx_without_a_via_does_not_end_the_call(world: World) -> None:
    _, callee, invite, ok = set_up(world)
    again = [f"{line}" for line, key in zip(ok.lines, ok.keys, strict=True) if key != "via"]
    callee.send("SIP/2.0 200 OK", f"Via: {invite.via.value}", *again[:-1])
    assert callee.got() == []
    assert len(world.engine.core.calls) == 1


def test_a_caller_at_the_end_of_its_numbers_gets_a_number_all_the_same(world: World) -> None:
    # RFC 3261 §8.1.1.5. Story: our BYE said CSeq: 4294967296.
    caller, callee, _, ok = set_up(world)
    caller.within("INFO", ok, 2**32 - 1)
    callee.got()
    world.handle(Hangup("c1"))
    [bye] = callee.requests()
    assert bye.cseq == 2**32 - 1
    world.advance(100)
    world.idle()


@pytest.mark.rfc3261("16.6-7")
def test_a_strict_routers_last_route_gives_only_what_may_stand_in_a_request_line(world: World) -> None:
    caller, callee, _, ok = set_up(world)
    ours = ok.all_values("record-route")[0].strip("<>")
    caller.request(
        "INFO",
        ours,
        "c1",
        2,
        ok.value("from") or "",
        ok.value("to") or "",
        "Route: <sip:provider@192.0.2.20;method=BYE?Route=%3Csip:a%3E>",
    )
    [info] = callee.requests()
    assert info.uri == "sip:provider@192.0.2.20"
