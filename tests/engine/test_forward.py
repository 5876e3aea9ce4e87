"""RFC 3261 §16.3–16.7: what goes out, what comes back, several targets, neighbours of every kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.lease import Outcome
from policies.verdicts import Admitted
from proxy.engine.effects import AskName
from proxy.engine.events import FlowFailed, Hangup
from proxy.sip.message import Response
from tests.engine.world import CALLGATE, Phone, World, answered, bound, ringing, set_up

NUMBER = "sip:4930@example.com"


def phones(world: World) -> tuple[Phone, Phone, Phone]:
    return (
        Phone(world, "192.0.2.10", "alice"),
        Phone(world, "192.0.2.20", "provider"),
        Phone(world, "192.0.2.21", "provider"),
    )


# Several targets -----------------------------------------------------------------------------------------------------


@pytest.mark.rfc3261("16.6-34", "16.6-35", "16.6-36", "16.9-1")
@pytest.mark.parametrize("how", ["timeout", "transport", "503"])
@pytest.mark.rfc3261("8.1.3.1-2")
def test_the_next_target_is_tried_when_the_first_is_dead(world: World, how: str) -> None:
    caller, first, second = phones(world)
    caller.invite(NUMBER)
    [invite] = first.requests()
    if how == "timeout":
        world.advance(32)
    elif how == "transport":
        world.handle(FlowFailed(first.flow))
    else:
        first.answer(invite, 503, "Service Unavailable")
    retry = second.requests()[0]
    assert retry.uri == "sip:4930@192.0.2.21:5060"
    assert retry.via.branch != invite.via.branch
    second.answer(retry, 200, "OK")
    assert [status for status in caller.statuses() if status != 100] == [200]
    assert world.released == [], "one admission, whichever target answered"


def test_the_next_target_is_not_tried_when_the_callee_declines(world: World) -> None:
    caller, first, second = phones(world)
    caller.invite(NUMBER)
    [invite] = first.requests()
    first.answer(invite, 486, "Busy Here")
    assert caller.statuses() == [100, 486]
    assert not second.got()
    assert world.released == [("alice@example.com", Outcome.FAIL)]


@pytest.mark.rfc3261("16.7-24", "16.7-25")
def test_a_503_from_the_last_target_goes_up_as_500(world: World) -> None:
    caller, first, second = phones(world)
    caller.invite(NUMBER)
    for phone in (first, second):
        phone.answer(phone.requests()[0], 503, "Service Unavailable")
    assert caller.statuses() == [100, 500]


def test_a_name_is_looked_up_once(tmp_path: Path) -> None:
    named = CALLGATE.replace('["sip:192.0.2.20:5060", "sip:192.0.2.21:5060"]', '["sip:sip.provider.test"]')
    world = World(tmp_path, named)
    caller, provider, _ = phones(world)
    caller.invite(NUMBER, "c1")
    caller.invite(NUMBER, "c2")
    assert [effect.question.host for effect in world.of(AskName)] == ["sip.provider.test"]
    assert not provider.got()
    world.found("sip.provider.test", "192.0.2.20")
    assert len(provider.requests()) == 2
    caller.invite(NUMBER, "c3")
    assert len(provider.requests()) == 1


def test_a_name_that_does_not_exist_ends_the_call(tmp_path: Path) -> None:
    named = CALLGATE.replace('["sip:192.0.2.20:5060", "sip:192.0.2.21:5060"]', '["sip:sip.provider.test"]')
    world = World(tmp_path, named)
    caller, _, _ = phones(world)
    caller.invite(NUMBER)
    world.found("sip.provider.test")
    world.advance(0.1)
    assert caller.statuses() == [100, 500]
    assert world.released == [("alice@example.com", Outcome.FAIL)]
    world.idle()


def test_what_only_looks_like_an_address_is_looked_up(tmp_path: Path) -> None:
    """A socket given 999.1.1.1 would resolve it as a name, and block everybody meanwhile."""
    world = World(tmp_path)
    caller, callee, _ = phones(world)
    invite = ringing(caller, callee)
    callee.address = "999.1.1.1"
    callee.answer(invite, 200, "OK")
    [ok] = caller.got()
    assert isinstance(ok, Response)
    caller.within("INFO", ok, 2)
    assert [effect.question.host for effect in world.of(AskName)] == ["999.1.1.1"]


# Contacts of an account ----------------------------------------------------------------------------------------------


def test_an_account_is_called_over_the_flow_it_registered_from(world: World) -> None:
    """ivozprovider #323: requests to a phone behind NAT went to the private address of its Contact."""
    records = bound(("192.0.2.30", "1000"))
    world.auto = lambda leg: Admitted(leg.lease, records if leg.aor else None)
    caller, phone = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.30", "bob")
    phone.address = "10.0.0.0:5060"
    invite = ringing(caller, phone, uri="sip:bob@example.com")
    assert invite.uri == "sip:bob@10.0.0.0:5060"
    phone.answer(invite, 200, "OK")
    [ok] = caller.got()
    assert isinstance(ok, Response)
    caller.within("ACK", ok, 1)
    caller.within("BYE", ok, 2)
    assert [message.method for message in phone.requests()] == ["ACK", "BYE"]
    assert world.released == [("alice@example.com", Outcome.SUCCESS), ("bob@example.com", Outcome.SUCCESS)]


@pytest.mark.rfc3261("16.1-2", "16.7-13", "16.7-42")
def test_equal_contacts_ring_at_once_and_the_answer_cancels_the_others(world: World) -> None:
    records = bound(("192.0.2.30", "1000"), ("192.0.2.31", "1000"), ("192.0.2.32", "500"))
    world.auto = lambda leg: Admitted(leg.lease, records if leg.aor else None)
    caller = Phone(world, "192.0.2.10", "alice")
    desk, mobile, voicemail = (Phone(world, f"192.0.2.{30 + i}", "bob") for i in range(3))
    caller.invite("sip:bob@example.com")
    [at_desk], [at_mobile] = desk.requests(), mobile.requests()
    assert at_desk.via.branch != at_mobile.via.branch
    assert not voicemail.got()
    desk.answer(at_desk, 180, "Ringing", "d")
    mobile.answer(at_mobile, 180, "Ringing", "m")
    mobile.answer(at_mobile, 200, "OK", "m")
    assert [request.method for request in desk.requests()] == ["CANCEL"]
    desk.answer(at_desk, 487, "Request Terminated", "d")
    assert caller.statuses() == [100, 180, 180, 200]
    assert not voicemail.got()


@pytest.mark.rfc3261("16.7-17", "16.7-18", "16.7-20", "16.7-22")
def test_the_best_of_several_answers_goes_up(world: World) -> None:
    records = bound(("192.0.2.30", "1000"), ("192.0.2.31", "1000"), ("192.0.2.32", "500"))
    world.auto = lambda leg: Admitted(leg.lease, records if leg.aor else None)
    caller = Phone(world, "192.0.2.10", "alice")
    desk, mobile, voicemail = (Phone(world, f"192.0.2.{30 + i}", "bob") for i in range(3))
    caller.invite("sip:bob@example.com")
    desk.answer(desk.requests()[0], 500, "Oops")
    mobile.answer(mobile.requests()[0], 486, "Busy Here")
    voicemail.answer(voicemail.requests()[0], 404, "Not Found")
    assert caller.statuses()[-1] in (404, 486), "the lowest class; 500 is worse"


@pytest.mark.rfc3261("16.7-13", "16.7-21", "16.7-43")
def test_a_6xx_ends_the_search(world: World) -> None:
    records = bound(("192.0.2.30", "1000"), ("192.0.2.31", "1000"), ("192.0.2.32", "500"))
    world.auto = lambda leg: Admitted(leg.lease, records if leg.aor else None)
    caller = Phone(world, "192.0.2.10", "alice")
    desk, mobile, voicemail = (Phone(world, f"192.0.2.{30 + i}", "bob") for i in range(3))
    caller.invite("sip:bob@example.com")
    [at_desk], [at_mobile] = desk.requests(), mobile.requests()
    mobile.answer(at_mobile, 180, "Ringing", "m")
    desk.answer(at_desk, 603, "Decline", "d")
    assert [request.method for request in mobile.requests()] == ["CANCEL"]
    mobile.answer(at_mobile, 487, "Request Terminated", "m")
    assert caller.statuses()[-1] == 603
    assert not voicemail.got()


# Neighbours ----------------------------------------------------------------------------------------------------------


@pytest.mark.rfc3261("16.6-14", "16.6-15")
def test_another_transport_gets_a_record_route_for_each_side(tmp_path: Path) -> None:
    """RFC 5658 §3.1; and the in-dialog request finds its way through both."""
    world = World(tmp_path, CALLGATE.replace("sip:192.0.2.20:5060", "sip:192.0.2.20:5060;transport=tcp"))
    caller = Phone(world, "192.0.2.10", "alice")
    callee = Phone(world, "192.0.2.20", "provider", table=world.tcp)
    invite = ringing(caller, callee)
    outer, inner = invite.all_values("record-route")
    assert "transport=tcp" in outer
    assert "transport" not in inner
    callee.address += ";transport=tcp"
    callee.answer(invite, 200, "OK")
    [ok] = caller.got()
    assert isinstance(ok, Response)
    caller.within("ACK", ok, 1)
    [ack] = callee.requests()
    assert (ack.method, ack.all_values("route")) == ("ACK", [])


@pytest.mark.rfc3261("12.1.2-4", "12.2.1.1-13")
def test_proxies_on_both_sides_are_kept_in_the_path_of_a_cut(world: World) -> None:
    caller, callee, _ = phones(world)
    caller.invite(NUMBER, "c1", "Record-Route: <sip:192.0.2.99;lr>")
    [invite] = callee.requests()
    callee.send(
        "SIP/2.0 200 OK",
        *[line for line, key in zip(invite.lines, invite.keys, strict=True) if key == "via"],
        "Record-Route: <sip:192.0.2.98;lr>",
        "Record-Route: <sip:192.0.2.97;lr>",
        *[line for line, key in zip(invite.lines, invite.keys, strict=True) if key == "record-route"],
        f"From: {invite.value('from')}",
        f"To: {invite.value('to')};tag=t1",
        f"Call-ID: {invite.call_id}",
        "CSeq: 1 INVITE",
        "Contact: <sip:callee@203.0.113.5>",
    )
    _, ok = caller.got()
    assert isinstance(ok, Response)
    caller.within("ACK", ok, 1)
    world.sent.clear()
    world.handle(Hangup("c1"))
    to_callee, to_caller = world.sent
    assert b"Route: <sip:192.0.2.97;lr>, <sip:192.0.2.98;lr>" in to_callee.data
    assert b"BYE sip:callee@203.0.113.5 SIP/2.0" in to_callee.data
    assert b"Route: <sip:192.0.2.99;lr>" in to_caller.data


@pytest.mark.rfc3261("16.4-1", "16.4-2", "16.4-3")
def test_a_strict_router_before_us_is_undone(world: World) -> None:
    """RFC 3261 §16.4: our Record-Route URI in the Request-URI, the real one at the end of Route."""
    caller, callee, _, ok = set_up(world)
    [route] = ok.all_values("record-route")
    target = ok.contact_uri() or ""
    caller.request(
        "INFO",
        route.strip("<>"),
        "c1",
        2,
        ok.value("from") or "",
        ok.value("to") or "",
        f"Route: <{target}>",
    )
    [info] = callee.requests()
    assert info.uri == target
    assert info.all_values("route") == []


@pytest.mark.rfc3261("16.6-27", "16.6-28", "16.6-29", "16.6-31")
def test_a_strict_router_after_us_gets_what_it_wants(world: World) -> None:
    """RFC 3261 §16.6 step 6: its URI in the Request-URI, the real one as the last Route value."""
    caller, callee, _ = phones(world)
    callee.beyond = "<sip:192.0.2.50>"
    _, ok = answered(caller, callee)
    caller.within("INFO", ok, 2)
    [info] = [item for item in world.sent if item.data.startswith(b"INFO")]
    assert info.flow.host == "192.0.2.50"
    assert info.data.startswith(b"INFO sip:192.0.2.50 SIP/2.0")
    assert b"Route: <sip:provider@192.0.2.20:5060>" in info.data


def test_what_is_not_trusted_does_not_pass(world: World) -> None:
    caller, callee, _ = phones(world)
    caller.invite(
        NUMBER,
        "c1",
        "P-Asserted-Identity: <sip:boss@example.com>",
        "Route: <sip:198.51.100.1;lr>",
        "X-Custom: stays",
    )
    [invite] = callee.requests()
    assert "p-asserted-identity" not in invite.keys
    assert "route" not in invite.keys
    assert invite.value("x-custom") == "stays"


# Validation ----------------------------------------------------------------------------------------------------------


@pytest.mark.rfc3261("16.3-1", "16.3-2", "16.3-9", "16.3-10")
def test_max_forwards_of_zero(world: World) -> None:
    caller, callee, _ = phones(world)
    caller.send(
        f"INVITE {NUMBER} SIP/2.0",
        "Via: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK1",
        "Max-Forwards: 0",
        "From: <sip:alice@example.com>;tag=1",
        f"To: <{NUMBER}>",
        "Call-ID: x",
        "CSeq: 1 INVITE",
    )
    assert caller.statuses() == [483]
    assert not callee.got()


@pytest.mark.rfc3261("16.3-1", "16.3-2", "16.3-11", "16.3-12")
def test_an_unknown_proxy_require(world: World) -> None:
    caller, callee, _ = phones(world)
    caller.invite(NUMBER, "c1", "Proxy-Require: time-travel, levitation")
    [answer] = caller.got()
    assert isinstance(answer, Response)
    assert answer.status == 420
    assert answer.all_values("unsupported") == ["time-travel", "levitation"]
    assert not callee.got()


@pytest.mark.rfc3261("16.6-38")
def test_a_loop_is_told_from_a_spiral(world: World) -> None:
    """RFC 5393 §4.2: the same routing fields come back = loop; another Request-URI = spiral."""
    caller, callee, _ = phones(world)
    caller.invite(NUMBER)
    [invite] = callee.requests()
    caller.got()
    back = Phone(world, "192.0.2.10", "alice")
    vias = [line for line, key in zip(invite.lines, invite.keys, strict=True) if key == "via"]
    for uri, expected in ((NUMBER, 482), ("sip:4931@example.com", 100)):
        back.send(
            f"INVITE {uri} SIP/2.0",
            f"Via: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bKback{expected}",
            *vias,
            "Max-Forwards: 60",
            f"From: {invite.value('from')}",
            f"To: {invite.value('to')}",
            f"Call-ID: {invite.call_id}",
            "CSeq: 1 INVITE",
            "Contact: <sip:alice@192.0.2.10>",
        )
        assert back.statuses()[0] == expected


def test_an_invite_with_a_made_up_to_tag_is_no_way_round_admission(world: World) -> None:
    caller, callee, _ = phones(world)
    world.auto = None
    for route in ("Route: <sip:192.0.2.1;lr>", "Route: <sip:192.0.2.1;lr;c=0123456789abcdef>"):
        caller.request(
            "INVITE",
            "sip:4930@192.0.2.20",
            f"forged-{len(route)}",
            1,
            "<sip:alice@example.com>;tag=1",
            f"<{NUMBER}>;tag=2",
            route,
            "Contact: <sip:alice@192.0.2.10>",
        )
    assert caller.statuses() == [481, 481]
    assert not callee.got()


def test_a_bye_of_no_call_passes_between_those_we_know_and_for_nobody_else(world: World) -> None:
    """Of a call from before a restart. A stranger had us repeat his to whomever he named, eleven times each."""
    stranger, trunk, victim = (
        Phone(world, host, "x") for host in ("203.0.113.66", "192.0.2.20", "198.51.100.9")
    )
    answers = []
    for sender, receiver in ((stranger, victim), (stranger, trunk), (trunk, victim)):
        uri, route = f"sip:x@{receiver.address}", "Route: <sip:192.0.2.1;lr>"
        sender.request("BYE", uri, f"gone-{uri}", 1, "<sip:a@b>;tag=1", "<sip:c@d>;tag=2", route)
        answers.append((sender.statuses(), len(receiver.requests())))
    assert answers == [([481], 0), ([], 1), ([], 1)]


@pytest.mark.rfc3261("17.1-1")
@pytest.mark.rfc3261("8.2.6.1-2")
def test_options_to_ourselves(world: World) -> None:
    caller, _, _ = phones(world)
    caller.request("OPTIONS", "sip:192.0.2.1:5060", "o1", 1, "<sip:x@y>;tag=1", "<sip:192.0.2.1>")
    [answer] = caller.got()
    assert isinstance(answer, Response)
    assert answer.status == 200
    for key in ("allow", "accept", "supported"):
        assert key in answer.keys


@pytest.mark.rfc3261("16.2-2")
def test_no_408_to_a_non_invite(world: World) -> None:
    """RFC 4320 §4.2: silence, and retransmissions are absorbed."""
    caller, callee, _, ok = set_up(world)
    caller.within("INFO", ok, 2)
    world.advance(40)
    callee.got()
    assert not caller.got()


def test_a_response_of_no_transaction_goes_nowhere(world: World) -> None:
    """RFC 6026 §8.9."""
    caller, callee, invite, _ = set_up(world)
    world.advance(33)
    callee.answer(invite, 200, "OK", "t7")
    assert not caller.got()
