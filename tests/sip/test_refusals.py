"""What the parser refuses, with which kind and status, and what is left to answer it by."""

from __future__ import annotations

import pytest

from proxy.sip.grammar import LINE_MAX, LINES_MAX, MESSAGE_MAX, URI_MAX
from proxy.sip.message import ErrorKind
from tests.sip.plain import CALL_ID, CSEQ, FROM, HEADERS, START, TO, VIA, changed, refused, wire

OVERLONG_URI = "sip:" + "a" * URI_MAX + "@example.com"
# What is wrong, the bytes, kind and status.
REFUSALS: list[tuple[str, bytes, ErrorKind, int]] = [
    ("nothing", b"", ErrorKind.EMPTY, 0),
    ("a keep-alive", b"\r\n\r\n", ErrorKind.EMPTY, 0),
    ("no empty line", wire(START, HEADERS)[:-2], ErrorKind.TRUNCATED, 400),
    ("bare LF", wire(START, HEADERS).replace(b"\r\nTo", b"\nTo"), ErrorKind.LINE, 400),
    ("bare CR in a value", wire(START, [*HEADERS, "Subject: a\rVia: x"]), ErrorKind.LINE, 400),
    ("bare LF in a value", wire(START, [*HEADERS, "Subject: a\nVia: x"]), ErrorKind.LINE, 400),
    ("a line without colon", wire(START, [*HEADERS, "Foobar roobar"]), ErrorKind.LINE, 400),
    ("a known name without colon", wire(START, [*HEADERS, "Subject"]), ErrorKind.LINE, 400),
    ("a line without name", wire(START, [*HEADERS, ": x"]), ErrorKind.LINE, 400),
    ("a folded start line", wire("INVITE sip:bob@example.com\r\n SIP/2.0", HEADERS), ErrorKind.LINE, 400),
    ("garbage", b"\x16\x03\x01\x02\x00\x01\r\n\r\n", ErrorKind.START_LINE, 0),
    ("no version", wire("INVITE sip:bob@example.com", HEADERS), ErrorKind.START_LINE, 400),
    ("HTTP", wire("GET / HTTP/1.1", HEADERS), ErrorKind.START_LINE, 400),
    ("two spaces", wire("INVITE  sip:b@c SIP/2.0", HEADERS), ErrorKind.START_LINE, 400),
    ("no method", wire(" sip:b@c SIP/2.0", HEADERS), ErrorKind.START_LINE, 0),
    ("a later version", wire("INVITE sip:b@c SIP/3.0", HEADERS), ErrorKind.VERSION, 505),
    ("status 99", wire("SIP/2.0 099 x", HEADERS), ErrorKind.START_LINE, 0),
    ("status 700", wire("SIP/2.0 700 x", HEADERS), ErrorKind.START_LINE, 0),
    ("a Request-URI in <>", wire("INVITE <sip:b@c> SIP/2.0", HEADERS), ErrorKind.REQUEST_URI, 400),
    ("headers in the Request-URI", wire("INVITE sip:b@c?x=y SIP/2.0", HEADERS), ErrorKind.REQUEST_URI, 400),
    ("an overlong Request-URI", wire(f"INVITE {OVERLONG_URI} SIP/2.0", HEADERS), ErrorKind.TOO_LARGE, 414),
    ("no Via", changed(VIA), ErrorKind.MISSING, 0),
    ("no From", changed(FROM), ErrorKind.MISSING, 400),
    ("no To", changed(TO), ErrorKind.MISSING, 400),
    ("no Call-ID", changed(CALL_ID), ErrorKind.MISSING, 400),
    ("no CSeq", changed(CSEQ), ErrorKind.MISSING, 400),
    ("two From", changed(FROM, FROM, FROM), ErrorKind.DUPLICATE, 400),
    ("two To", changed(TO, TO, "t: <sip:c@d>"), ErrorKind.DUPLICATE, 400),
    ("two Call-ID", changed(CALL_ID, CALL_ID, "i: 2"), ErrorKind.DUPLICATE, 400),
    ("two CSeq", changed(CSEQ, CSEQ, CSEQ), ErrorKind.DUPLICATE, 400),
    ("two Max-Forwards", changed(HEADERS[1], HEADERS[1], HEADERS[1]), ErrorKind.DUPLICATE, 400),
    ("two Content-Length", wire(START, [*HEADERS, "l: 0", "Content-Length: 0"]), ErrorKind.DUPLICATE, 400),
    ("two From and two Via", changed(FROM, FROM, FROM, VIA), ErrorKind.DUPLICATE, 400),
    ("an empty Via", changed(VIA, "Via:"), ErrorKind.VIA, 0),
    ("a Via of another version", changed(VIA, "Via: SIP/1.0/UDP h"), ErrorKind.VIA, 400),
    ("a Via with a bad port", changed(VIA, "Via: SIP/2.0/UDP h:99999;branch=z9hG4bKa"), ErrorKind.VIA, 400),
    (
        "a Via branch of nothing but its cookie",
        changed(VIA, "Via: SIP/2.0/UDP h;branch=z9hG4bK"),
        ErrorKind.VIA,
        400,
    ),
    ("a Via branch without value", changed(VIA, "Via: SIP/2.0/UDP h;branch"), ErrorKind.VIA, 400),
    ("From without URI", changed(FROM, "From: Alice"), ErrorKind.FROM, 400),
    ("From with a valueless tag", changed(FROM, "From: <sip:a@b>;tag"), ErrorKind.FROM, 400),
    ("two values in To", changed(TO, "To: <sip:a@b>, <sip:c@d>"), ErrorKind.TO, 400),
    ("an empty Call-ID", changed(CALL_ID, "Call-ID: "), ErrorKind.CALL_ID, 400),
    ("a Call-ID of two words", changed(CALL_ID, "Call-ID: a b"), ErrorKind.CALL_ID, 400),
    ("CSeq without method", changed(CSEQ, "CSeq: 1"), ErrorKind.CSEQ, 400),
    ("CSeq without number", changed(CSEQ, "CSeq: INVITE"), ErrorKind.CSEQ, 400),
    ("CSeq beyond 32 bits", changed(CSEQ, "CSeq: 4294967296 INVITE"), ErrorKind.CSEQ, 400),
    ("CSeq far beyond", changed(CSEQ, f"CSeq: {'9' * 5000} INVITE"), ErrorKind.CSEQ, 400),
    ("CSeq of another method", changed(CSEQ, "CSeq: 1 BYE"), ErrorKind.CSEQ, 400),
    ("CSeq of another case", changed(CSEQ, "CSeq: 1 invite"), ErrorKind.CSEQ, 400),
    (
        "CSeq of another method, and who knows this one",
        changed(CSEQ, CSEQ, start="X sip:b@c SIP/2.0"),
        ErrorKind.CSEQ,
        501,
    ),
    ("Max-Forwards 256", changed(HEADERS[1], "Max-Forwards: 256"), ErrorKind.MAX_FORWARDS, 400),
    ("Max-Forwards in words", changed(HEADERS[1], "Max-Forwards: many"), ErrorKind.MAX_FORWARDS, 400),
    ("Max-Forwards in superscript", changed(HEADERS[1], "Max-Forwards: \xb2"), ErrorKind.MAX_FORWARDS, 400),
    (
        "more content than there is",
        wire(START, [*HEADERS, "Content-Length: 4"], b"abc"),
        ErrorKind.CONTENT_LENGTH,
        400,
    ),
    ("negative content", wire(START, [*HEADERS, "Content-Length: -1"]), ErrorKind.CONTENT_LENGTH, 400),
    ("content beyond measure", wire(START, [*HEADERS, f"l: {'9' * 5000}"]), ErrorKind.CONTENT_LENGTH, 400),
    ("an empty Content-Length", wire(START, [*HEADERS, "Content-Length:"]), ErrorKind.CONTENT_LENGTH, 400),
    ("a malformed Contact", changed(HEADERS[-1], "Contact: <sip:a@b>;;;"), ErrorKind.CONTACT, 400),
    ("a malformed second Contact", wire(START, [*HEADERS, "Contact: x"]), ErrorKind.CONTACT, 400),
    ("an empty Contact", changed(HEADERS[-1], "Contact:"), ErrorKind.CONTACT, 400),
    ("a malformed Route", wire(START, [*HEADERS, "Route: <sip:a b>"]), ErrorKind.ROUTE, 400),
    ("a Route without <>", wire(START, [*HEADERS, "Route: sip:a;lr"]), ErrorKind.ROUTE, 400),
    (
        "a malformed second Route",
        wire(START, [*HEADERS, "Route: <sip:a;lr>", "Route: b"]),
        ErrorKind.ROUTE,
        400,
    ),
    ("too many lines", wire(START, [*HEADERS, *["X: y"] * LINES_MAX]), ErrorKind.TOO_LARGE, 513),
    ("too long a line", wire(START, [*HEADERS, "X: " + "y" * LINE_MAX]), ErrorKind.TOO_LARGE, 513),
    ("too long a start line", wire("X" * LINE_MAX + " sip:b@c SIP/2.0", HEADERS), ErrorKind.TOO_LARGE, 513),
    ("too long a message", wire(START, HEADERS, b"x" * MESSAGE_MAX), ErrorKind.TOO_LARGE, 513),
]


@pytest.mark.rfc3261("16.3-4", "16.3-5", "18.3-3")
@pytest.mark.parametrize(
    ("data", "kind", "status"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS]
)
def test_refusals(data: bytes, kind: ErrorKind, status: int) -> None:
    error = refused(data)
    assert (error.kind, error.status_hint) == (kind, status)
    assert error.reason
    assert error.reason.isprintable()
    assert (error.request is not None) == (status != 0)


def test_every_kind_of_error_has_a_refusal_here() -> None:
    assert {kind for _, _, kind, _ in REFUSALS} == set(ErrorKind)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([VIA, FROM, TO, CSEQ], "Missing Call-ID header"),
        ([VIA, FROM, TO, CALL_ID, CSEQ, CSEQ], "Multiple CSeq headers"),
        ([VIA, "From: x", TO, CALL_ID, CSEQ], "Malformed From header"),
    ],
)
def test_the_reason_names_the_header(lines: list[str], reason: str) -> None:
    assert refused(wire(START, lines)).reason == reason


OF_INVITES = [row for row in REFUSALS if row[1].startswith(b"INVITE ")]


@pytest.mark.parametrize("data", [row[1] for row in OF_INVITES], ids=[row[0] for row in OF_INVITES])
def test_nobody_answers_an_ack(data: bytes) -> None:
    error = refused(data.replace(b"INVITE", b"ACK"))
    assert (error.status_hint, error.request) == (0, None)


@pytest.mark.parametrize("line", [VIA, FROM, TO, CALL_ID, CSEQ])
def test_nobody_answers_a_response(line: str) -> None:
    error = refused(changed(line, start="SIP/2.0 200 OK"))
    assert (error.kind, error.status_hint, error.request) == (ErrorKind.MISSING, 0, None)


@pytest.mark.rfc3261("18.3-2")
def test_a_response_cut_short_is_discarded() -> None:
    error = refused(wire("SIP/2.0 200 OK", [*HEADERS, "Content-Length: 4"], b"abc"))
    assert (error.kind, error.status_hint, error.request) == (ErrorKind.CONTENT_LENGTH, 0, None)


def test_what_is_left_of_a_bad_request_is_enough_to_answer_it() -> None:
    lines = [
        VIA,
        "From: x;tag=f1",
        'To: "unbalanced <sip:b@c>;tag=t1',
        CALL_ID,
        "CSeq: 9 BYE",
        "Bad\nLine: x",
        "no colon",
    ]
    partial = refused(wire(START, lines)).request
    assert partial is not None
    assert partial.lines == lines[:5]
    assert partial.keys == ["via", "from", "to", "call-id", "cseq"]
    assert (partial.method, partial.uri, partial.call_id) == ("INVITE", "sip:bob@example.com", "1@192.0.2.1")
    assert (partial.from_tag, partial.to_tag, partial.via.branch) == ("f1", "t1", "z9hG4bK1")


def test_a_bad_via_that_still_names_its_sender_can_be_answered() -> None:
    partial = refused(changed(VIA, "Via: SIP/2.0/UDP 192.0.2.15;;,;,,")).request
    assert partial is not None
    assert (partial.via.transport, partial.via.host, partial.via.branch) == ("UDP", "192.0.2.15", "")
