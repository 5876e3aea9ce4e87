"""Messages → bytes. Lines are spliced, never rebuilt: what the proxy does not touch leaves as it came."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.sip.message import Request, Response, TopVia


def render(start: str, lines: Sequence[str], body: bytes) -> bytes:
    """The message with this start line. `lines` must already hold the right Content-Length."""
    raise NotImplementedError


def reply(
    request: Request,
    status: int,
    reason: str,
    to_tag: str,
    via_value: str | None = None,
    extra: Sequence[str] = (),
    body: bytes = b"",
) -> bytes:
    """A response of our own to `request` (RFC 3261 §8.2.6), Content-Length included; works on partial requests too.

    `to_tag` is added when To has none and status > 100. `via_value` replaces the topmost Via value (`received_via`).
    `extra` are ready header lines ("Retry-After: 5"), a Content-Type among them when there is a body.
    """
    raise NotImplementedError


def received_via(via: TopVia, host: str, port: int) -> str:
    """The topmost Via value of a request that came from `host`:`port`, `received` and `rport` filled in where asked.

    `host` is an IP address without brackets. When nothing is to be added, this is `via.value` itself.
    """
    raise NotImplementedError


def ack_for(invite: bytes, response: Response) -> bytes:
    """The hop-by-hop ACK for a non-2xx final `response` to the INVITE we sent as `invite` (RFC 3261 §17.1.1.3)."""
    raise NotImplementedError


def cancel_for(invite: bytes, extra: Sequence[str] = ()) -> bytes:
    """The CANCEL for the INVITE we sent as `invite` (RFC 3261 §9.1). `extra`: ready lines, e.g. a Reason (RFC 3326)."""
    raise NotImplementedError
