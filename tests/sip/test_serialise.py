"""Messages to bytes: replies, received and rport, ACK and CANCEL beside an INVITE."""

from __future__ import annotations

import pytest

from proxy.sip.message import Request, Response
from proxy.sip.parse import parse
from proxy.sip.serialise import ack_for, cancel_for, received_via, render, reply
from tests.sip.plain import CALL_ID, CSEQ, FROM, HEADERS, START, TO, VIA, changed, refused, request, wire


def lines_of(data: bytes) -> list[str]:
    head, _, body = data.partition(b"\r\n\r\n")
    assert body == b""
    return head.decode("latin-1").split("\r\n")


def test_what_was_parsed_is_rendered_byte_for_byte() -> None:
    data = wire(START, [*HEADERS, "X-Odd :  \xff\x80 kept ", "l: 4"], b"\x00\xff\r\n")
    message = request(data)
    assert render(START, message.lines, message.body) == data


def test_a_character_that_cannot_travel_becomes_a_question_mark() -> None:
    assert render("SIP/2.0 402 €", [], b"") == b"SIP/2.0 402 ?\r\n\r\n"


# --- reply: RFC 3261 §8.2.6. ---


@pytest.mark.rfc3261("8.2.6.2-1", "8.2.6.2-2", "8.2.6.2-3", "8.2.6.2-4", "8.2.6.2-6")
def test_a_reply_copies_what_names_the_transaction() -> None:
    message = request(
        wire(START, [*HEADERS, "v: SIP/2.0/TCP next", "Record-Route: <sip:x;lr>", "Subject: no"])
    )
    assert lines_of(reply(message, 486, "Busy Here", "t9", extra=["Retry-After: 5"])) == [
        "SIP/2.0 486 Busy Here",
        VIA,
        "v: SIP/2.0/TCP next",
        FROM,
        TO + ";tag=t9",
        CALL_ID,
        CSEQ,
        "Retry-After: 5",
        "Content-Length: 0",
    ]


@pytest.mark.rfc3261("17.2.1-2")
@pytest.mark.rfc3261("8.2.6.2-5")
def test_a_tag_is_added_once_and_never_to_a_100() -> None:
    tagged = request(changed(TO, TO + ";tag=theirs"))
    assert TO + ";tag=theirs" in lines_of(reply(tagged, 200, "OK", "ours"))
    assert TO in lines_of(reply(request(wire(START, HEADERS)), 100, "Trying", "ours"))


@pytest.mark.rfc3261("16.2-1")
@pytest.mark.rfc3261("8.2.6.1-3")
def test_timestamp_goes_into_the_100_alone() -> None:
    message = request(wire(START, [*HEADERS, "Timestamp: 54"]))
    assert "Timestamp: 54" in lines_of(reply(message, 100, "Trying", ""))
    assert "Timestamp: 54" not in lines_of(reply(message, 180, "Ringing", "t"))


@pytest.mark.parametrize(
    ("sent", "delay", "expected"),
    [
        ("54", 0.0, "54"),
        ("54", 0.0004, "54"),
        ("54", 0.0126, "54 0.013"),
        ("54.", 2.5, "54. 2.500"),
        ("early", 1.0, "early"),
        ("54 1.5", 1.0, "54 1.5"),
        ("", 1.0, ""),
    ],
)
def test_a_delay_is_added_to_a_timestamp_that_is_one(sent: str, delay: float, expected: str) -> None:
    message = request(wire(START, [*HEADERS, f"Timestamp: {sent}"]))
    lines = lines_of(reply(message, 100, "Trying", "", delay=delay))
    assert f"Timestamp: {expected}".strip() in [line.strip() for line in lines]


def test_a_body_has_its_length_said() -> None:
    data = reply(
        request(wire(START, HEADERS)), 200, "OK", "t", extra=["Content-Type: text/plain"], body=b"hi"
    )
    assert data.endswith(b"\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi")
    assert isinstance(parse(data), Response)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (VIA, f"Via: {VIA[5:]}=9;received=198.51.100.7"),
        (
            "v :  SIP/2.0/UDP h;branch=z9hG4bKa , SIP/2.0/TCP next",
            "v : SIP/2.0/UDP h;branch=z9hG4bKa;x , SIP/2.0/TCP next",
        ),
    ],
)
def test_only_the_topmost_via_value_is_replaced(line: str, expected: str) -> None:
    message = request(changed(VIA, line, "Via: SIP/2.0/TCP last"))
    new = expected.partition(":")[2].partition(" , ")[0].strip()
    assert lines_of(reply(message, 100, "Trying", "", new))[1:3] == [expected, "Via: SIP/2.0/TCP last"]


def test_a_bad_request_is_answered_with_what_it_has() -> None:
    error = refused(wire(START, [VIA, CSEQ, "To: <sip:a@b>", "To: <sip:c@d>", "Route: x"]))
    assert error.request is not None
    assert lines_of(reply(error.request, 400, "Bad", "t1")) == [
        "SIP/2.0 400 Bad",
        VIA,
        "To: <sip:a@b>;tag=t1",
        CSEQ,
        "Content-Length: 0",
    ]


# --- received_via: RFC 3261 §18.2.1, RFC 3581 §4. ---


@pytest.mark.rfc3261("18.2.1-3", "18.2.1-4", "18.2.1-5")
@pytest.mark.parametrize(
    ("value", "host", "expected"),
    [
        # Sent-by is the source: nothing to tell, unless asked.
        ("192.0.2.1:5061;branch=b", "192.0.2.1", "192.0.2.1:5061;branch=b"),
        ("192.0.2.1;branch=b;rport", "192.0.2.1", "192.0.2.1;branch=b;received=192.0.2.1;rport=9"),
        # Another address, or a name.
        ("10.0.0.1;branch=b", "192.0.2.1", "10.0.0.1;branch=b;received=192.0.2.1"),
        ("pc.example.com;branch=b", "192.0.2.1", "pc.example.com;branch=b;received=192.0.2.1"),
        ("pc;rport;branch=b", "192.0.2.1", "pc;branch=b;received=192.0.2.1;rport=9"),
        ("pc ; RPort ; branch=b", "192.0.2.1", "pc  ; branch=b;received=192.0.2.1;rport=9"),
        ("pc;rportx=1;branch=b;rport", "192.0.2.1", "pc;rportx=1;branch=b;received=192.0.2.1;rport=9"),
        # IPv6: compared as addresses, written without brackets.
        ("[2001:DB8:0::1]:5060;branch=b", "2001:db8::1", "[2001:DB8:0::1]:5060;branch=b"),
        ("[2001:db8::1];branch=b", "2001:db8::2", "[2001:db8::1];branch=b;received=2001:db8::2"),
        # What the peer claims about itself is not believed.
        ("h;received=203.0.113.9;branch=b", "192.0.2.1", "h;branch=b;received=192.0.2.1"),
        ("h;rport=7;received=[::1];branch=b", "192.0.2.1", "h;branch=b;received=192.0.2.1;rport=9"),
    ],
)
def test_where_a_request_came_from(value: str, host: str, expected: str) -> None:
    via = request(changed(VIA, f"Via: SIP/2.0/UDP {value}")).via
    said = received_via(via, host, 9)
    assert said == f"SIP/2.0/UDP {expected}"
    again = request(changed(VIA, f"Via: {said}")).via
    assert again.branch == "b"
    assert again.rport == ("9" if via.rport is not None else None)


def test_when_nothing_is_added_it_is_the_very_value() -> None:
    via = request(changed(VIA, "Via: SIP/2.0/UDP 192.0.2.1;branch=b")).via
    assert received_via(via, "192.0.2.1", 5060) is via.value


# --- ACK and CANCEL. ---

SENT = [
    "Via: SIP/2.0/UDP proxy;branch=z9hG4bKours",
    VIA,
    "Route: <sip:one;lr>",
    "Max-Forwards: 12",
    *HEADERS[2:6],
    "Route: <sip:two;lr>, <sip:three;lr>",
    "Require: 100rel",
    "Proxy-Require: x",
    "Content-Type: application/sdp",
    "Content-Length: 3",
]
INVITE = wire(START, SENT, b"sdp")


@pytest.mark.rfc3261("16.6-43", "17.1.1.3-2", "17.1.1.3-3", "17.1.1.3-4", "17.1.1.3-5", "17.1.1.3-6")
@pytest.mark.rfc3261("8.2.2.3-3")
def test_the_ack_of_a_refusal() -> None:
    # RFC 3261 §17.1.1.3: the INVITE's single top Via, its Route, From, Call-ID and CSeq number; the response's To.
    response = parse(
        wire("SIP/2.0 486 Busy", [SENT[0], FROM, "t: <sip:bob@example.com>;tag=b9", CALL_ID, CSEQ])
    )
    assert isinstance(response, Response)
    data = ack_for(INVITE, response)
    assert lines_of(data) == [
        "ACK sip:bob@example.com SIP/2.0",
        SENT[0],
        "Route: <sip:one;lr>",
        FROM,
        "t: <sip:bob@example.com>;tag=b9",
        CALL_ID,
        "CSeq: 7 ACK",
        "Route: <sip:two;lr>, <sip:three;lr>",
        "Max-Forwards: 70",
        "Content-Length: 0",
    ]
    ack = parse(data)
    assert isinstance(ack, Request)
    assert (ack.via.branch, ack.cseq, ack.to_tag) == ("z9hG4bKours", 7, "b9")
    assert ack.all_values("route") == ["<sip:one;lr>", "<sip:two;lr>", "<sip:three;lr>"]


@pytest.mark.rfc3261("8.2.2.3-3")
def test_a_cancel() -> None:
    # RFC 3261 §9.1: To as in the INVITE; no Require, no Proxy-Require, no body.
    data = cancel_for(INVITE, ['Reason: SIP ;cause=200 ;text="Call completed elsewhere"'])
    assert lines_of(data) == [
        "CANCEL sip:bob@example.com SIP/2.0",
        SENT[0],
        "Route: <sip:one;lr>",
        FROM,
        TO,
        CALL_ID,
        "CSeq: 7 CANCEL",
        "Route: <sip:two;lr>, <sip:three;lr>",
        "Max-Forwards: 70",
        'Reason: SIP ;cause=200 ;text="Call completed elsewhere"',
        "Content-Length: 0",
    ]
    assert isinstance(parse(data), Request)


def test_one_via_value_of_many_in_a_line() -> None:
    invite = wire(START, ["v: SIP/2.0/UDP proxy;branch=z9hG4bKours, SIP/2.0/UDP next", *HEADERS[2:6]])
    assert lines_of(cancel_for(invite))[1] == "Via: SIP/2.0/UDP proxy;branch=z9hG4bKours"
