"""Requests of our own within somebody's dialog (RFC 3261 §12.2.1.1), and what their answers mean to us (§8.1.3)."""

from __future__ import annotations

import pytest

from proxy.engine.events import Hangup
from proxy.sip.message import Request, Response
from tests.engine.test_cut import one_bye
from tests.engine.world import Phone, World, set_up

NUMBER = "sip:4930@example.com"


def answer(
    callee: Phone, invite: Request, *extra: str, tag: str = ";tag=t1", contact: str | None = None
) -> None:
    """A 200 to the INVITE with these Record-Routes below ours."""
    callee.send(
        "SIP/2.0 200 OK",
        *[f"Via: {value}" for value in invite.values("via")],
        *extra,
        *[f"Record-Route: {value}" for value in invite.values("record-route")],
        f"From: {invite.value('from')}",
        f"To: {invite.value('to')}{tag}",
        f"Call-ID: {invite.call_id}",
        f"CSeq: {invite.cseq} INVITE",
        f"Contact: {contact or f'<sip:provider@{callee.address}>'}",
    )


def up(
    world: World, asks: tuple[str, ...] = (), says: tuple[str, ...] = (), cseq: int = 1
) -> tuple[Phone, Phone, Request, Response]:
    """A call with these lines in its INVITE and its 200."""
    caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
    caller.invite(NUMBER, "c1", *asks, cseq=cseq)
    [invite] = callee.requests()
    answer(callee, invite, *says)
    ok = caller.got()[-1]
    assert isinstance(ok, Response)
    caller.within("ACK", ok, cseq)
    callee.got()
    return caller, callee, invite, ok


@pytest.mark.rfc3261("12.1.1-8", "12.1.1-9", "12.1.1-11", "12.1.1-12", "12.1.1-13", "12.1.1-15")
@pytest.mark.rfc3261("12.1.2-5", "12.1.2-6", "12.1.2-7", "12.1.2-9", "12.1.2-10", "12.1.2-12")
@pytest.mark.rfc3261("12.2.1.1-1", "12.2.1.1-2", "12.2.1.1-3", "12.2.1.1-4", "12.2.1.1-6")
@pytest.mark.rfc3261("12.2.1.1-9", "12.2.1.1-10", "12.2.1.1-11", "12.2.1.1-12")
def test_a_bye_is_what_the_other_side_would_have_sent(world: World) -> None:
    caller, callee, invite, _ = up(world, cseq=7)
    world.handle(Hangup("c1"))
    to_callee, to_caller = one_bye(callee), one_bye(caller)
    alice, number = "<sip:alice@example.com>;tag=f-c1", f"<{NUMBER}>;tag=t1"
    assert (to_callee.value("from"), to_callee.value("to")) == (alice, number)
    assert (to_caller.value("from"), to_caller.value("to")) == (number, alice)
    assert (to_callee.uri, to_caller.uri) == ("sip:provider@192.0.2.20:5060", "sip:alice@192.0.2.10:5060")
    assert to_callee.value("cseq") == "8 BYE"
    # The callee has numbered nothing yet.
    assert to_caller.value("cseq") == "1 BYE"
    for bye in (to_callee, to_caller):
        assert bye.call_id == invite.call_id
        assert bye.values("route") == []


@pytest.mark.rfc3261("12.1.1-7", "12.1.2-4", "12.2.1.1-13")
def test_a_route_set_keeps_its_order_and_parameters_on_each_side(world: World) -> None:
    _, _, _, _ = up(
        world,
        ("Record-Route: <sip:192.0.2.90;lr;a=1>;x=2, <sip:192.0.2.91;lr>",),
        ("Record-Route: <sip:192.0.2.98;lr>, <sip:192.0.2.97;lr;b=3>;y=4",),
    )
    world.sent.clear()
    world.handle(Hangup("c1"))
    to_callee, to_caller = (item.data.decode() for item in world.sent)
    assert to_callee.startswith("BYE sip:provider@192.0.2.20:5060 SIP/2.0\r\n")
    assert "\r\nRoute: <sip:192.0.2.97;lr;b=3>;y=4, <sip:192.0.2.98;lr>\r\n" in to_callee
    assert to_caller.startswith("BYE sip:alice@192.0.2.10:5060 SIP/2.0\r\n")
    assert "\r\nRoute: <sip:192.0.2.90;lr;a=1>;x=2, <sip:192.0.2.91;lr>\r\n" in to_caller


@pytest.mark.rfc3261("12.2.1.1-14", "12.2.1.1-15", "12.2.1.1-16")
def test_a_strict_router_gets_a_bye_as_it_wants_it(world: World) -> None:
    up(world, (), ("Record-Route: <sip:192.0.2.98;lr>, <sip:192.0.2.97;method=INVITE;z=1>",))
    world.sent.clear()
    world.handle(Hangup("c1"))
    to_callee = world.sent[0].data.decode()
    assert to_callee.startswith("BYE sip:192.0.2.97;z=1 SIP/2.0\r\n")
    assert "\r\nRoute: <sip:192.0.2.98;lr>, <sip:provider@192.0.2.20:5060>\r\n" in to_callee


@pytest.mark.rfc3261("12.1.1-14", "12.1.2-11", "12.2.1.1-5")
def test_sides_without_tags_are_hung_up_without_tags(world: World) -> None:
    caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
    contact = f"Contact: <sip:alice@{caller.address}>"
    caller.request("INVITE", NUMBER, "c1", 1, "<sip:alice@example.com>", f"<{NUMBER}>", contact)
    [invite] = callee.requests()
    answer(callee, invite, tag="")
    assert caller.statuses() == [100, 200]
    world.handle(Hangup("c1"))
    to_callee = one_bye(callee)
    world.advance(33)
    to_caller = caller.requests()[0]
    alice, number = "<sip:alice@example.com>", f"<{NUMBER}>"
    assert (to_callee.value("from"), to_callee.value("to")) == (alice, number)
    assert (to_caller.value("from"), to_caller.value("to")) == (number, alice)


@pytest.mark.rfc3261("12.2.1.2-1", "12.2.2-6")
@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_who_moves_is_hung_up_where_it_moved_to(world: World, method: str) -> None:
    caller, callee, _, ok = up(world)
    caller.within(method, ok, 2, "Contact: <sip:alice@192.0.2.10:5070>")
    [request] = callee.requests()
    callee.send(
        "SIP/2.0 200 OK",
        *[f"Via: {value}" for value in request.values("via")],
        f"From: {request.value('from')}",
        f"To: {request.value('to')}",
        "Call-ID: c1",
        f"CSeq: 2 {method}",
        "Contact: <sip:provider@192.0.2.20:5080>",
    )
    if method == "INVITE":
        caller.within("ACK", ok, 2)
    callee.got()
    caller.got()
    world.handle(Hangup("c1"))
    assert one_bye(callee).uri == "sip:provider@192.0.2.20:5080"
    assert one_bye(caller).uri == "sip:alice@192.0.2.10:5070"


@pytest.mark.rfc3261("8.1.3.2-1")
@pytest.mark.parametrize("status", [200, 299, 300, 399, 400, 499, 500, 599, 600, 699])
def test_any_final_of_any_class_ends_a_bye_of_ours(world: World, status: int) -> None:
    caller, callee, _, _ = set_up(world)
    world.handle(Hangup("c1"))
    callee.answer(one_bye(callee), status, "Nobody Knows")
    caller.answer(one_bye(caller), 200, "OK")
    assert world.engine.core.counters.teardowns_failed == 0
    world.idle()
    assert not callee.got()


@pytest.mark.rfc3261("8.1.3.2-2", "8.1.3.2-3")
@pytest.mark.parametrize("status", [100, 183, 189])
def test_any_provisional_is_waited_after(world: World, status: int) -> None:
    caller, callee, _, _ = set_up(world)
    world.handle(Hangup("c1"))
    bye = one_bye(callee)
    caller.answer(one_bye(caller), 200, "OK")
    callee.answer(bye, status, "Nobody Knows")
    assert world.engine.core.calls
    callee.answer(bye, 200, "OK")
    assert not world.engine.core.calls
    world.idle()


@pytest.mark.rfc3261("8.1.3.3-1")
@pytest.mark.parametrize(
    "below", ["\r\nVia: SIP/2.0/UDP 192.0.2.66;branch=z9hG4bKx", ", SIP/2.0/UDP 192.0.2.66"]
)
def test_a_response_that_is_not_for_us_alone_is_discarded(world: World, below: str) -> None:
    caller, callee, _, _ = set_up(world)
    world.handle(Hangup("c1"))
    caller.answer(one_bye(caller), 200, "OK")
    bye = one_bye(callee)
    via = bye.lines[bye.index("via")]
    bye.lines[bye.index("via")] = via + below
    callee.answer(bye, 200, "OK")
    assert world.engine.core.calls
    assert world.engine.stack_counters.strays == 1
    # A comma in quotes separates nothing.
    bye.lines[bye.index("via")] = via + ';seen="a,b"'
    callee.answer(bye, 200, "OK")
    assert not world.engine.core.calls
    world.idle()


@pytest.mark.rfc3261("8.2.2.3-5")
def test_the_ack_and_bye_of_a_late_answer_require_nothing(world: World) -> None:
    caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
    caller.invite(NUMBER, "c1", "Require: 100rel", "Proxy-Require: privacy")
    [invite] = callee.requests()
    callee.answer(invite, 180, "Ringing")
    world.handle(Hangup("c1"))
    [cancel] = callee.requests()
    callee.answer(invite, 200, "OK", "t9")
    ack, bye = callee.requests()
    assert (ack.method, bye.method) == ("ACK", "BYE")
    for request in (cancel, ack, bye):
        assert "require" not in request.keys
        assert "proxy-require" not in request.keys
