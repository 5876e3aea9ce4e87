"""What single lines of a message say: start line, Via, From, To, CSeq, numbers, addresses. None = malformed.

The lines a proxy reads repeat: the From of a call stands in all of its messages, a CSeq or Content-Length line in
everybody's. So what a line says is remembered by the line's text, in bounded tables. A malformed line never is: it is
read again each time. `parse` looks into the tables itself and calls a reader only for a line that is not there.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.sip.grammar import (
    ALNUM,
    CACHED_TEXT_MAX,
    CSEQ_MAX,
    HOST,
    METHODS,
    TOKEN,
    TOKEN_CHARS,
    UNRESERVED,
    remember,
)
from proxy.sip.headers import (
    first_value,
    parse_name_addr,
    parse_name_addrs,
    parse_params,
    split_list,
    valid_uri,
)
from proxy.sip.ids import MAGIC
from proxy.sip.message import TopVia
from proxy.sip.uri import parse_uri

_STATUS_LINE: Final = re.compile(r"SIP/2\.0 ([1-6][0-9][0-9])(?: (.*))?", re.IGNORECASE | re.DOTALL)
_CSEQ: Final = re.compile(rf"0*+([0-9]{{0,10}})[ \t]++([{TOKEN_CHARS}]++)")
_SENT_BY: Final = re.compile(
    rf"SIP[ \t]*/[ \t]*2\.0[ \t]*/[ \t]*([{TOKEN_CHARS}]++)[ \t]++({HOST})[ \t]*(?::[ \t]*([0-9]{{1,5}}))?",
    re.IGNORECASE,
)
# What most lines look like: one match instead of many. Each takes a part of what the reader below it takes, and
# says the same of it (`tests/sip/test_parse.py` compares them).
_PORT: Final = "[0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}"
_COMMON_ADDRESS: Final = re.compile(
    rf'(?:From|To): (?:"[^"\\]*+" ?+|[{TOKEN_CHARS} ]*+)<sips?:(?:[{UNRESERVED}+]++@)?[{ALNUM}][{ALNUM}.\-]*+'
    rf"(?::(?:{_PORT}))?>(?:;tag=([{TOKEN_CHARS}]++))?"
)
_COMMON_ROUTE: Final = re.compile(
    rf"Route: <sip:[{ALNUM}][{ALNUM}.\-]*+(?::(?:{_PORT}))?(?:;transport=[a-z]++)?;lr(?:;c=[0-9a-f]++)?>"
)


class StartLine:
    """A start line: of a request when `status` is 0."""

    __slots__ = ("method", "reason", "status", "uri")

    def __init__(self, method: str, uri: str, status: int, reason: str) -> None:
        self.method = method
        self.uri = uri
        self.status = status
        self.reason = reason


class SentBy:
    """What the Via lines of one peer have in common: all that stands before the branch."""

    __slots__ = ("host", "port", "rport", "transport")

    def __init__(self, transport: str, host: str, port: int | None, rport: str | None) -> None:
        self.transport = transport
        self.host = host
        self.port = port
        self.rport = rport


STARTS: Final[dict[str, StartLine]] = {}
VIAS: Final[dict[str, TopVia]] = {}
SENT_BYS: Final[dict[str, SentBy]] = {}
TAGS: Final[dict[str, str]] = {}
CSEQS: Final[dict[str, tuple[int, str]]] = {}
NUMBERS: Final[dict[str, int]] = {}
GOOD_ADDRESSES: Final[dict[str, bool]] = {}
OWN_ROUTES: Final[dict[str, bool]] = {}


def read_start(text: str) -> StartLine | None:
    """A request line or status line of SIP/2.0; None when it is neither."""
    # RFC 4475 §3.1.2.8 to §3.1.2.10: more than two spaces are refused, not guessed at.
    parts = text.split(" ")
    if len(parts) == 3 and parts[2].upper() == "SIP/2.0":
        method, uri, _ = parts
        if (method in METHODS or TOKEN.fullmatch(method)) and _request_uri_good(uri):
            return remember(STARTS, text, StartLine(method, uri, 0, ""))
        return None
    match = _STATUS_LINE.fullmatch(text)
    if match is None:
        return None
    return remember(STARTS, text, StartLine("", "", int(match[1]), match[2] or ""))


def _request_uri_good(text: str) -> bool:
    uri = parse_uri(text)
    if uri is None:
        return valid_uri(text)
    # RFC 3261 §19.1.1: no headers in a Request-URI; RFC 4475 §3.1.2.11: they must not go any further.
    return not uri.headers


def read_via(line: str) -> TopVia | None:
    """The first value of a Via line."""
    # Up to the branch the lines of one peer are the same; what follows is new with each request.
    at = line.find(";branch=")
    sent_by = SENT_BYS.get(line[:at])
    if sent_by is None:
        return read_any_via(line)
    end = line.find(",", at)
    value = line[5:end] if end >= 0 else line[5:]
    branch, rport = value[at + 3 :], sent_by.rport
    if rport is None and branch.endswith(";rport"):
        branch, rport = branch[:-6], ""
    # RFC 4475 §3.2.1: the cookie alone identifies no transaction. Whatever else stands there is for the other reader.
    if branch == MAGIC or not _plain(branch):
        return read_any_via(line)
    return TopVia(sent_by.transport, sent_by.host, sent_by.port, branch, rport, None, value)


def _plain(text: str) -> bool:
    """Whether this is a parameter's value and no more: nothing in it separates or quotes."""
    return text.isalnum() or (
        bool(text)
        and not (
            ";" in text
            or "," in text
            or " " in text
            or '"' in text
            or "<" in text
            or ">" in text
            or "\t" in text
        )
    )


def read_any_via(line: str) -> TopVia | None:
    """The same, for whatever spelling RFC 3261 §25.1 allows."""
    known = VIAS.get(line)
    if known is not None:
        return known
    value = first_value(line.partition(":")[2])
    sent_by, semicolon, params_text = value.partition(";")
    match = _SENT_BY.fullmatch(sent_by.strip(" \t"))
    params = parse_params(semicolon + params_text)
    if match is None or params is None:
        return None
    transport, host, port_text = match.groups()
    port = int(port_text) if port_text else None
    branch = params.get("branch", "")
    # RFC 4475 §3.2.1: the cookie alone identifies no transaction.
    if branch is None or branch == MAGIC or (port is not None and port > 65_535):
        return None
    # RFC 3581 §3: rport stands there without a value.
    rport = (params["rport"] or "") if "rport" in params else None
    via = TopVia(transport.upper(), host, port, branch, rport, params.get("received"), value)
    before = line[: line.find(";branch=")]
    if before == f"Via: {sent_by}" or before == f"Via: {sent_by};rport":
        remember(
            SENT_BYS, before, SentBy(via.transport, host, port, "" if before.endswith(";rport") else None)
        )
        return via
    return remember(VIAS, line, via)


def read_tag(line: str) -> str | None:
    """The tag of a From or To line, "" when it has none; None: the line is malformed."""
    # An account's lines are the same up to the tag; that so much is well-formed is known once it was seen.
    at = line.rfind(">;tag=")
    if at > 0 and TAGS.get(line[: at + 1]) == "":
        tag = line[at + 6 :]
        if _plain(tag):
            return remember(TAGS, line, tag)
    match = _COMMON_ADDRESS.fullmatch(line) if len(line) <= CACHED_TEXT_MAX else None
    if match is None:
        return read_any_tag(line)
    if at > 0:
        remember(TAGS, line[: at + 1], "")
    return remember(TAGS, line, match[1] or "")


def read_any_tag(line: str) -> str | None:
    """The same, for whatever spelling RFC 3261 §25.1 allows."""
    address = parse_name_addr(line.partition(":")[2])
    if address is None:
        return None
    if "tag" not in address.params:
        return remember(TAGS, line, "")
    # RFC 3261 §25.1: tag-param = "tag" EQUAL token. With an empty one our answer would get a second tag.
    tag = address.params["tag"]
    return remember(TAGS, line, tag) if tag else None


def read_cseq(line: str) -> tuple[int, str] | None:
    match = _CSEQ.fullmatch(line.partition(":")[2].strip(" \t"))
    if match is None:
        return None
    number = int(match[1] or "0")
    return None if number > CSEQ_MAX else remember(CSEQS, line, (number, match[2]))


def read_number(line: str) -> int | None:
    """1*DIGIT, as in Content-Length and Max-Forwards; None for anything else or what no bound would let pass."""
    text = line.partition(":")[2].strip(" \t")
    digits = text.lstrip("0")
    if not text.isascii() or not text.isdecimal() or len(digits) > 6:
        return None
    return remember(NUMBERS, line, int(digits or "0"))


def _own_route(line: str) -> bool:
    """Whether this is a Record-Route value of ours as it comes back; its token makes it new in each call."""
    # What stands before the token is the same in all of them.
    at = line.find(";c=")
    if at < 0:
        return False
    if line[:at] in OWN_ROUTES:
        return line.endswith(">") and line[at + 3 : -1].isalnum() and line.isascii()
    if _COMMON_ROUTE.fullmatch(line) is None:
        return False
    remember(OWN_ROUTES, line[:at], True)
    return True


def addresses_good(key: str, method: str, lines: list[str], keys: list[str]) -> bool:
    """Whether every Contact or Route line of a request can be read."""
    at = -1
    for _ in range(keys.count(key)):
        at = keys.index(key, at + 1)
        line = lines[at]
        if line in GOOD_ADDRESSES or (key == "route" and _own_route(line)):
            continue
        text = line.partition(":")[2].strip(" \t")
        # RFC 3261 §10.2.2: the asterisk is for REGISTER alone.
        if key == "contact" and text == "*" and method == "REGISTER":
            continue
        if parse_name_addrs(text) is None:
            return False
        # RFC 3261 §20.34: a Route value always has its <>; else its `lr` would be a header parameter.
        if key == "route" and not all("<" in value for value in split_list(text)):
            return False
        remember(GOOD_ADDRESSES, line, True)
    return True
