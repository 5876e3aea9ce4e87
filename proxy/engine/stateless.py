"""Answers outside any transaction: to what cannot be read, and to what there is no room for; and where answers go."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from policies.reasons import Reason
from proxy.sip.serialise import received_via, reply

if TYPE_CHECKING:
    from proxy.engine.core import Core
    from proxy.sip.flow import Flow
    from proxy.sip.message import ParseError, Request


_TAG: Final = 16
"""Hexadecimal digits: as many as other tags of ours have (proxy/sip/ids.py)."""


def way_back(core: Core, request: Request, source: Flow) -> Flow:
    """Where responses go: RFC 3581 §4 with rport, else RFC 3261 §18.2.2: the port of sent-by."""
    via = request.via
    if via.rport is not None or source.transport != "UDP":
        return source
    port = via.port or 5060
    if port == source.port:
        return source
    # We differ: §18.2.2 would send to a `maddr`; it names a third party, and nobody multicasts any more.
    return core.flow_beside(source, port)


def malformed(core: Core, error: ParseError, flow: Flow, now: float) -> None:
    """Counted, and answered where it can be."""
    core.counters.parse_errors[error.kind] += 1
    request = error.request
    if not core.guard.tolerates(flow, now) or request is None or not error.status_hint:
        return
    value = received_via(request.via, flow.host, flow.port)
    data = reply(request, error.status_hint, error.reason, _tag(core, request), value)
    core.transmit(way_back(core, request, flow), data)


def overloaded(core: Core, request: Request, flow: Flow) -> None:
    """No room for another transaction: a cheap 503 to an INVITE, silence to others."""
    if request.method != "INVITE":
        return
    row, extra = core.refusal(Reason.OVERLOAD, "", None)
    value = received_via(request.via, flow.host, flow.port)
    data = reply(request, row.status, row.phrase, _tag(core, request), value, extra)
    core.transmit(way_back(core, request, flow), data)


def _tag(core: Core, request: Request) -> str:
    """RFC 3261 §8.2.7: "generate the same tag for the same request consistently"; it comes again with the same Via."""
    identity = (request.via.value, request.call_id, str(request.cseq), request.from_tag, request.uri)
    text = "tag:" + "\n".join(identity)
    return hmac.digest(core.secret, text.encode("latin-1"), "sha256").hex()[:_TAG]
