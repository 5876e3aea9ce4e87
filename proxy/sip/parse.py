"""Bytes → `Request | Response | ParseError`. Never raises, never hangs.

How it is fast: the header section is cut into lines once, the common names are told by their letters and the others
by a dict, and of the values only the handful a proxy needs is read, most of them from the tables of `lines`.

How it is strict: RFC 4475 says which mistakes are answered with 400; those that concern a proxy's own headers are found
here. What the method, the scheme, Max-Forwards: 0 or Proxy-Require ask for is the engine's verdict, not a syntax error.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.sip.grammar import (
    CALL_ID,
    CONTACT,
    CONTENT_LENGTH,
    CSEQ,
    FROM,
    HOST,
    LINE_MAX,
    LINES_MAX,
    MANDATORY,
    MAX_FORWARDS,
    MAX_FORWARDS_MAX,
    MESSAGE_MAX,
    METHODS,
    PLACES,
    ROUTE,
    SINGLE,
    TO,
    TOKEN,
    TOKEN_CHARS,
    URI_MAX,
    VIA,
    common_name,
    header_key,
)
from proxy.sip.headers import first_value
from proxy.sip.lines import (
    CSEQS,
    GOOD_ADDRESSES,
    NUMBERS,
    STARTS,
    TAGS,
    addresses_good,
    read_cseq,
    read_number,
    read_start,
    read_tag,
    read_via,
)
from proxy.sip.message import ErrorKind, ParseError, Request, Response, TopVia

_NAMES: Final = {
    "via": "Via",
    "from": "From",
    "to": "To",
    "call-id": "Call-ID",
    "cseq": "CSeq",
    "max-forwards": "Max-Forwards",
    "content-length": "Content-Length",
}
_BARE: Final = re.compile(r"[\r\n]")
_FOLD: Final = re.compile(r"\r\n[ \t]+")
_VERSION: Final = re.compile(r"SIP/[0-9]{1,9}\.[0-9]{1,9}", re.IGNORECASE)
# For messages that are wrong anyway: enough of a Via or a tag to address and shape the answer.
_LOOSE_SENT_BY: Final = re.compile(
    rf"[^ \t/]++/[^ \t/]++/([{TOKEN_CHARS}]++)[ \t]++({HOST})(?::([0-9]{{1,5}}))?"
)
_LOOSE_TAG: Final = re.compile(rf";[ \t]*tag[ \t]*=[ \t]*([{TOKEN_CHARS}]++)", re.IGNORECASE)


def parse(data: bytes) -> Request | Response | ParseError:
    """One datagram, or one message that `stream.Framer` cut out of a stream. What follows Content-Length is ignored."""
    text = data.decode("latin-1")
    end = text.find("\r\n\r\n")
    if not 0 < end <= LINE_MAX or len(data) > MESSAGE_MAX:
        return _parse_irregular(data)
    head = text[:end]
    lines = head.split("\r\n")
    flat = "".join(lines)
    # A bare CR or LF is a line end to some and a character to others: it must never get through.
    if len(lines) > LINES_MAX or "\n" in flat or "\r" in flat:
        return _parse_irregular(data)
    message = _assemble(lines.pop(0), lines, data[end + 4 :])
    return message if message is not None else _parse_irregular(data)


def _assemble(start_line: str, lines: list[str], rest: bytes) -> Request | Response | ParseError | None:
    """The message of these lines; `rest` is what followed the empty line. None: a line has no name."""
    keys: list[str] = []
    places = [-1, -1, -1, -1, -1, -1, -1, -1, -1]
    repeated = False
    for at, line in enumerate(lines):
        name = common_name(line)
        if name is not None:
            key, place = name.key, name.place
        else:
            key = _key_of(line)
            if not key:
                return None
            place = PLACES.index(key) if key in PLACES else -1
        keys.append(key)
        if place >= 0:
            if places[place] < 0:
                places[place] = at
            elif place != VIA:
                repeated = True
    start = STARTS.get(start_line) or read_start(start_line)
    if start is None:
        return _refuse_start(start_line, lines, keys)
    if repeated and (twice := _occurs_twice(keys)):
        return _refuse(ErrorKind.DUPLICATE, f"Multiple {twice} headers", start_line, lines, keys)
    for place in MANDATORY:
        if places[place] < 0:
            missing = _NAMES[PLACES[place]]
            return _refuse(ErrorKind.MISSING, f"Missing {missing} header", start_line, lines, keys)
    via = read_via(lines[places[VIA]])
    if via is None:
        return _refuse(ErrorKind.VIA, "Malformed Via header", start_line, lines, keys)
    line = lines[places[FROM]]
    from_tag = TAGS.get(line)
    if from_tag is None and (from_tag := read_tag(line)) is None:
        return _refuse(ErrorKind.FROM, "Malformed From header", start_line, lines, keys)
    line = lines[places[TO]]
    to_tag = TAGS.get(line)
    if to_tag is None and (to_tag := read_tag(line)) is None:
        return _refuse(ErrorKind.TO, "Malformed To header", start_line, lines, keys)
    line = lines[places[CALL_ID]]
    call_id = line[line.find(":") + 1 :].strip(" \t")
    # RFC 3261 §25.1 callid = word [ "@" word ]. We differ: only what would split the value is refused.
    if not call_id or " " in call_id or "\t" in call_id:
        return _refuse(ErrorKind.CALL_ID, "Malformed Call-ID header", start_line, lines, keys)
    line = lines[places[CSEQ]]
    cseq = CSEQS.get(line) or read_cseq(line)
    if cseq is None:
        return _refuse(ErrorKind.CSEQ, "Malformed CSeq header", start_line, lines, keys)
    number, method = cseq
    if places[CONTENT_LENGTH] >= 0:
        line = lines[places[CONTENT_LENGTH]]
        length = NUMBERS.get(line)
        # RFC 3261 §18.3: a datagram shorter than it says is an error; octets beyond the body are discarded.
        if (length is None and (length := read_number(line)) is None) or length > len(rest):
            return _refuse(ErrorKind.CONTENT_LENGTH, "Bad Content-Length header", start_line, lines, keys)
        rest = rest[:length]
    if start.status:
        # Whatever else a response holds wrong is no reason to lose a call over it.
        status, reason = start.status, start.reason
        return Response(
            status, reason, method, lines, keys, rest, via, call_id, number, from_tag, to_tag, None
        )
    request = Request(
        start.method, start.uri, lines, keys, rest, via, call_id, number, from_tag, to_tag, None
    )
    return _checked(request, method, places, repeated, start_line) or request


def _checked(
    request: Request, method: str, places: list[int], repeated: bool, start_line: str
) -> ParseError | None:
    """What only requests are looked at for; sets `hops`."""
    lines, keys = request.lines, request.keys
    # RFC 3261 §8.1.1.5. RFC 4475 §3.1.2.18: of a method that nobody knows, 501 tells more.
    if method != request.method:
        status = 400 if request.method in METHODS else 501
        return _refuse(ErrorKind.CSEQ, "CSeq method does not match", start_line, lines, keys, status)
    if places[MAX_FORWARDS] >= 0:
        line = lines[places[MAX_FORWARDS]]
        hops = NUMBERS.get(line)
        if (hops is None and (hops := read_number(line)) is None) or hops > MAX_FORWARDS_MAX:
            return _refuse(ErrorKind.MAX_FORWARDS, "Bad Max-Forwards header", start_line, lines, keys)
        request.hops = hops
    if places[CONTACT] >= 0:
        read_before = not repeated and lines[places[CONTACT]] in GOOD_ADDRESSES
        if not read_before and not addresses_good("contact", method, lines, keys):
            return _refuse(ErrorKind.CONTACT, "Malformed Contact header", start_line, lines, keys)
    if places[ROUTE] >= 0 and not addresses_good("route", method, lines, keys):
        return _refuse(ErrorKind.ROUTE, "Malformed Route header", start_line, lines, keys)
    return None


# --- The uncommon and the wrong. ---


def _key_of(line: str) -> str:
    name, colon, _ = line.partition(":")
    return header_key(name) if colon else ""


def _occurs_twice(keys: list[str]) -> str:
    """The name of a header that may stand there once and does not, "" when all is well."""
    return next((_NAMES[key] for key in SINGLE if keys.count(key) > 1), "")


def _parse_irregular(data: bytes) -> Request | Response | ParseError:
    """Whatever `parse` will not take at a glance: CRLF in front, folds, odd names, too much of anything."""
    # RFC 3261 §7.5: CRLF before the start line is ignored.
    if data[:2] == b"\r\n":
        data = data.lstrip(b"\r\n")
        if data:
            return parse(data)
    if not data:
        return ParseError(ErrorKind.EMPTY, 0, "Nothing but CRLF", None)
    end = data.find(b"\r\n\r\n")
    head = data[: end if end >= 0 else MESSAGE_MAX].decode("latin-1")
    start_line, _, section = head.partition("\r\n")
    # RFC 3261 §7.3.1: a line that starts with white space continues the one before; the fold reads as one space.
    lines = _FOLD.sub(" ", section).split("\r\n") if section else []
    keys = [_key_of(line) for line in lines]
    if len(data) > MESSAGE_MAX:
        return _refuse(ErrorKind.TOO_LARGE, "Message Too Large", start_line, lines, keys, 513)
    if len(lines) > LINES_MAX or len(start_line) > LINE_MAX or any(len(line) > LINE_MAX for line in lines):
        return _refuse(ErrorKind.TOO_LARGE, "Header section too large", start_line, lines, keys, 513)
    if _BARE.search(start_line) or any(_BARE.search(line) for line in lines):
        return _refuse(ErrorKind.LINE, "Bare CR or LF", start_line, lines, keys)
    if end < 0:
        return _refuse(ErrorKind.TRUNCATED, "No empty line after the headers", start_line, lines, keys)
    if "" in keys:
        return _refuse(ErrorKind.LINE, "Malformed header line", start_line, lines, keys)
    message = _assemble(start_line, lines, data[end + 4 :])
    assert message is not None, "every line has a name"
    return message


def _refuse_start(start_line: str, lines: list[str], keys: list[str]) -> ParseError:
    """Why `read_start` would not take this line."""
    if start_line[:4].upper() == "SIP/":
        return _refuse(ErrorKind.START_LINE, "Malformed status line", start_line, lines, keys, 0)
    parts = start_line.split(" ")
    if len(parts) != 3 or TOKEN.fullmatch(parts[0]) is None or _VERSION.fullmatch(parts[2]) is None:
        return _refuse(ErrorKind.START_LINE, "Malformed request line", start_line, lines, keys)
    if parts[2].upper() != "SIP/2.0":
        return _refuse(ErrorKind.VERSION, "Version Not Supported", start_line, lines, keys, 505)
    if len(parts[1]) > URI_MAX:
        return _refuse(ErrorKind.TOO_LARGE, "Request-URI Too Long", start_line, lines, keys, 414)
    return _refuse(ErrorKind.REQUEST_URI, "Malformed Request-URI", start_line, lines, keys)


def _refuse(
    kind: ErrorKind, reason: str, start_line: str, lines: list[str], keys: list[str], status: int = 400
) -> ParseError:
    """The error, with what is left of the request to answer it by, where it is one and may be answered."""
    method, _, rest = start_line.partition(" ")
    if TOKEN.fullmatch(method) is None or method == "ACK":
        return ParseError(kind, 0, reason, None)
    good = [
        at
        for at, key in enumerate(keys)
        if key and len(lines[at]) <= LINE_MAX and not _BARE.search(lines[at])
    ]
    del good[LINES_MAX:]
    lines = [lines[at] for at in good]
    keys = [keys[at] for at in good]
    via = _loose_via(lines[keys.index("via")]) if "via" in keys else None
    if via is None:
        return ParseError(kind, 0, reason, None)
    call_id = lines[keys.index("call-id")].partition(":")[2].strip(" \t") if "call-id" in keys else ""
    uri = rest.partition(" ")[0]
    from_tag, to_tag = _loose_tag("from", lines, keys), _loose_tag("to", lines, keys)
    request = Request(method, uri, lines, keys, b"", via, call_id, 0, from_tag, to_tag, None)
    return ParseError(kind, status, reason, request)


def _loose_via(line: str) -> TopVia | None:
    via = read_via(line)
    if via is not None:
        return via
    value = first_value(line.partition(":")[2])
    match = _LOOSE_SENT_BY.match(value)
    if match is None:
        return None
    port = None if match[3] is None else int(match[3])
    return TopVia(match[1].upper(), match[2], port, "", None, None, value)


def _loose_tag(key: str, lines: list[str], keys: list[str]) -> str:
    match = _LOOSE_TAG.search(lines[keys.index(key)]) if key in keys else None
    return "" if match is None else match[1]


def refuse(head: bytes, kind: ErrorKind, reason: str, status: int) -> ParseError:
    """The error for a message of which only the header section `head` may be looked at (`stream` cannot frame it)."""
    start_line, _, section = head[:MESSAGE_MAX].decode("latin-1").partition("\r\n")
    lines = _FOLD.sub(" ", section).split("\r\n")
    return _refuse(kind, reason, start_line, lines, [_key_of(line) for line in lines], status)
