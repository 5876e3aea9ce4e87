"""The words and bounds of SIP: character classes (RFC 3261 §25.1), header names, methods, how much is enough.

Every regular expression of this layer is linear: alternatives start with different characters, and a repetition that
could give back what it took is possessive. `tests/fuzz/test_parser.py` holds them to that.
"""

from __future__ import annotations

import re
from typing import Final, TypeVar

T = TypeVar("T")

# --- Bounds. Each is what a message may cost us; what lies beyond is `ErrorKind.TOO_LARGE`. ---

# The largest UDP payload. Kamailio's receive buffer is BUF_SIZE 65,535 too; on a stream the same bound holds.
MESSAGE_MAX: Final = 65_535
# Header lines. Envoy and Python's http.client stop at 100; 70 hops that add Via and Record-Route need more.
LINES_MAX: Final = 256
# One unfolded header line or start line. nginx (large_client_header_buffers) and Apache (LimitRequestFieldSize): 8 KiB.
LINE_MAX: Final = 8_192
# One URI. Kamailio: MAX_URI_SIZE 1024.
URI_MAX: Final = 1_024
# A host name, RFC 1035 §2.3.4.
HOST_MAX: Final = 255
# Texts that each table of parsed values remembers (see `remember`), and what text is worth it: in use a table is about
# 2 MB, and no more than 9 MB whoever writes.
CACHE_MAX: Final = 4_096
CACHED_TEXT_MAX: Final = 256
CACHED_PARAMS_MAX: Final = 12
# RFC 3261 §8.1.1.5 and §20.16: the sequence number is a 32-bit unsigned integer.
CSEQ_MAX: Final = 2**32 - 1
# RFC 3261 §20.22.
MAX_FORWARDS_MAX: Final = 255

# --- Character classes, to stand inside [ ]. ---

ALNUM: Final = "A-Za-z0-9"
TOKEN_CHARS: Final = ALNUM + r"\-.!%*_+`'~"
UNRESERVED: Final = ALNUM + r"\-_.!~*'()"
# Octets of UTF-8 in latin-1 dress (RFC 3261 §25.1: UTF8-NONASCII).
NON_ASCII: Final = r"\x80-\xff"

# --- Pieces of expressions. ---

ESCAPED: Final = "%[0-9A-Fa-f]{2}"
QUOTED: Final = r'"(?:[^"\\]|\\.)*"'
# RFC 5954 §4.1 corrects the IPv6 grammar. RFC 5118 §4.10: `[2001:db8:::192.0.2.1]` must be tolerated, so an IPv6
# reference is known by its characters alone; whether it is an address shows when someone sends to it.
# We differ: an underscore is taken in host names, as container networks hand them out.
HOST: Final = rf"\[[0-9A-Fa-f:.]{{2,45}}\]|[{ALNUM}_][{ALNUM}_.\-]*+"

TOKEN: Final = re.compile(f"[{TOKEN_CHARS}]+")
"""For `fullmatch`: a method, a header name, a parameter name."""

ABSOLUTE_URI: Final = re.compile(rf'[A-Za-z][{ALNUM}+.\-]*+:[^\x00-\x20\x7f<>"]++')
"""For `fullmatch`: a URI of any scheme, as far as SIP has to know."""

# RFC 3261 §20 and the IANA registry: compact form → name.
COMPACT: Final = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "n": "identity-info",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}

_NAMES: Final = """
Accept Accept-Contact Accept-Encoding Accept-Language Alert-Info Allow Allow-Events Authentication-Info Authorization
Call-ID Call-Info Contact Content-Disposition Content-Encoding Content-Language Content-Length Content-Type CSeq Date
Diversion Error-Info Event Expires Feature-Caps Flow-Timer From Geolocation History-Info Identity Identity-Info
In-Reply-To Join Max-Breadth Max-Forwards MIME-Version Min-Expires Min-SE Organization P-Access-Network-Info
P-Asserted-Identity P-Associated-URI P-Called-Party-ID P-Charging-Vector P-Preferred-Identity P-Visited-Network-ID Path
Priority Privacy Proxy-Authenticate Proxy-Authorization Proxy-Require RAck Reason Record-Route Recv-Info Refer-Sub
Refer-To Referred-By Reject-Contact Remote-Party-ID Replaces Reply-To Request-Disposition Require Resource-Priority
Retry-After Route RSeq Security-Client Security-Server Security-Verify Server Service-Route Session-Expires
Session-ID SIP-ETag SIP-If-Match Subject Subscription-State Supported Target-Dialog Timestamp To Unsupported User-Agent
User-to-User Via Warning WWW-Authenticate X-Forwarded-For
"""

# RFC 3261 §20: fields with exactly one value in a message. Content-Length is the one that also frames it.
SINGLE: Final = ("from", "to", "call-id", "cseq", "max-forwards", "content-length")

# The IANA registry of methods. RFC 4475 §3.1.2.18 wants 501, not 400, where one outside it is misused.
_METHODS: Final = (
    "ACK BYE CANCEL INFO INVITE MESSAGE NOTIFY OPTIONS PRACK PUBLISH REFER REGISTER SUBSCRIBE UPDATE"
)
METHODS: Final = frozenset(_METHODS.split())


def _spellings() -> dict[str, str]:
    table: dict[str, str] = {}
    for name in _NAMES.split():
        for spelling in (name, name.lower(), name.upper()):
            table[spelling] = name.lower()
    for short, name in COMPACT.items():
        table[short] = table[short.upper()] = name
    return table


HEADER_KEYS: Final = _spellings()
"""Spelling of a header name → canonical key. Grows by what peers write, up to `SPELLINGS_MAX`; see `header_key`."""

# Spellings the table may hold. The IANA registry has some 130 header fields; the rest is for the world's X- headers.
SPELLINGS_MAX: Final = 1_024
_SPELLING_LENGTH_MAX: Final = 48


# The places of a proxy's own headers in the list that `parse` notes them in.
VIA: Final = 0
FROM: Final = 1
TO: Final = 2
CALL_ID: Final = 3
CSEQ: Final = 4
MAX_FORWARDS: Final = 5
CONTENT_LENGTH: Final = 6
CONTACT: Final = 7
ROUTE: Final = 8
PLACES: Final = (
    "via",
    "from",
    "to",
    "call-id",
    "cseq",
    "max-forwards",
    "content-length",
    "contact",
    "route",
)
MANDATORY: Final = (VIA, FROM, TO, CALL_ID, CSEQ)


class Name:
    """A header name as nearly everybody writes it."""

    __slots__ = ("key", "place", "text")

    def __init__(self, text: str) -> None:
        self.text = f"{text}:"
        self.key = HEADER_KEYS[text]
        self.place = PLACES.index(self.key) if self.key in PLACES else -1


def _by_letters() -> list[Name | None]:
    table: list[Name | None] = [None for _ in range(128 * 128)]
    for text in _COMMON_NAMES.split():
        at = _letters(f"{text}: ......")
        assert table[at] is None, text
        table[at] = Name(text)
    return table


def _letters(line: str) -> int:
    """A number that tells the common names apart, -1 for what is none."""
    if len(line) < 9:
        return -1
    first, second = ord(line[0]), ord(line[1])
    if first == _C and second == _O:
        # Contact, Content-Length, Content-Type.
        second = ord(line[8])
    return first * 128 + second if first < 128 and second < 128 else -1


_C: Final = ord("C")
_O: Final = ord("o")
_COMMON_NAMES: Final = """
Via From To Call-ID CSeq Max-Forwards Content-Length Content-Type Contact Route Record-Route Allow User-Agent Supported
"""
_COMMON: Final = _by_letters()


def common_name(line: str) -> Name | None:
    """The name of a line, if it is one of those that most lines have: for a third of what a look-up costs."""
    at = _letters(line)
    name = _COMMON[at] if at >= 0 else None
    return name if name is not None and line.startswith(name.text) else None


def header_key(name: str) -> str:
    """The canonical key of a header name: lower-case, long form. "" when it cannot be a name.

    White space before the colon is no part of the name (RFC 3261 §7.3.1 allows it, §25.1 HCOLON).
    """
    known = HEADER_KEYS.get(name)
    if known is not None:
        return known
    # RFC 3261 §7.3.1: a line that starts with white space continues the one before; it has no name.
    bare = name.rstrip(" \t")
    if TOKEN.fullmatch(bare) is None:
        return ""
    lower = bare.lower()
    key = HEADER_KEYS.get(lower, lower)
    if len(HEADER_KEYS) < SPELLINGS_MAX and len(name) <= _SPELLING_LENGTH_MAX:
        HEADER_KEYS[name] = key
    return key


def remember(table: dict[str, T], text: str, value: T) -> T:
    """Keep what `text` was parsed to, when it is small enough; a full table starts anew. Gives `value` back.

    Cheaper than an LRU on both ends: a hit is one dict look-up, and what is in use comes back at its next miss.
    """
    if len(text) <= CACHED_TEXT_MAX and text.count(";") <= CACHED_PARAMS_MAX:
        if len(table) >= CACHE_MAX:
            table.clear()
        table[text] = value
    return value
