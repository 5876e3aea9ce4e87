"""What a parsed SIP message is: `Request`, `Response`, or the `ParseError` that says why it is neither.

Text is `str` decoded as latin-1: every octet becomes one character and comes back unchanged, so nothing here can
fail on bytes that are not UTF-8, and what a proxy does not touch leaves as it came.

A message keeps its header section as two parallel lists: `lines` ("Name: value", unfolded, without CRLF, spelling and
order as received) and `keys` (the canonical lower-case long name of each line, interned for the known ones). So
forwarding is: copy, splice, join. What a proxy always needs (topmost Via, Call-ID, CSeq, tags) is parsed once.

Not here: bodies. callgate never looks into one.
"""

from __future__ import annotations

import enum

from proxy.sip.headers import parse_name_addrs, place_of, split_list


class ErrorKind(enum.Enum):
    """Why bytes are not a SIP message. Closed; the value is a metric label."""

    EMPTY = "empty"  # nothing but CRLF: a keep-alive or noise
    TOO_LARGE = "too_large"  # message, line, header count or URI beyond its bound
    TRUNCATED = "truncated"  # no empty line after the header section
    START_LINE = "start_line"  # neither a request line nor a status line
    VERSION = "version"  # a request of another SIP version: 505
    REQUEST_URI = "request_uri"
    LINE = "line"  # a header line without name or colon, or a bare CR or LF
    MISSING = "missing"  # a mandatory header is absent
    DUPLICATE = "duplicate"  # a header that may occur once occurs twice
    VIA = "via"
    FROM = "from"
    TO = "to"
    CONTACT = "contact"
    ROUTE = "route"
    CALL_ID = "call_id"
    CSEQ = "cseq"
    MAX_FORWARDS = "max_forwards"
    CONTENT_LENGTH = "content_length"


class TopVia:
    """The topmost Via value. `value` is its text, without the header name and without other values of its line."""

    __slots__ = ("branch", "host", "port", "received", "rport", "transport", "value")

    def __init__(
        self,
        transport: str,
        host: str,
        port: int | None,
        branch: str,
        rport: str | None,
        received: str | None,
        value: str,
    ) -> None:
        self.transport = transport
        """Upper-case: "UDP", "TCP", or what an extension wrote."""
        self.host = host
        """As written; an IPv6 reference keeps its brackets."""
        self.port = port
        self.branch = branch
        """"" when absent (RFC 2543)."""
        self.rport = rport
        """None: no such parameter; "": present without a value (RFC 3581 §3)."""
        self.received = received
        self.value = value


class Message:
    """What requests and responses share. `value`, `values` and `all_values` take canonical keys ("call-id")."""

    __slots__ = ("body", "call_id", "cseq", "from_tag", "hops", "keys", "lines", "to_tag", "via")

    def __init__(
        self,
        lines: list[str],
        keys: list[str],
        body: bytes,
        via: TopVia,
        call_id: str,
        cseq: int,
        from_tag: str,
        to_tag: str,
        hops: int | None,
    ) -> None:
        self.lines = lines
        self.keys = keys
        self.body = body
        self.via = via
        self.call_id = call_id
        self.cseq = cseq
        self.from_tag = from_tag
        """"" when absent; compared octet by octet (RFC 3261 §19.3)."""
        self.to_tag = to_tag
        self.hops = hops

    def max_forwards(self) -> int | None:
        """0 … 255, None when the header is absent."""
        return self.hops

    def index(self, key: str) -> int:
        """The position of the first line with this key, -1 when there is none."""
        return place_of(self.keys, key)

    def has(self, key: str) -> bool:
        """Whether there is such a line."""
        return place_of(self.keys, key) >= 0

    def value(self, key: str) -> str | None:
        """The text after the colon of the first such line, stripped; None when there is no such line."""
        at = place_of(self.keys, key)
        if at < 0:
            return None
        line = self.lines[at]
        return line[line.find(":") + 1 :].strip(" \t")

    def values(self, key: str) -> list[str]:
        """The text of every such line, not split at commas."""
        lines = self.lines
        return [lines[i].partition(":")[2].strip(" \t") for i, name in enumerate(self.keys) if name == key]

    def all_values(self, key: str) -> list[str]:
        """Every value of every such line, split at commas outside quotes and <>. Not for Date or auth headers."""
        found: list[str] = []
        for text in self.values(key):
            found += split_list(text)
        return found

    def more_vias(self) -> bool:
        """Whether it has Via values below the topmost."""
        keys = self.keys
        top = place_of(keys, "via")
        if place_of(keys[top + 1 :], "via") >= 0:
            return True
        line = self.lines[top]
        return "," in line and len(split_list(line.partition(":")[2])) > 1

    def contact_uri(self) -> str | None:
        """The URI text of the first Contact value; None when there is none or it is `*`."""
        text = self.value("contact")
        if text is None:
            return None
        contacts = parse_name_addrs(text)
        return contacts[0].uri if contacts else None


class Request(Message):
    """A well-formed request, or (inside a `ParseError`) the part of one that is needed to answer it."""

    __slots__ = ("method", "uri")

    def __init__(
        self,
        method: str,
        uri: str,
        lines: list[str],
        keys: list[str],
        body: bytes,
        via: TopVia,
        call_id: str,
        cseq: int,
        from_tag: str,
        to_tag: str,
        hops: int | None,
    ) -> None:
        # Not by super().__init__: 0.15 µs a message.
        self.lines = lines
        self.keys = keys
        self.body = body
        self.via = via
        self.call_id = call_id
        self.cseq = cseq
        self.from_tag = from_tag
        self.to_tag = to_tag
        self.hops = hops
        self.method = method
        """Case-sensitive, as received; may be a method nobody knows."""
        self.uri = uri
        """The Request-URI as received; any scheme, see `uri.scheme_of`. A sip or sips one is known to parse."""


class Response(Message):
    """A well-formed response."""

    __slots__ = ("cseq_method", "reason", "status")

    def __init__(
        self,
        status: int,
        reason: str,
        cseq_method: str,
        lines: list[str],
        keys: list[str],
        body: bytes,
        via: TopVia,
        call_id: str,
        cseq: int,
        from_tag: str,
        to_tag: str,
        hops: int | None,
    ) -> None:
        # Not by super().__init__: 0.15 µs a message.
        self.lines = lines
        self.keys = keys
        self.body = body
        self.via = via
        self.call_id = call_id
        self.cseq = cseq
        self.from_tag = from_tag
        self.to_tag = to_tag
        self.hops = hops
        self.status = status
        """100 … 699."""
        self.reason = reason
        """The phrase, often empty, in latin-1 dress like all text here."""
        self.cseq_method = cseq_method


class ParseError:
    """A value, not an exception: what came from the network is never our error.

    `status_hint` is the answer to give, 0 when none may be given (a response, an ACK, or nothing to address it by).
    `reason` is plain words that name the header and fit a status line (RFC 3261 §21.4.1 asks for such a phrase).
    `request` is what `serialise.reply` needs, present exactly when `status_hint` is not 0. No CR or LF in it.
    """

    __slots__ = ("kind", "reason", "request", "status_hint")

    def __init__(self, kind: ErrorKind, status_hint: int, reason: str, request: Request | None) -> None:
        self.kind = kind
        self.status_hint = status_hint
        self.reason = reason
        self.request = request
