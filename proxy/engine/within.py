"""A request of our own within somebody else's dialog: as the other side would have sent it (RFC 3261 §12.2.1.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.engine.forward import NO_REQUEST
from proxy.engine.lines import remove_all
from proxy.engine.targets import by_route_or_uri
from proxy.sip.headers import parse_name_addr
from proxy.sip.message import Request
from proxy.sip.serialise import render
from proxy.sip.uri import request_uri

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.engine.call import Call, Dialog, Peer
    from proxy.engine.core import Core
    from proxy.sip.flow import Flow

_HOST: Final = {4: "{}", 6: "[{}]"}


def remote_target(peer: Peer) -> str:
    """The Request-URI of what is sent to this end: its Contact, or where its messages come from if it never had one."""
    contact = parse_name_addr(peer.target)
    if contact is not None:
        return request_uri(contact.uri)
    flow = peer.flow
    return f"sip:{_HOST[6 if ':' in flow.host else 4].format(flow.host)}:{flow.port}"


def as_learned(request: Request, peer: Peer) -> None:
    """The request as one to this end is by the dialog's own remote target and route set, in place."""
    request.uri = remote_target(peer)
    remove_all(request, "route")
    if peer.routes:
        request.lines.insert(0, f"Route: {', '.join(peer.routes)}")
        request.keys.insert(0, "route")


def way_to(core: Core, call: Call, peer: Peer) -> Flow:
    """The flow this end of the call is reached by: its dialog's, or where its account registered anew when that broke.

    Of an account with several devices that may be another one, which knows nothing of the dialog and says 481: no
    worse than nobody.
    """
    flow = peer.flow
    # Of a process that died: the port it had there is a client's own as a rule, and takes no connection.
    left = flow.conn == 0 and flow.reliable
    if left or flow.gone:
        again = _registered_anew(core, call, peer)
        # Where somebody might still be, not another device elsewhere.
        if again is not None and (flow.gone or again.host == flow.host):
            return again
    return flow


def _registered_anew(core: Core, call: Call, peer: Peer) -> Flow | None:
    """Where the account of this end registered last, if that is not where its dialog is."""
    account = call.caller_account if peer is call.caller else call.callee_account
    if account is None or not peer.follow_flow:
        return None
    again = core.sources.newest(account.aor)
    return again if again is not peer.flow else None


def send(
    core: Core,
    call: Call,
    dialog: Dialog,
    to_caller: bool,
    method: str,
    cseq: int,
    extra: Sequence[str],
    by_target: bool,
    user: object,
    now: float,
) -> bool:
    """Send it over the flow the dialog came by or, `by_target`, by where its account registered anew, else by route set
    and remote target. False: no other way.

    `user` gets the responses. `extra` are ready header lines.
    """
    to, frm = (call.caller, dialog.callee) if to_caller else (dialog.callee, call.caller)
    request = Request(method, "", [], [], b"", NO_REQUEST.via, call.call_id, cseq, frm.tag, to.tag, None)
    as_learned(request, to)
    uri = request.uri
    target = by_route_or_uri(core, request)
    flow = way_to(core, call, to)
    if by_target and (again := _registered_anew(core, call, to)) is not None:
        # Another NAT or another port of it: its Contact leads nowhere from here.
        flow = again
    elif by_target:
        if target is None:
            return False
        # RFC 3263 §4.3: of a name another server than the silent one, as far as it is known without a look-up.
        ways = core.finder.remembered(core, target.question) if target.flow is None else (target.flow,)
        others = [way for way in ways if way is not flow]
        if not others:
            return False
        flow = others[0]
    branch = core.ids.branch(0)
    out = [
        core.texts[flow.local].via + branch,
        *(target.routes if target is not None else ()),
        *request.lines,
        "Max-Forwards: 70",
        f"From: {frm.line}",
        f"To: {to.line}",
        f"Call-ID: {call.call_id}",
        f"CSeq: {cseq} {method}",
        *extra,
        "Content-Length: 0",
    ]
    data = render(f"{method} {target.uri if target is not None else uri} SIP/2.0", out, b"")
    core.stack.send(method, data, branch, flow, user, now)
    return True
