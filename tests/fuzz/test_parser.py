"""Invariants of the parser, whatever the network sends:

1. `parse` and `Framer.feed` return; they never raise and never hang.
2. What is refused and may be answered can be answered, in well-formed lines.
3. What is accepted is stable: written out and parsed again it is the same message, and it never smuggles a line end.
4. The framer cuts a stream into the same messages however the octets arrive, and agrees with `parse` about each.
5. Every reader of a header value returns for any text, in time linear in its length.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.sip import headers, uri
from proxy.sip.message import Message, ParseError, Request, Response, TopVia
from proxy.sip.parse import parse
from proxy.sip.serialise import received_via, render, reply
from proxy.sip.stream import FrameError, Framer, Keepalive
from tests.torture.cases import load

SEEDS = [case.data for case in load()]

# What hurts parsers: separators, line ends, escapes, extremes.
SPICE = [
    *(bytes([code]) for code in b'\r\n \t:;,<>"\\@%=?/[]*\x00\xff\x85\xa0'),
    *(
        b"\r\n",
        b"\r\n\r\n",
        b"\r\n ",
        b"\n",
        b"SIP/2.0",
        b"INVITE ",
        b"ACK ",
        b"Via: ",
        b"v:",
        b"From:",
        b"To:",
        b"i:",
    ),
    *(
        b"Content-Length: 5\r\n",
        b"l: -1\r\n",
        b"CSeq: 4294967296 X\r\n",
        b"Max-Forwards: 256\r\n",
        b"Route: <",
        b"m: *",
    ),
    *(
        b"sip:",
        b"<sip:a@b>",
        b"[::1]",
        b"%00",
        b"%",
        b"z9hG4bK",
        b";branch=",
        b";rport",
        b";received=",
        b";tag=",
        b"9" * 30,
    ),
    *(b"A" * 9000, b'"' * 300, b"<" * 300, b"," * 300, b"\\" * 300, b"\r\n" * 300, b" " * 9000),
]


def mutated(rng: random.Random, seeds: Sequence[bytes] = SEEDS) -> bytes:
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.randint(1, 6)):
        at = rng.randint(0, len(data))
        match rng.randint(0, 5):
            case 0:
                data[at:at] = rng.choice(SPICE)
            case 1:
                del data[at : at + rng.randint(1, 40)]
            case 2:
                data[at : at + 1] = bytes([rng.randint(0, 255)])
            case 3:
                data[at : at + 8] = rng.choice(SPICE)
            case 4:
                other = rng.choice(SEEDS)
                data[at:] = other[rng.randint(0, len(other)) :]
            case _:
                line = rng.choice(rng.choice(SEEDS).split(b"\r\n"))
                data[at:at] = line + b"\r\n"
    return bytes(data)


def rewritten(message: Request | Response) -> bytes:
    if isinstance(message, Request):
        return render(f"{message.method} {message.uri} SIP/2.0", message.lines, message.body)
    return render(f"SIP/2.0 {message.status} {message.reason}", message.lines, message.body)


def facts(message: Message) -> tuple[object, ...]:
    via = message.via
    return (
        type(message),
        message.lines,
        message.keys,
        message.body,
        (message.call_id, message.cseq, message.from_tag, message.to_tag, message.max_forwards()),
        (via.transport, via.host, via.port, via.branch, via.rport, via.received, via.value),
    )


def hold(data: bytes) -> Request | Response | ParseError:
    """Invariants 1 to 3 for one datagram."""
    message = parse(data)
    if not isinstance(message, ParseError):
        assert not any("\r" in line or "\n" in line for line in message.lines)
        again = parse(rewritten(message))
        assert isinstance(again, Message)
        assert facts(again) == facts(message)
        message.contact_uri()
    elif message.request is not None:
        via = received_via(message.request.via, "192.0.2.1", 5060)
        answer = reply(message.request, message.status_hint, message.reason, "t", via)
        head, end, body = answer.partition(b"\r\n\r\n")
        assert (end, body) == (b"\r\n\r\n", b"")
        assert head.count(b"\r\n") == head.count(b"\r") == head.count(b"\n")
    return message


def cut(data: bytes, places: list[int]) -> list[bytes]:
    places = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(places)]


def fed(pieces: list[bytes]) -> list[object]:
    framer = Framer()
    out: list[object] = []
    for piece in pieces:
        out += [frame.error.kind if isinstance(frame, FrameError) else frame for frame in framer.feed(piece)]
    return out


def messages_in(frames: list[object]) -> list[object]:
    # Pings of one read are one ping, so their number hangs on the reads; everything else does not.
    return [frame for frame in frames if not isinstance(frame, Keepalive)]


def test_ten_thousand_mutated_messages() -> None:
    rng = random.Random(20261113)
    accepted = 0
    for _ in range(10_000):
        accepted += not isinstance(hold(mutated(rng)), ParseError)
    # The mutations are mild enough to pass, and harsh enough to be refused, often.
    assert 500 < accepted < 9_500


def test_a_thousand_mutated_streams() -> None:
    rng = random.Random(20261114)
    framed = 0
    for _ in range(1_000):
        data = b"".join(mutated(rng) for _ in range(3))
        whole = fed([data])
        pieces = cut(data, [rng.randint(0, len(data)) for _ in range(rng.randint(1, 30))])
        assert messages_in(fed(pieces)) == messages_in(whole)
        for frame in messages_in(whole):
            if isinstance(frame, bytes):
                hold(frame)
                framed += 1
    assert framed > 500


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=600))
def test_random_octets(data: bytes) -> None:
    hold(data)
    fed(cut(data, [len(data) // 2]))


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from(SPICE), max_size=40).map(b"".join))
def test_nothing_but_spice(data: bytes) -> None:
    hold(data)
    hold(b"INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKa\r\n" + data + b"\r\n\r\n")
    fed(cut(data, [7, 70]))


# --- Messages that are right by construction. ---

TOKEN = st.text("abcXYZ019-.!%*_+`'~", min_size=1, max_size=12)
QUOTED = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=12).map(headers.quote)
HOST = st.sampled_from(["h", "Example.COM", "192.0.2.1", "[2001:db8::1]", "a-b.c_d", "h:5060", "[::1]:1"])
URI_PARAM = st.sampled_from([";lr", ";transport=tcp", ";x=%41", ";user=phone", ";a;b=c"])
SIP_URI = st.builds(
    lambda scheme, user, host, params: f"{scheme}:{user}{host}{params}",
    st.sampled_from(["sip", "sips", "SIP"]),
    st.sampled_from(["", "alice@", "+4930;ext=1@", "a%20b:pw@", "*21#@", "J\xc3\xb6@"]),
    HOST,
    st.just("") | URI_PARAM,
)
ANY_URI = SIP_URI | st.sampled_from(["tel:+4930", "urn:service:sos", "http://example.com/?q=1"])
SWS = st.sampled_from(["", " ", "\t", "\r\n ", "\r\n\t "])
DISPLAY = st.just("") | QUOTED | st.lists(TOKEN, max_size=3).map(" ".join)
PARAMS = st.dictionaries(TOKEN.map(str.lower), st.none() | TOKEN | QUOTED, max_size=3).map(
    lambda params: "".join(
        f";{name}" if value is None else f";{name}={value}"
        for name, value in params.items()
        if name not in ("tag", "branch", "rport", "received")
    )
)
NAME_ADDR = st.builds(
    lambda display, sws, uri, params: f"{display}{sws}<{uri}>{params}", DISPLAY, SWS, ANY_URI, PARAMS
)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    method = draw(st.sampled_from(["INVITE", "BYE", "OPTIONS"]) | TOKEN)
    colon = st.builds(lambda before, after: f"{before}:{after}", st.sampled_from(["", " ", "\t"]), SWS)
    sent_by = f"SIP{draw(SWS)}/2.0/{draw(SWS)}UDP {draw(HOST)}"
    lines = [
        f"{draw(st.sampled_from(['Via', 'v', 'VIA']))}{draw(colon)}{sent_by};branch=z9hG4bK{draw(TOKEN)}{draw(PARAMS)}",
        f"{draw(st.sampled_from(['From', 'f']))}{draw(colon)}{draw(NAME_ADDR)}{draw(SWS)};tag={draw(TOKEN)}",
        f"{draw(st.sampled_from(['To', 't', 'TO']))}{draw(colon)}{draw(NAME_ADDR)}",
        f"{draw(st.sampled_from(['Call-ID', 'i']))}{draw(colon)}{draw(TOKEN)}@{draw(TOKEN)}",
        f"CSeq{draw(colon)}{draw(st.integers(0, 2**32 - 1))} {method}",
    ]
    if draw(st.booleans()):
        lines.append(f"Max-Forwards: {draw(st.integers(0, 255))}")
    lines += [f"Contact: {contact}" for contact in draw(st.lists(NAME_ADDR, max_size=2))]
    lines += [f"Route: <{route}>, <{route};y>" for route in draw(st.lists(SIP_URI, max_size=2))]
    lines += [f"X-{draw(TOKEN)}{draw(colon)}{draw(QUOTED)}" for _ in range(draw(st.integers(0, 3)))]
    lines = draw(st.permutations(lines))
    body = draw(st.binary(max_size=50))
    lines.append(f"{draw(st.sampled_from(['Content-Length', 'l', 'L']))}{draw(colon)}{len(body)}")
    request_uri = draw(ANY_URI)
    return "\r\n".join([f"{method} {request_uri} SIP/2.0", *lines, "", ""]).encode("latin-1") + body


@settings(deadline=None, max_examples=100)
@given(messages())
def test_right_messages_are_accepted_and_stable(data: bytes) -> None:
    message = hold(data)
    assert isinstance(message, Request), message.reason


@settings(deadline=None, max_examples=40)
@given(st.lists(messages(), min_size=1, max_size=4), st.lists(st.integers(0, 10_000), max_size=20))
def test_the_framer_finds_what_was_sent_however_it_arrives(sent: list[bytes], places: list[int]) -> None:
    assert fed(cut(b"".join(sent), places)) == sent
    assert messages_in(fed(cut(b"\r\n\r\n".join(sent), places))) == sent


# --- Readers. ---


def _received(text: str) -> object:
    return received_via(TopVia("UDP", text, None, "", "", "x", text), "::1", 1)


def _compare(text: str) -> object:
    left, right = uri.parse_uri(text), uri.parse_uri(text + ";x")
    if left is None:
        return uri.same_host(text, "[::1]")
    return (uri.aor_key(left), right is not None and uri.same_uri(left, right))


def _drop(text: str) -> object:
    lines, keys = [f"Route: {text}", "To: x"], ["route", "to"]
    headers.drop_first_value(lines, keys, "route")
    assert len(lines) == len(keys)
    return lines


READERS: list[Callable[[str], object]] = [
    uri.parse_uri,
    uri.scheme_of,
    uri.unescape,
    uri.escape_user,
    headers.parse_name_addr,
    headers.parse_name_addrs,
    headers.parse_params,
    headers.parse_auth,
    headers.parse_q,
    headers.parse_delta,
    headers.split_list,
    headers.first_value,
    headers.quote,
    headers.unquote,
    headers.valid_uri,
    headers.wire,
    _received,
    _compare,
    _drop,
]


@settings(deadline=None, max_examples=300)
@given(
    st.text(st.characters(max_codepoint=255), max_size=80)
    | st.lists(st.sampled_from([piece.decode("latin-1") for piece in SPICE]), max_size=8).map("".join)
)
def test_readers_return_for_any_text(text: str) -> None:
    for read in READERS:
        read(text)
    for value in headers.split_list(text):
        assert value == value.strip(" \t") != ""


# A reader that is quadratic in any of these would run into the timeout, a linear one needs milliseconds.
LONG = 300_000
MONSTERS = [
    *(char * LONG for char in "a \t;,<>\"\\:@%=/[.?&*0'"),
    *(
        pair * (LONG // 2)
        for pair in ("a;", "a=", ";a", ' "', '""', '"\\', "<>", "a,", ", ", " ;", "%4", "a.", "::", "a ")
    ),
    *('"' + pair * (LONG // 2) for pair in ("\\a", "a ", "a,")),
    *("<sip:a@b>" + pair * (LONG // 2) for pair in (" ;", ";a", " a", ';"')),
    *("sip:" + pair * (LONG // 2) for pair in ("a:", "a@", ";a", "%41", "[:", "a?", "a&")),
    *("Digest " + pair * (LONG // 2) for pair in ("a=", "a,", "a ", ' "', 'a="')),
]


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
def test_readers_are_linear(read: Callable[[str], object]) -> None:
    for text in MONSTERS:
        read(text)


def test_the_parser_is_linear() -> None:
    start = b"INVITE sip:a@b SIP/2.0\r\n"
    for monster in MONSTERS:
        text = monster.encode("latin-1")
        for name in (
            b"Via: SIP/2.0/UDP h",
            b"From: ",
            b"To: ",
            b"Call-ID: ",
            b"CSeq: 1 ",
            b"Route: ",
            b"m: ",
            b"X",
            b"l: ",
        ):
            for size in (8_000, 65_000):
                hold(start + name + text[:size] + b"\r\n\r\n")
        fed([start + text + b"\r\n\r\n"])
        hold(text[:60_000])
        hold(text[:30_000] + b"\r\n \r\n\t" * 4_000)
