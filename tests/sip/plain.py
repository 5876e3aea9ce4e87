"""A plain INVITE to change lines of, for the tests of the parser."""

from __future__ import annotations

from proxy.sip.message import ParseError, Request
from proxy.sip.parse import parse

START = "INVITE sip:bob@example.com SIP/2.0"
VIA = "Via: SIP/2.0/UDP 192.0.2.1:5061;branch=z9hG4bK1;rport"
FROM = 'From: "Alice" <sip:alice@example.com>;tag=a1'
TO = "To: <sip:bob@example.com>"
CALL_ID = "Call-ID: 1@192.0.2.1"
CSEQ = "CSeq: 7 INVITE"
HEADERS = [VIA, "Max-Forwards: 70", FROM, TO, CALL_ID, CSEQ, "Contact: <sip:alice@192.0.2.1:5061>"]


def wire(start: str, lines: list[str], body: bytes = b"") -> bytes:
    return "\r\n".join([start, *lines, "", ""]).encode("latin-1") + body


def changed(old: str, *new: str, start: str = START, body: bytes = b"") -> bytes:
    """The plain INVITE with one line replaced by others."""
    at = HEADERS.index(old)
    return wire(start, [*HEADERS[:at], *new, *HEADERS[at + 1 :]], body)


def request(data: bytes) -> Request:
    message = parse(data)
    assert isinstance(message, Request), message.reason
    return message


def refused(data: bytes) -> ParseError:
    message = parse(data)
    assert isinstance(message, ParseError)
    return message
