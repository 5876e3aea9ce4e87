"""What the parties of tests/fuzz/parties.py say: addresses, methods, statuses, header lines that make trouble, and how
a message is spoilt."""

from __future__ import annotations

URIS = (
    "sip:4930@example.com",
    "sip:bob@example.com",
    "sip:alice@example.com",
    "sip:911@example.com",
    "sip:bob@192.0.2.1:5060",
    "sip:nobody@example.com",
    "sip:off@example.com",
    "sip:192.0.2.1",
    "sips:bob@example.com",
    "tel:+49301234",
    "sip:4930;x=y@example.net;method=BYE",
    "sip:[2001:db8::1]",
    "sip:192.0.2.1:5060;lr;c=0123456789abcdef",
    "sip:4901@192.0.2.1:5060",
    "sip:77@example.net",
)
USERS = ("alice", "bob", "alice", "off", "poor", "stranger", "carol")
STATUSES = (
    100,
    180,
    183,
    200,
    200,
    202,
    302,
    401,
    404,
    407,
    408,
    481,
    486,
    487,
    491,
    500,
    503,
    600,
    603,
    699,
)
METHODS = ("BYE", "BYE", "INVITE", "UPDATE", "PRACK", "INFO", "REFER", "NOTIFY", "MESSAGE", "ACK", "CANCEL")
OUTSIDE = ("OPTIONS", "MESSAGE", "SUBSCRIBE", "NOTIFY", "PUBLISH", "REFER", "BYE", "NEW.METHOD", "UPDATE")
SECONDS = (0.0, 0.01, 0.5, 0.6, 1.0, 4.0, 5.1, 29.9, 30.1, 32.0, 33.0, 64.0, 181.0, 200.0, 3601.0)
EXTRAS = (
    "Max-Forwards: 0",
    "Max-Forwards: 1",
    "Route: <sip:192.0.2.1:5060;lr>",
    "Route: <sip:192.0.2.1:5060;lr;c=0123456789abcdef>",
    "Route: <sip:198.51.100.9;lr>, <sip:198.51.100.10>",
    "Route: <sip:strict.example.org>",
    "Record-Route: <sip:198.51.100.9;lr>",
    "Record-Route: <sip:192.0.2.1:5060;lr;c=0123456789abcdef>",
    "Require: 100rel",
    'Contact: <sip:z@10.0.0.9>;+sip.instance="<urn:uuid:1>";reg-id=1',
    "Route: <sip:192.0.2.1:5060;lr;f=AAAA>",
    "Proxy-Require: nothing",
    "P-Asserted-Identity: <sip:alice@example.com>",
    "Contact: <sip:x@host.example.org;method=INVITE?Route=%3Csip:a%3E>",
    'Contact: "quoted \\" > ,;" <sip:y@[2001:db8::5]:5066;transport=tcp>;expires=7',
    "Contact: *",
    "Expires: 0",
    "Reason: SIP ;cause=200",
    "Subject: a",
    "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK00000000",
    "Proxy-Authorization: Digest username=x",
    "CSeq: 4294967295 INVITE",
    "Session-Expires: 100;refresher=uac",
    "Supported: timer, 199",
    "Max-Breadth: 1",
    "Privacy: id;critical",
    "P-Preferred-Identity: <sip:bob@example.com>",
    "Content-Length: 3",
    "Call-ID: c1",
    "To: <sip:a@b>;tag=t0",
    "From: <sip:a@b>;tag=f1",
)


def mutated(data: bytes, a: int, b: int, c: int, other: bytes) -> bytes:
    """`data`, changed as the numbers say."""
    lines = data.split(b"\r\n")
    at = b % len(lines)
    match a % 12:
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[c % len(lines)])
        case 2:
            lines[at], lines[c % len(lines)] = lines[c % len(lines)], lines[at]
        case 3:
            lines[at] = EXTRAS[c % len(EXTRAS)].encode()
        case 4 | 5:
            lines.insert(1 + b % max(1, len(lines) - 2), EXTRAS[c % len(EXTRAS)].encode())
        case 6:
            spot = b * len(data) // 256
            return data[:spot] + bytes([c]) + data[spot + 1 :]
        case 7:
            return data[: b * len(data) // 256] + other[c * len(other) // 256 :]
        case 8:
            return data.replace(b"tag=t", b"tag=u") if c & 1 else data.replace(b"tag=f", b"tag=g")
        case 9:
            return data.replace(b"branch=z9hG4bK", b"branch=z9hG4bKm" if c & 1 else b"branch=")
        case 10:
            method = OUTSIDE[c % len(OUTSIDE)].encode()
            return data.replace(lines[0].split(b" ")[0], method)
        case _:
            return data.replace(b"example", bytes([c])).replace(
                b"192.0.2.", b"192.0.2.2" if c & 1 else b"[::1]"
            )
    return b"\r\n".join(lines)
