"""Framing: messages, keep-alives and ruin on a stream, however the octets are cut into reads."""

from __future__ import annotations

import pytest

from proxy.sip.grammar import MESSAGE_MAX
from proxy.sip.message import ErrorKind
from proxy.sip.stream import FrameError, Framer, Keepalive
from tests.sip.plain import HEADERS, START, VIA, wire

PING = Keepalive.PING
INVITE = wire(START, [*HEADERS, "Content-Length: 4"], b"\r\n\r\n")
COMPACT = wire("BYE sip:a@b SIP/2.0", [VIA, "l:0"])


def frames(*pieces: bytes) -> list[bytes | Keepalive | ErrorKind]:
    framer = Framer()
    out: list[bytes | Keepalive | ErrorKind] = []
    for piece in pieces:
        out += [frame.error.kind if isinstance(frame, FrameError) else frame for frame in framer.feed(piece)]
    return out


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def error_of(data: bytes) -> FrameError:
    frame = Framer().feed(data)[-1]
    assert isinstance(frame, FrameError)
    return frame


STREAMS: list[tuple[str, bytes, list[bytes | Keepalive | ErrorKind]]] = [
    ("one message", INVITE, [INVITE]),
    ("three messages", INVITE + COMPACT + INVITE, [INVITE, COMPACT, INVITE]),
    ("CRLF between messages", INVITE + b"\r\n" + COMPACT, [INVITE, COMPACT]),
    ("a message that has not ended", INVITE + COMPACT[:-1], [INVITE]),
    ("a body that has not arrived", INVITE[:-1], []),
    ("nothing", b"", []),
    ("half a ping", b"\r\n", []),
    (
        "a folded compact length",
        wire(START, [*HEADERS, "l \t:\r\n 2"], b"abX"),
        [wire(START, [*HEADERS, "l \t:\r\n 2"], b"ab")],
    ),
    ("a length with zeros in front", wire(START, ["L: 0002"], b"ab"), [wire(START, ["L: 0002"], b"ab")]),
    ("no length", wire(START, HEADERS), [ErrorKind.MISSING]),
    ("no length, later", INVITE + wire(START, HEADERS) + INVITE, [INVITE, ErrorKind.MISSING]),
    ("two lengths", wire(START, [*HEADERS, "l: 0", "Content-Length: 0"]), [ErrorKind.DUPLICATE]),
    ("a negative length", wire(START, [*HEADERS, "Content-Length: -1"]), [ErrorKind.CONTENT_LENGTH]),
    ("a length in two words", wire(START, [*HEADERS, "l: 1\r\n 2"]), [ErrorKind.CONTENT_LENGTH]),
    ("an empty length", wire(START, [*HEADERS, "l:"]), [ErrorKind.CONTENT_LENGTH]),
    ("an endless length", wire(START, [*HEADERS, "l: " + "9" * 5000]), [ErrorKind.CONTENT_LENGTH]),
    ("a body too large", wire(START, [*HEADERS, f"l: {MESSAGE_MAX}"]), [ErrorKind.TOO_LARGE]),
    ("another protocol", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", [ErrorKind.START_LINE]),
]


@pytest.mark.parametrize(("data", "expected"), [row[1:] for row in STREAMS], ids=[row[0] for row in STREAMS])
def test_streams(data: bytes, expected: list[bytes | Keepalive | ErrorKind]) -> None:
    assert frames(data) == expected
    assert frames(*bytewise(data)) == expected
    for cut in range(0, len(data), 7):
        assert frames(data[:cut], data[cut:]) == expected


# --- Keep-alives: RFC 5626 §3.5.1. ---


@pytest.mark.parametrize(
    "pieces",
    [
        (b"\r\n\r\n",),
        (b"\r\n", b"\r\n"),
        (b"\r", b"\n\r", b"\n"),
        (b"\r\n\r", b"\n"),
    ],
)
def test_a_ping_is_a_ping_however_it_is_cut(pieces: tuple[bytes, ...]) -> None:
    assert frames(*pieces) == [PING]


def test_pings_between_messages() -> None:
    assert frames(b"\r\n\r\n" + INVITE + b"\r\n\r\n" + COMPACT + b"\r\n\r\n") == [
        PING,
        INVITE,
        PING,
        COMPACT,
        PING,
    ]


def test_a_flood_of_pings_in_one_read_is_answered_once() -> None:
    assert frames(b"\r\n" * 30_000) == [PING]


def test_a_lone_crlf_is_not_held_forever() -> None:
    framer = Framer()
    assert framer.feed(INVITE + b"\r\n") == [INVITE]
    assert framer.pending == 2
    assert framer.feed(COMPACT) == [COMPACT]
    assert framer.pending == 0


def test_the_end_of_one_message_and_a_crlf_make_no_ping() -> None:
    assert frames(COMPACT, b"\r\n", COMPACT) == [COMPACT, COMPACT]


# --- Ruin. ---


@pytest.mark.rfc3261("18.3-4")
def test_a_request_that_cannot_be_framed_can_be_answered() -> None:
    # RFC 3261 §18.3: over a stream, Content-Length must be there; RFC 4475 §3.4.1: inv2543 has none.
    error = error_of(wire(START, HEADERS)).error
    assert (error.status_hint, error.reason) == (400, "Missing Content-Length header")
    assert error.request is not None
    assert error.request.lines == HEADERS
    large = error_of(wire(START, [*HEADERS, "l: 999999"])).error
    assert (large.kind, large.status_hint) == (ErrorKind.TOO_LARGE, 513)
    assert large.request is not None


def test_a_response_that_cannot_be_framed_is_not_answered() -> None:
    error = error_of(wire("SIP/2.0 200 OK", HEADERS)).error
    assert (error.kind, error.status_hint, error.request) == (ErrorKind.MISSING, 0, None)


def test_after_ruin_nothing_is_kept_or_read() -> None:
    framer = Framer()
    framer.feed(wire(START, HEADERS) + INVITE)
    assert framer.feed(INVITE) == []
    assert framer.pending == 0


@pytest.mark.parametrize("piece", [1_000, 8_191, 100_000])
def test_a_header_section_without_end_is_given_up(piece: int) -> None:
    framer = Framer()
    endless = wire(START, HEADERS)[:-2] + b"X: " + b"y" * 100_000
    out = [frame for at in range(0, len(endless), piece) for frame in framer.feed(endless[at : at + piece])]
    assert len(out) == 1
    assert isinstance(out[0], FrameError)
    assert (out[0].error.kind, out[0].error.status_hint) == (ErrorKind.TOO_LARGE, 513)
    assert framer.pending == 0


def test_the_largest_message_passes() -> None:
    head = wire(START, [*HEADERS, "Content-Length: 64000"])
    data = head + b"x" * 64_000
    assert len(data) <= MESSAGE_MAX
    assert frames(*[data[at : at + 1_400] for at in range(0, len(data), 1_400)]) == [data]


def test_tiny_reads_of_a_large_message_cost_no_quadratic_time() -> None:
    # 60,000 octets one by one: searched or copied anew each time, this would be 1.8 thousand million octets.
    data = wire(START, [*HEADERS, "X: " + "y" * 60_000, "Content-Length: 2"], b"ok")
    assert frames(*bytewise(data)) == [data]
