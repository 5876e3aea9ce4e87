"""Bytes → `Request | Response | ParseError`. Never raises, never hangs."""

from __future__ import annotations

from proxy.sip.message import ParseError, Request, Response


def parse(data: bytes) -> Request | Response | ParseError:
    """One datagram, or one message that `stream.Framer` cut out of a stream. What follows Content-Length is ignored."""
    raise NotImplementedError
