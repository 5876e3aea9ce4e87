"""Messages → bytes. Lines are spliced, never rebuilt: what the proxy does not touch leaves as it came."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from proxy.sip.grammar import header_key
from proxy.sip.headers import first_value
from proxy.sip.message import Request, Response, TopVia
from proxy.sip.uri import same_host

CRLF: Final = "\r\n"
_RPORT: Final = re.compile(r";[ \t]*rport(?![^ \t;=])(?:[ \t]*=[^;]*)?", re.IGNORECASE)
_TIMESTAMP: Final = re.compile(r"[^:]*:[ \t]*[0-9]+(?:\.[0-9]*)?")
"""A line with nothing after its number (RFC 3261 §25.1)."""
_RECEIVED: Final = re.compile(r";[ \t]*received[ \t]*=[^;]*", re.IGNORECASE)


def render(start: str, lines: Sequence[str], body: bytes) -> bytes:
    """The message with this start line. `lines` must already hold the right Content-Length.

    Text is latin-1 (see `headers.wire` for words of our own); a character beyond it becomes "?", never an error.
    """
    text = f"{start}\r\n{CRLF.join(lines)}\r\n\r\n" if lines else f"{start}\r\n\r\n"
    try:
        head = text.encode("latin-1")
    except UnicodeEncodeError:
        head = text.encode("latin-1", "replace")
    return head + body if body else head


def reply(
    request: Request,
    status: int,
    reason: str,
    to_tag: str,
    via_value: str | None = None,
    extra: Sequence[str] = (),
    body: bytes = b"",
    delay: float = 0.0,
) -> bytes:
    """A response of our own to `request` (RFC 3261 §8.2.6), Content-Length included; works on partial requests too.

    `to_tag` is added when To has none and status > 100. `via_value` replaces the topmost Via value (`received_via`).
    `extra` are ready header lines ("Retry-After: 5"), a Content-Type among them when there is a body. `delay`: seconds
    since the request came, for the Timestamp of a 100.
    """
    lines, keys = request.lines, request.keys
    out: list[str] = []
    # A partial request may lack any of these (RFC 4475 §3.3.1) and have others twice: the first one counts.
    from_line = to_line = call_id = cseq = timestamp = ""
    for at, key in enumerate(keys):
        if key == "via":
            out.append(lines[at])
        elif key == "from":
            from_line = from_line or lines[at]
        elif key == "to":
            to_line = to_line or lines[at]
        elif key == "call-id":
            call_id = call_id or lines[at]
        elif key == "cseq":
            cseq = cseq or lines[at]
        elif key == "timestamp":
            timestamp = timestamp or lines[at]
    if via_value is not None and out:
        out[0] = _with_top_value(out[0], request.via.value, via_value)
    # RFC 3261 §8.2.6.2: a tag on every response but 100.
    if to_line and not request.to_tag and status != 100:
        to_line = f"{to_line};tag={to_tag}"
    # RFC 3261 §8.2.6.1: Timestamp goes into the 100.
    if status != 100:
        timestamp = ""
    elif timestamp and delay:
        timestamp = _with_delay(timestamp, delay)
    out += [line for line in (from_line, to_line, call_id, cseq, timestamp) if line]
    out += extra
    out.append(f"Content-Length: {len(body)}")
    return render(f"SIP/2.0 {status} {reason}", out, body)


def _with_delay(line: str, delay: float) -> str:
    """RFC 3261 §8.2.6.1: the seconds that went by here, in whole ms. What is no plain number stays as it came."""
    added = round(delay, 3)
    return f"{line} {added:.3f}" if added and _TIMESTAMP.fullmatch(line) else line


def _with_top_value(line: str, old: str, new: str) -> str:
    if old == new:
        return line
    name, _, text = line.partition(":")
    others = text.lstrip(" \t")[len(old) :]
    return f"{name}: {new}{others}"


def received_via(via: TopVia, host: str, port: int) -> str:
    """The topmost Via value of a request that came from `host`:`port`, `received` and `rport` filled in where asked.

    `host` is an IP address without brackets. When nothing is to be added, this is `via.value` itself.
    """
    value = via.value
    # A received that is already there was not written by us, the first to see this value.
    if via.received is not None:
        value = _RECEIVED.sub("", value)
    if via.rport is not None:
        # RFC 3581 §4: with rport, received is added even when it tells nothing new.
        bare = value[:-6] if value.endswith(";rport") else _RPORT.sub("", value)
        return f"{bare};received={host};rport={port}"
    # RFC 3261 §18.2.1: received when sent-by is a name or another address. RFC 5118 §4.5: without brackets.
    return value if same_host(via.host, host) else f"{value};received={host}"


def ack_for(invite: bytes, response: Response) -> bytes:
    """The hop-by-hop ACK for a non-2xx final `response` to the INVITE we sent as `invite` (RFC 3261 §17.1.1.3)."""
    to_line = response.lines[response.keys.index("to")]
    return _beside(invite, "ACK", to_line, ())


def cancel_for(invite: bytes, extra: Sequence[str] = ()) -> bytes:
    """The CANCEL for the INVITE we sent as `invite` (RFC 3261 §9.1). `extra`: ready lines, e.g. a Reason (RFC 3326)."""
    return _beside(invite, "CANCEL", None, extra)


def _beside(invite: bytes, method: str, to_line: str | None, extra: Sequence[str]) -> bytes:
    """The request that goes the INVITE's way: its Request-URI, topmost Via value, Route, From, Call-ID, CSeq number."""
    lines = invite.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    uri = lines[0].split(" ")[1]
    out: list[str] = []
    seen: set[str] = set()
    for line in lines[1:]:
        name, _, text = line.partition(":")
        key = header_key(name)
        if key == "route":
            out.append(line)
        if key in seen:
            continue
        seen.add(key)
        if key == "via":
            out.append(f"Via: {first_value(text)}")
        elif key == "to":
            out.append(to_line or line)
        elif key in ("from", "call-id"):
            out.append(line)
        elif key == "cseq":
            out.append(f"CSeq: {text.split()[0]} {method}")
    out.append("Max-Forwards: 70")
    out += extra
    out.append("Content-Length: 0")
    return render(f"{method} {uri} SIP/2.0", out, b"")
