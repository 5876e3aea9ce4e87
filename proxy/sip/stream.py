"""Message framing on a stream (RFC 3261 §18.3, RFC 5626 §3.5.1). One `Framer` a connection; it never raises.

A message is its header section and as many octets as Content-Length says, whether they have arrived or not. Bytes are
looked at once and copied at most twice, however small the pieces they come in. Time is not known here: a message that
never ends is the connection's owner to give up.
"""

from __future__ import annotations

import enum
import re
from typing import Final

from proxy.sip.grammar import MESSAGE_MAX
from proxy.sip.message import ErrorKind, ParseError
from proxy.sip.parse import parse, refuse

# RFC 5626 §3.5.1: the answer to a double CRLF.
PONG: Final = b"\r\n"

_END: Final = b"\r\n\r\n"
# Content-Length by either name, with its folds: exactly the lines in which `parse` would see one.
_LENGTH: Final = re.compile(rb"\r\n(?:content-length|l)[ \t]*:((?:[^\r]++|\r\n[ \t])*)", re.IGNORECASE)


class Keepalive(enum.Enum):
    """What a peer sends to keep a connection open."""

    PING = "ping"
    """A double CRLF between messages: answer `PONG`. Several in one read are one."""


class FrameError:
    """The stream can no longer be cut into messages: answer `error` where it can be, then close the connection."""

    __slots__ = ("error",)

    def __init__(self, error: ParseError) -> None:
        self.error = error


class Framer:
    """Incremental framing. After a `FrameError` every later byte is ignored."""

    __slots__ = ("_broken", "_pending", "_scanned", "_size")

    def __init__(self) -> None:
        self._pending = bytearray()
        self._scanned = 0
        """Where the search for the end of the header section goes on."""
        self._size = 0
        """Octets of the message whose header section has arrived, 0 while it has not."""
        self._broken = False

    @property
    def pending(self) -> int:
        """Octets of an unfinished message."""
        return len(self._pending)

    def feed(self, data: bytes) -> list[bytes | Keepalive | FrameError]:
        """What `data` completed, in order. `bytes` are whole messages for `parse.parse`."""
        if self._broken:
            return []
        pending = self._pending
        if pending:
            pending += data
            if len(pending) < self._size:
                return []
            if not self._size and pending.find(_END, self._scanned) < 0 and len(pending) <= MESSAGE_MAX:
                self._scanned = max(0, len(pending) - 3)
                return []
            data = bytes(pending)
            pending.clear()
        out: list[bytes | Keepalive | FrameError] = []
        at = self._cut(data, out)
        if at < len(data):
            pending += memoryview(data)[at:]
        return out

    def _cut(self, data: bytes, out: list[bytes | Keepalive | FrameError]) -> int:
        """Cut whole messages off the front of `data`; the position of what remains."""
        at = 0
        while at < len(data):
            if not self._size:
                at = _skip_blank(data, at, out)
                end = data.find(_END, at)
                if end < 0 and len(data) - at <= MESSAGE_MAX:
                    self._scanned = max(0, len(data) - at - 3)
                    return at
                size = self._measure(data[at : end if end >= 0 else at + MESSAGE_MAX], end >= 0)
                if isinstance(size, ParseError):
                    out.append(FrameError(size))
                    self._broken = True
                    return len(data)
                self._size = size
            if len(data) - at < self._size:
                return at
            out.append(data[at : at + self._size])
            at += self._size
            self._size = 0
        self._scanned = 0
        return at

    def _measure(self, head: bytes, whole: bool) -> int | ParseError:
        """The octets of the message with this header section."""
        lengths = _LENGTH.findall(head) if whole else []
        if len(lengths) == 1:
            text = lengths[0].replace(b"\r\n", b"").strip(b" \t")
            # int() of a very long text is slow, and refused beyond 4,300 digits.
            digits = text.lstrip(b"0")
            if text.isdigit() and len(digits) <= 6:
                size = len(head) + len(_END) + int(digits or b"0")
                if size <= MESSAGE_MAX:
                    return size
                return refuse(head, ErrorKind.TOO_LARGE, "Message Too Large", 513)
        if not whole:
            return refuse(head, ErrorKind.TOO_LARGE, "Message Too Large", 513)
        # What `parse` says of it is more telling; it has nothing against an absent Content-Length, a stream has.
        error = parse(head + _END)
        if isinstance(error, ParseError):
            return error
        return refuse(head, ErrorKind.MISSING, "Missing Content-Length header", 400)


def _skip_blank(data: bytes, at: int, out: list[bytes | Keepalive | FrameError]) -> int:
    """Past the CRLFs at `at`; those that may be the first half of a ping stay."""
    start = at
    while data.startswith(b"\r\n", at):
        at += 2
    if at - start >= 4:
        out.append(Keepalive.PING)
    # A lone CRLF at the end of what has come: RFC 3261 §7.5 lets it stand before a message, the rest will tell.
    if (at - start) % 4 and data[at : at + 2] in (b"", b"\r"):
        at -= 2
    return at
