"""RFC 3261 §16.6, §16.7: what passes, either way, is what came, but for what a proxy is to change."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.lease import Leg
from policies.verdicts import Admitted, AdmitVerdict
from proxy.engine.forward import loop_hash_of
from proxy.sip.message import Request, Response
from proxy.sip.parse import parse
from tests.engine.world import CALLGATE, Phone, World, answered, bound, ringing, set_up

NUMBER = "sip:4930@example.com"
ODD = (
    "Record-Route: <sip:192.0.2.99;lr>",
    "Date: the day before yesterday",
    "X-Unknown: <<one>>, two",
    "Subject: first",
    "x-unknown: three",
    "Content-Type: text/plain",
)
"""Header fields that nobody knows or that are malformed, one of them twice."""


def phones(world: World) -> tuple[Phone, Phone]:
    return Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")


def invited(phone: Phone, *extra: str, body: str = "", length: bool = True) -> None:
    """An INVITE whose Content-Length may be missing, with a body."""
    lines = [
        f"INVITE {NUMBER} SIP/2.0",
        f"Via: SIP/2.0/{phone.flow.transport} {phone.address};branch={phone.branch()}",
        "Max-Forwards: 70",
        "From: <sip:alice@example.com>;tag=1",
        f"To: <{NUMBER}>",
        "Call-ID: c1",
        "CSeq: 1 INVITE",
        f"Contact: <sip:alice@{phone.address}>",
        *extra,
    ]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    phone.world.receive("\r\n".join([*lines, "", body]).encode(), phone.flow)


def kept(message: Request | Response, *changed: str) -> list[str]:
    """The lines but those whose header a proxy changes."""
    return [
        line for line, key in zip(message.lines, message.keys, strict=True) if key not in ("via", *changed)
    ]


@pytest.mark.rfc3261("16.3-5", "16.3-6", "16.6-1", "16.6-2", "16.6-3", "16.6-4", "16.6-10", "16.6-37")
def test_a_request_keeps_its_headers_their_order_and_its_body(world: World) -> None:
    caller, callee = phones(world)
    invited(caller, *ODD, body="v=0 of a kind")
    [invite] = callee.requests()
    sent = (
        "From: <sip:alice@example.com>;tag=1",
        f"To: <{NUMBER}>",
        "Call-ID: c1",
        "CSeq: 1 INVITE",
        "Contact: <sip:alice@192.0.2.10:5060>",
        *ODD,
        "Content-Length: 13",
    )
    # Ours stand before theirs.
    ours, theirs = invite.all_values("record-route")
    assert (ours.startswith("<sip:192.0.2.1:5060;lr"), theirs) == (True, "<sip:192.0.2.99;lr>")
    assert [via.partition(";")[0] for via in invite.all_values("via")] == [
        "SIP/2.0/UDP 192.0.2.1:5060",
        "SIP/2.0/UDP 192.0.2.10:5060",
    ]
    assert [line for line in kept(invite, "max-forwards", "max-breadth") if ours not in line] == list(sent)
    assert invite.body == b"v=0 of a kind"


@pytest.mark.rfc3261("16.6-8", "16.6-9")
@pytest.mark.parametrize(("came", "went"), [("Max-Forwards: 12", 11), (None, 70)])
def test_max_forwards_is_one_less_or_seventy(world: World, came: str | None, went: int) -> None:
    caller, callee = phones(world)
    caller.send(
        f"INVITE {NUMBER} SIP/2.0",
        "Via: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK1",
        "From: <sip:alice@example.com>;tag=1",
        f"To: <{NUMBER}>",
        "Call-ID: x",
        "CSeq: 1 INVITE",
        "Contact: <sip:alice@192.0.2.10>",
        *([came] if came else []),
    )
    [invite] = callee.requests()
    assert invite.max_forwards() == went


@pytest.mark.rfc3261("16.3-7")
def test_a_method_that_nobody_knows_passes(world: World) -> None:
    caller, callee = phones(world)
    caller.request("BREW", NUMBER, "b1", 1, "<sip:alice@example.com>;tag=1", f"<{NUMBER}>", "X-Beans: dark")
    [brew] = callee.requests()
    assert (brew.method, brew.value("x-beans")) == ("BREW", "dark")
    callee.answer(brew, 200, "OK")
    assert caller.statuses() == [200]


@pytest.mark.rfc3261("16.3-8")
@pytest.mark.parametrize("uri", ["tel:+4930", "sips:4930@example.com", "http://example.com", "nobody:knows"])
def test_another_scheme_is_refused(world: World, uri: str) -> None:
    caller, callee = phones(world)
    caller.invite(uri)
    assert caller.statuses() == [416]
    assert not callee.got()


@pytest.mark.rfc3261("16.5-3")
def test_the_location_service_is_asked_for_the_canonical_address(world: World) -> None:
    asked: list[str | None] = []

    def verdict(leg: Leg) -> AdmitVerdict:
        asked.append(leg.aor)
        return Admitted(leg.lease, [] if leg.aor else None)

    world.auto = verdict
    caller, _ = phones(world)
    caller.invite("sip:%62ob@EXAMPLE.com;y=2")
    assert asked[-1] == "bob@example.com"


@pytest.mark.rfc3261("16.6-44")
def test_over_a_stream_the_length_is_said(tmp_path: Path) -> None:
    world = World(tmp_path, CALLGATE.replace("sip:192.0.2.20:5060", "sip:192.0.2.20:5060;transport=tcp"))
    caller = Phone(world, "192.0.2.10", "alice")
    callee = Phone(world, "192.0.2.20", "provider", table=world.tcp)
    invited(caller, "Content-Type: text/plain", body="hello", length=False)
    [invite] = callee.requests()
    assert (invite.values("content-length"), invite.body) == (["5"], b"hello")


@pytest.mark.rfc3261("16.1-3", "16.6-45")
def test_what_came_by_a_stream_is_repeated_to_who_has_datagrams(world: World) -> None:
    caller = Phone(world, "192.0.2.10", "alice", table=world.tcp)
    callee = Phone(world, "192.0.2.20", "provider")
    caller.invite(NUMBER)
    world.advance(1.6)
    first, second, third = callee.requests()
    assert first.via.branch == second.via.branch == third.via.branch
    callee.answer(first, 180, "Ringing")
    assert caller.statuses() == [100, 180]


def test_from_tls_to_udp_both_routes_are_sip_uris(world: World) -> None:
    caller = Phone(world, "192.0.2.10", "alice", 40_000, world.tls)
    callee = Phone(world, "192.0.2.20", "provider")
    caller.invite(NUMBER)
    [invite] = callee.requests()
    assert [route.partition(":")[0] for route in invite.all_values("record-route")] == ["<sip", "<sip"]


@pytest.mark.rfc3261("16.6-25", "16.6-27")
def test_a_route_comes_before_the_flow_an_account_is_reached_by(world: World) -> None:
    records = bound(("192.0.2.30", "1000"))
    world.auto = lambda leg: Admitted(leg.lease, records if leg.aor else None)
    caller, phone = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.30", "bob")
    router = Phone(world, "192.0.2.50", "router")
    phone.beyond = "<sip:192.0.2.50;lr>"
    _, ok = answered(caller, phone, uri="sip:bob@example.com")
    caller.within("INFO", ok, 2)
    [info] = router.requests()
    assert info.values("route") == ["<sip:192.0.2.50;lr>"]
    assert not phone.got()


@pytest.mark.rfc3261("16.6-42")
def test_the_method_does_not_count_in_the_branch(world: World) -> None:
    caller, callee = phones(world)
    caller.invite(NUMBER)
    data = next(item.data for item in world.sent if item.flow is callee.flow)
    invite, other = parse(data), parse(data.replace(b"INVITE", b"OPTIONS"))
    assert isinstance(invite, Request)
    assert isinstance(other, Request)
    assert loop_hash_of(invite) == loop_hash_of(other)


@pytest.mark.rfc3261("16.7-37", "16.7-38")
def test_a_response_keeps_its_headers_its_body_and_received(world: World) -> None:
    caller, callee = phones(world)
    # It says another host than it sends from, so `received` is added.
    caller.address = "10.9.9.9:5060"
    invite = ringing(caller, callee)
    callee.send(
        "SIP/2.0 200 OK",
        *[
            line
            for line, key in zip(invite.lines, invite.keys, strict=True)
            if key in ("via", "record-route")
        ],
        f"From: {invite.value('from')}",
        f"To: {invite.value('to')};tag=t1",
        "Call-ID: c1",
        "CSeq: 1 INVITE",
        "Contact: <sip:provider@192.0.2.20>",
        *ODD[1:],
        body="an answer",
    )
    [ok] = caller.got()
    assert isinstance(ok, Response)
    [via] = ok.all_values("via")
    assert via.startswith("SIP/2.0/UDP 10.9.9.9:5060;")
    assert ";received=192.0.2.10" in via
    routes = [line for line, key in zip(invite.lines, invite.keys, strict=True) if key == "record-route"]
    assert kept(ok) == [
        *routes,
        f"From: {invite.value('from')}",
        f"To: {invite.value('to')};tag=t1",
        "Call-ID: c1",
        "CSeq: 1 INVITE",
        "Contact: <sip:provider@192.0.2.20>",
        *ODD[1:],
        "Content-Length: 9",
    ]
    assert ok.body == b"an answer"


@pytest.mark.rfc3261("16.7-27", "16.7-28", "16.7-29")
@pytest.mark.parametrize("status", [180, 200, 302, 486, 603])
@pytest.mark.parametrize("tag", ["", ";tag=x9"])
def test_the_to_tag_of_a_response_stays_as_the_callee_wrote_it(world: World, status: int, tag: str) -> None:
    caller, callee = phones(world)
    caller.invite(NUMBER)
    [invite] = callee.requests()
    assert caller.statuses() == [100]
    callee.send(
        f"SIP/2.0 {status} Reason",
        *[line for line, key in zip(invite.lines, invite.keys, strict=True) if key == "via"],
        f"From: {invite.value('from')}",
        f"To: {invite.value('to')}{tag}",
        "Call-ID: c1",
        "CSeq: 1 INVITE",
        "Contact: <sip:provider@192.0.2.20>",
    )
    [answer] = caller.got()
    assert isinstance(answer, Response)
    assert answer.status == status
    assert answer.value("to") == f"<{NUMBER}>{tag}"


@pytest.mark.rfc3261("16.7-28", "16.7-30")
@pytest.mark.parametrize("status", [200, 415, 603])
def test_within_a_dialog_too(world: World, status: int) -> None:
    caller, callee, _, ok = set_up(world)
    caller.within("INFO", ok, 2)
    [info] = callee.requests()
    callee.answer(info, status, "Reason", "another")
    [answer] = caller.got()
    assert isinstance(answer, Response)
    assert (answer.status, answer.to_tag) == (status, ok.to_tag)
