"""How the mutation fuzzer spoils a message: what it changes is drawn from a generator that is passed in."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from tests.fuzz.test_parser import SPICE
from tests.fuzz.words import EXTRAS, METHODS, OUTSIDE, STATUSES

EDGES = (
    *(
        b"",
        b"0",
        b"1",
        b"-1",
        b"+1",
        b"00",
        b"70",
        b"71",
        b"100",
        b"199",
        b"255",
        b"256",
        b"699",
        b"700",
        b"9999",
    ),
    *(b"65534", b"65535", b"65536", b"2147483647", b"2147483648", b"4294967295", b"4294967296"),
    *(b"18446744073709551616", b"9" * 30, b"0" * 30 + b"1", b"1e3", b"0x10", b"1.5", b".", b"\xb2", b"4_2"),
)
"""Numbers at their edges, and what int() may take for one."""
NAMES = (
    *(
        b"Via",
        b"v",
        b"From",
        b"f",
        b"To",
        b"t",
        b"Call-ID",
        b"i",
        b"CSeq",
        b"Contact",
        b"m",
        b"Content-Length",
        b"l",
    ),
    *(
        b"Route",
        b"Record-Route",
        b"Path",
        b"Service-Route",
        b"Max-Forwards",
        b"Max-Breadth",
        b"Expires",
        b"Min-SE",
    ),
    *(
        b"Session-Expires",
        b"x",
        b"Require",
        b"Proxy-Require",
        b"Supported",
        b"k",
        b"RSeq",
        b"RAck",
        b"Replaces",
    ),
    *(
        b"Refer-To",
        b"r",
        b"Referred-By",
        b"b",
        b"Event",
        b"o",
        b"Subscription-State",
        b"SIP-If-Match",
        b"Privacy",
    ),
    *(
        b"Authorization",
        b"Proxy-Authorization",
        b"WWW-Authenticate",
        b"Proxy-Authenticate",
        b"Content-Type",
        b"c",
    ),
    *(b"P-Asserted-Identity", b"P-Preferred-Identity", b"Reason", b"Retry-After", b"Warning", b"Timestamp"),
)
_NUMBER = re.compile(rb"\d+")
_END = b"\r\n\r\n"


def spoilt(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """`data` after one to five changes, most often one; `other` lends pieces."""
    for _ in range(min(5, int(rng.expovariate(0.7)) + 1)):
        data = rng.choice(_CHANGES)(rng, data, other)
    return data


def _lines(change: Callable[[random.Random, list[bytes], list[bytes]], None]) -> _Change:
    """A change of the lines of the header section."""

    def changed(rng: random.Random, data: bytes, other: bytes) -> bytes:
        head, end, body = data.partition(_END)
        lines = head.split(b"\r\n")
        change(rng, lines, other.partition(_END)[0].split(b"\r\n"))
        return b"\r\n".join(lines) + end + body

    return changed


def _spot(rng: random.Random, data: bytes) -> int:
    return rng.randint(0, len(data))


def _flip(rng: random.Random, data: bytes, other: bytes) -> bytes:
    at = _spot(rng, data)
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :] if at < len(data) else data


def _replace(rng: random.Random, data: bytes, other: bytes) -> bytes:
    at = _spot(rng, data)
    return data[:at] + rng.choice(SPICE)[:2000] + data[at + rng.choice((0, 0, 1, 8)) :]


def _cut(rng: random.Random, data: bytes, other: bytes) -> bytes:
    at = _spot(rng, data)
    return data[:at] + data[at + rng.randint(1, 40) :]


def _splice(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return data[: _spot(rng, data)] + other[_spot(rng, other) :]


def _edge(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """A number at its edge."""
    found = list(_NUMBER.finditer(data))
    if not found:
        return data
    number = rng.choice(found)
    return data[: number.start()] + rng.choice(EDGES) + data[number.end() :]


def _body(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """The body cut, grown, or gone."""
    head, end, body = data.partition(_END)
    match rng.randrange(4):
        case 0:
            return head + end + body[: _spot(rng, body)]
        case 1:
            return head + end + body + other[-rng.randint(1, 300) :]
        case 2:
            return head + end
        case _:
            return head + end[: rng.randint(0, 3)]


def _delete(rng: random.Random, lines: list[bytes], others: list[bytes]) -> None:
    del lines[rng.randrange(len(lines))]


def _duplicate(rng: random.Random, lines: list[bytes], others: list[bytes]) -> None:
    lines[rng.randrange(len(lines)) : 0] = [rng.choice(lines)] * rng.choice((1, 1, 2, 30))


def _swap(rng: random.Random, lines: list[bytes], others: list[bytes]) -> None:
    one, another = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[one], lines[another] = lines[another], lines[one]


def _borrow(rng: random.Random, lines: list[bytes], others: list[bytes]) -> None:
    """A line of the other message, in the place of one or beside it."""
    at = rng.randrange(len(lines))
    lines[at : at + rng.randrange(2)] = [rng.choice(others)]


def _extra(rng: random.Random, lines: list[bytes], others: list[bytes]) -> None:
    lines.insert(rng.randint(1, len(lines)), rng.choice(EXTRAS).encode())


def _rename(rng: random.Random, lines: list[bytes], others: list[bytes]) -> None:
    at = rng.randrange(len(lines))
    lines[at] = rng.choice(NAMES) + b":" + lines[at].partition(b":")[2]


def _value(rng: random.Random, lines: list[bytes], others: list[bytes]) -> None:
    """A value emptied, doubled, folded, or its last parameter lost."""
    at = rng.randrange(len(lines))
    name, colon, value = lines[at].partition(b":")
    changed = (
        b"",
        value + b"," + value,
        value.replace(b" ", b"\r\n "),
        value.rpartition(b";")[0],
        value + b";lr",
    )
    lines[at] = name + colon + rng.choice(changed)


def _start(rng: random.Random, lines: list[bytes], others: list[bytes]) -> None:
    """Another method, in CSeq too; or another status."""
    first = lines[0].split(b" ", 2)
    if first[0] == b"SIP/2.0" and len(first) == 3:
        first[1] = str(rng.choice(STATUSES)).encode()
    else:
        was, first[0] = first[0], rng.choice(METHODS + OUTSIDE).encode()
        lines[:] = [line.replace(was, first[0]) if line.startswith(b"CSeq") else line for line in lines]
    lines[0] = b" ".join(first)


_Change = Callable[[random.Random, bytes, bytes], bytes]
_CHANGES: tuple[_Change, ...] = (
    _flip,
    _replace,
    _cut,
    _splice,
    *[_edge] * 3,
    *[_body] * 2,
    *map(_lines, (_delete, _duplicate, _swap, _borrow, _extra, _extra, _rename, _value, _value, _start)),
)
