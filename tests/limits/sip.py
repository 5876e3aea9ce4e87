"""SIP as the suite speaks it: messages read and written from RFC 3261, sharing no code with what is tested."""

from __future__ import annotations

import itertools
import os

_COMPACT = {"v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact", "l": "content-length"}
_PHRASES = {
    100: "Trying",
    180: "Ringing",
    183: "Session Progress",
    200: "OK",
    302: "Moved Temporarily",
    401: "Unauthorized",
    404: "Not Found",
    407: "Proxy Authentication Required",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    500: "Server Internal Error",
    603: "Decline",
}
_serial = itertools.count(1)
_RUN = f"{os.getpid():x}{os.urandom(3).hex()}"


class Message:
    """One that came, and when."""

    __slots__ = (
        "at",
        "call_id",
        "cseq",
        "cseq_method",
        "from_tag",
        "headers",
        "method",
        "start",
        "status",
        "to_tag",
    )

    def __init__(self, data: bytes, at: float) -> None:
        head = data.decode("latin-1").partition("\r\n\r\n")[0]
        self.start, *lines = head.split("\r\n")
        self.at = at
        """On the clock of the event loop."""
        self.headers: dict[str, list[str]] = {}
        for line in lines:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            self.headers.setdefault(_COMPACT.get(name, name), []).append(value.strip())
        self.status = int(self.start[8:11]) if self.start.startswith("SIP/2.0 ") else 0
        """0 in a request."""
        self.method = "" if self.status else self.start.partition(" ")[0]
        number, _, self.cseq_method = self["cseq"].partition(" ")
        self.cseq = int(number)
        self.call_id = self["call-id"]
        self.from_tag, self.to_tag = tag_of(self["from"]), tag_of(self["to"])

    def __getitem__(self, name: str) -> str:
        """The first value, "" when there is none."""
        return self.headers.get(name, [""])[0]

    @property
    def branch(self) -> str:
        """Of the topmost Via."""
        return self["via"].partition("branch=")[2].partition(";")[0].partition(",")[0]

    @property
    def routes(self) -> list[str]:
        """Its Record-Route values, in their order. None of ours holds a comma between brackets."""
        return [value.strip() for line in self.headers.get("record-route", ()) for value in line.split(",")]

    @property
    def target(self) -> str:
        """The URI of its Contact."""
        return self["contact"].partition("<")[2].partition(">")[0]

    def __repr__(self) -> str:
        return f"{self.start} ({self['cseq']})"


def tag_of(value: str) -> str:
    """The tag of a From or To value, "" when it has none."""
    return value.partition(";tag=")[2].partition(";")[0]


def unique(prefix: str) -> str:
    """Never given twice, in this run or another: for Call-IDs, branches and tags."""
    return f"{prefix}{next(_serial)}x{_RUN}"


def written(start: str, lines: list[str]) -> bytes:
    """A message without a body."""
    return "\r\n".join([start, *lines, "Content-Length: 0", "", ""]).encode("latin-1")


def response(request: Message, status: int, to_tag: str, extra: list[str]) -> bytes:
    """RFC 3261 §8.2.6.2: what a response copies from its request."""
    to = request["to"]
    if to_tag and not request.to_tag:
        to += f";tag={to_tag}"
    lines = [f"Via: {value}" for value in request.headers["via"]]
    lines += [f"Record-Route: {value}" for value in request.headers.get("record-route", ())]
    lines += [
        f"From: {request['from']}",
        f"To: {to}",
        f"Call-ID: {request.call_id}",
        f"CSeq: {request['cseq']}",
    ]
    return written(f"SIP/2.0 {status} {_PHRASES.get(status, 'Whatever')}", [*lines, *extra])
