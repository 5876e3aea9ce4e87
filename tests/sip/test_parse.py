"""Bytes to messages: what is read, and the bounds. What is refused: test_refusals.py.

The torture messages have their own table (tests/torture); rubbish of every kind is in tests/fuzz.
"""

from __future__ import annotations

import pytest

from proxy.sip import lines as tables
from proxy.sip.grammar import CACHE_MAX, CACHED_TEXT_MAX, LINE_MAX, LINES_MAX, MESSAGE_MAX, URI_MAX
from proxy.sip.lines import read_any_tag, read_any_via, read_tag, read_via
from proxy.sip.message import ErrorKind, Response, TopVia
from proxy.sip.parse import parse
from tests.sip.plain import CALL_ID, CSEQ, FROM, HEADERS, START, TO, VIA, changed, refused, request, wire


def test_a_request() -> None:
    message = request(wire(START, [*HEADERS, "Content-Length: 3"], b"abcdef"))
    assert (message.method, message.uri) == ("INVITE", "sip:bob@example.com")
    assert message.lines == [*HEADERS, "Content-Length: 3"]
    assert message.keys == [
        "via",
        "max-forwards",
        "from",
        "to",
        "call-id",
        "cseq",
        "contact",
        "content-length",
    ]
    assert message.body == b"abc"
    assert (message.call_id, message.cseq, message.from_tag, message.to_tag) == ("1@192.0.2.1", 7, "a1", "")
    assert message.max_forwards() == 70
    assert message.contact_uri() == "sip:alice@192.0.2.1:5061"
    via = message.via
    assert (via.transport, via.host, via.port, via.branch) == ("UDP", "192.0.2.1", 5061, "z9hG4bK1")
    assert (via.rport, via.received, via.value) == ("", None, VIA[5:])


def test_a_response() -> None:
    message = parse(
        wire("SIP/2.0 486 Busy Here", [VIA, "Via: SIP/2.0/TCP b", FROM, TO + ";tag=b2", CALL_ID, CSEQ])
    )
    assert isinstance(message, Response)
    assert (message.status, message.reason, message.cseq_method, message.cseq) == (
        486,
        "Busy Here",
        "INVITE",
        7,
    )
    assert (message.from_tag, message.to_tag) == ("a1", "b2")
    assert message.via.branch == "z9hG4bK1"
    assert message.values("via") == [VIA[5:], "SIP/2.0/TCP b"]


def test_values_by_key() -> None:
    lines = [
        *HEADERS,
        "Supported: path, outbound",
        "k: timer",
        "Subject:  a, b ",
        "Record-Route: <sip:a,b>,<sip:c>",
    ]
    message = request(wire(START, lines))
    assert message.value("supported") == "path, outbound"
    assert message.values("supported") == ["path, outbound", "timer"]
    assert message.all_values("supported") == ["path", "outbound", "timer"]
    assert message.all_values("record-route") == ["<sip:a,b>", "<sip:c>"]
    assert message.value("subject") == "a, b"
    assert (message.value("date"), message.values("date"), message.all_values("date")) == (None, [], [])
    assert (message.index("via"), message.index("cseq"), message.index("date")) == (0, 5, -1)


def test_without_content_length_the_datagram_is_the_body() -> None:
    assert request(wire(START, HEADERS, b"to the end")).body == b"to the end"


def test_absent_things_are_told_apart_from_empty_ones() -> None:
    lines = ["Via: SIP/2.0/UDP h", "From: sip:a@b", TO, CALL_ID, CSEQ]
    message = request(wire(START, lines))
    assert (message.via.port, message.via.branch, message.via.rport) == (None, "", None)
    assert (message.from_tag, message.max_forwards(), message.contact_uri()) == ("", None, None)


def test_spelling_and_order_are_kept() -> None:
    lines = [
        "X-b: 1",
        "v:SIP/2.0/UDP h;branch=z9hG4bKx",
        "f: sip:a@b;tag=1",
        "T : sip:b@c",
        "i:x",
        "cSeQ: 1 INVITE",
    ]
    message = request(wire(START, lines))
    assert message.lines == lines
    assert message.keys == ["x-b", "via", "from", "to", "call-id", "cseq"]


def test_folded_lines_are_unfolded() -> None:
    message = request(wire(START, [*HEADERS, "Subject: one\r\n  two\r\n\tthree", "Via:\r\n SIP/2.0/UDP x"]))
    assert message.lines[-2:] == ["Subject: one two three", "Via: SIP/2.0/UDP x"]


def test_crlf_before_the_start_line_is_ignored() -> None:
    assert request(b"\r\n\r\n" + wire(START, HEADERS)).lines == HEADERS


def test_the_version_is_read_in_any_case() -> None:
    assert request(wire("INVITE sip:bob@example.com sip/2.0", HEADERS)).uri == "sip:bob@example.com"


@pytest.mark.parametrize("uri", ["tel:+4930", "nobodyKnowsThisScheme:x", "soap.beep://192.0.2.103:3002"])
def test_other_schemes_are_the_engines_to_judge(uri: str) -> None:
    assert request(wire(f"INVITE {uri} SIP/2.0", HEADERS)).uri == uri


def test_an_asterisk_contact_is_for_register() -> None:
    lines = [VIA, FROM, TO, CALL_ID, "CSeq: 7 REGISTER", "Contact: *"]
    message = request(wire("REGISTER sip:example.com SIP/2.0", lines))
    assert message.value("contact") == "*"
    assert message.contact_uri() is None
    assert refused(changed(HEADERS[-1], "Contact: *")).kind is ErrorKind.CONTACT


@pytest.mark.parametrize(
    ("line", "host", "port", "branch", "rport", "received"),
    [
        ("SIP/2.0/UDP h;branch=z9hG4bKa;rport=5;received=192.0.2.9", "h", None, "z9hG4bKa", "5", "192.0.2.9"),
        ("SIP / 2.0 / udp  h : 5070 ; Branch = z9hG4bKa ; ttl=1", "h", 5070, "z9hG4bKa", None, None),
        ("SIP/2.0/UDP [2001:db8::1]:5070;rport;branch=z9hG4bKa", "[2001:db8::1]", 5070, "z9hG4bKa", "", None),
        ("sip/2.0/UDP h, SIP/2.0/UDP k;branch=b", "h", None, "", None, None),
        ('SIP/2.0/UDP h;x="a,b";branch=z9hG4bKa', "h", None, "z9hG4bKa", None, None),
    ],
)
def test_forms_of_via(
    line: str, host: str, port: int | None, branch: str, rport: str | None, received: str | None
) -> None:
    via = request(changed(VIA, f"Via: {line}")).via
    assert (via.transport, via.host, via.port) == ("UDP", host, port)
    assert (via.branch, via.rport, via.received) == (branch, rport, received)


# --- Limits. ---


@pytest.mark.rfc3261("18.1.1-3")
def test_up_to_its_bounds_everything_passes() -> None:
    lines = [*HEADERS, *["X: y"] * (LINES_MAX - len(HEADERS))]
    assert len(request(wire(START, lines)).lines) == LINES_MAX
    assert request(wire(START, [*HEADERS, "X: " + "y" * (LINE_MAX - 3)])).lines[-1].endswith("y")
    head = wire(START, HEADERS)
    assert len(request(head + b"x" * (MESSAGE_MAX - len(head))).body) == MESSAGE_MAX - len(head)
    uri = "sip:" + "a" * (URI_MAX - len("sip:@b.c")) + "@b.c"
    assert request(wire(f"INVITE {uri} SIP/2.0", HEADERS)).uri == uri
    assert request(changed(CSEQ, "CSeq: 4294967295 INVITE")).cseq == 2**32 - 1
    assert request(changed(HEADERS[1], "Max-Forwards: 0255")).max_forwards() == 255


def test_what_is_remembered_is_bounded() -> None:
    remembered = (
        tables.STARTS,
        tables.VIAS,
        tables.TAGS,
        tables.CSEQS,
        tables.NUMBERS,
        tables.GOOD_ADDRESSES,
    )
    for number in range(CACHE_MAX + 100):
        lines = [
            f"{VIA}{number}",
            "Max-Forwards: 70",
            f"{FROM}{number}",
            TO,
            CALL_ID,
            f"CSeq: {number} INVITE",
        ]
        lines += [
            f"Contact: <sip:{number}@h>",
            f"Content-Length:{' ' * (number % 200)} 0",
            f"Route: <sip:{number}>",
        ]
        request(wire(f"INVITE sip:{number}@h SIP/2.0", lines).replace(b"rport", b"x=", 1))
    for table in remembered:
        assert 0 < len(table) <= CACHE_MAX
        assert max(map(len, table)) <= CACHED_TEXT_MAX


def test_long_lines_are_read_but_not_remembered() -> None:
    tag = "t" * CACHED_TEXT_MAX
    line = f"From: <sip:a@b>;tag={tag}"
    assert request(changed(FROM, line)).from_tag == tag
    assert line not in tables.TAGS


# --- The common shapes are shortcuts: they must say what the general readers say. ---

COMMON_VIAS = [
    VIA,
    "Via: SIP/2.0/UDP h;branch=z9hG4bKa",
    "Via: SIP/2.0/WSS h:1;branch=z9hG4bKa;rport",
    "Via: SIP/2.0/TCP h.example:9999;branch=abc",
    "Via: SIP/2.0/TLS h;branch=z9hG4bK",
    "Via: SIP/2.0/UDP h:99999;branch=z9hG4bKa",
    "Via: SIP/2.0/UDP -h;branch=z9hG4bKa",
    "Via: SIP/2.0/UDP h;branch=z9hG4bKa;rport=1",
    "Via: SIP/2.0/UDP h;branch=z9hG4bKa;rport;",
    "Via: SIP/2.0/UDP h;rport;branch=z9hG4bKa",
    "Via: SIP/2.0/UDP h;rport;branch=z9hG4bKa;rport",
    "Via: SIP/2.0/UDP h;branch=z9hG4bKa, SIP/2.0/UDP i;branch=b",
    "Via: SIP/2.0/UDP h, SIP/2.0/UDP i;branch=b",
    "Via: SIP/2.0/UDP h;branch=",
    "Via: SIP/2.0/UDP h;branch=a b",
    'Via: SIP/2.0/UDP h;branch="a,b"',
    "Via: SIP/2.0/UDP h;branch=a<b>",
    "Via: SIP/2.0/UDP h;branch=a;received=192.0.2.1;rport=5060",
    "v: SIP/2.0/UDP h;branch=a",
]
COMMON_ADDRESSES = [
    FROM,
    TO,
    "To: sip:a@b",
    "To: <sip:b>",
    "To: <sips:b@c:5061>;tag=x",
    "To: <sip:b@c:99999>;tag=x",
    "To: <sip:@c>",
    "To: <sip:b@-c>",
    "To: <sip:b@c>;tag",
    "To: <sip:b@c>;tag=",
    "From: Bob B. <sip:b@c>;tag=1;x=y",
    "From: Bob, B. <sip:b@c>;tag=1",
    'From: "B\\"" <sip:b@c>;tag=1',
    'From: "B" x <sip:b@c>;tag=1',
    "From: <sip:b@c>;tag=1",
    "From: <sip:b@c>;tag=1 ",
    "From: <sip:b@c>;tag=1<",
    'From: <sip:b@c>;x="<sip:b@c>;tag=1"',
    'From: "<sip:b@c>;tag=1" <sip:b@c>',
    f"From: <sip:{'h' * 260}>",
]


@pytest.mark.parametrize("line", COMMON_VIAS)
def test_the_shortcut_for_via_agrees(line: str) -> None:
    def parts(via: TopVia | None) -> tuple[object, ...] | None:
        if via is None:
            return None
        return (via.transport, via.host, via.port, via.branch, via.rport, via.received, via.value)

    # The first time its sent-by is learnt, the second time it is known.
    told = [parts(read_via(line)) for _ in range(2)]
    tables.VIAS.clear()
    assert told == [parts(read_any_via(line))] * 2


@pytest.mark.parametrize("line", COMMON_ADDRESSES)
def test_the_shortcut_for_from_and_to_agrees(line: str) -> None:
    # The first time its address is learnt, the second time it is known.
    told = [read_tag(line.replace("tag=1", f"tag={n}")) for n in range(3)]
    assert told == [read_any_tag(line.replace("tag=1", f"tag={n}")) for n in range(3)]
