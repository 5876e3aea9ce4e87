"""Message framing on a stream (RFC 3261 §18.3, RFC 5626 §3.5.1). One `Framer` a connection; it never raises."""

from __future__ import annotations

import enum

from proxy.sip.message import ParseError


class Keepalive(enum.Enum):
    """What a peer sends to keep a connection open."""

    PING = "ping"  # CRLF CRLF: answer PONG
    PONG = "pong"  # one CRLF between messages: nothing to do


PONG = b"\r\n"


class FrameError:
    """The stream can no longer be cut into messages: answer `error` where it can be, then close the connection."""

    __slots__ = ("error",)

    def __init__(self, error: ParseError) -> None:
        self.error = error


class Framer:
    """Incremental framing. After a `FrameError` every later byte is ignored."""

    def feed(self, data: bytes) -> list[bytes | Keepalive | FrameError]:
        """What `data` completed, in order. `bytes` are whole messages for `parse.parse`."""
        raise NotImplementedError
