"""Requests within a dialog (RFC 3261 §16.5: the Request-URI is the only target), and the ACK for a 2xx.

Any method passes and moves no limit. Nobody is asked who they are and the store is not asked anything: a request
belongs to a call because it carries the token of our Record-Route (or its Call-ID) and the tags of one of its dialogs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from proxy.engine import calls, cseq, finding, media, privacy, seal, session, teardown
from proxy.engine.call import Call, CallState, Dialog, Peer
from proxy.engine.claimed import claimed_aor
from proxy.engine.flowtoken import read_token
from proxy.engine.forward import Context, lower_max_forwards, next_group
from proxy.engine.lines import remove_all, take_own_credentials
from proxy.engine.targets import Target, by_route_or_uri, leads_to
from proxy.engine.within import as_learned, way_to
from proxy.sip.headers import parse_name_addr
from proxy.sip.message import Request
from proxy.sip.serialise import render

if TYPE_CHECKING:
    from proxy.engine.core import Core
    from proxy.engine.media import Held
    from proxy.sip.flow import Flow
    from proxy.sip.stack import ServerTransaction


def find(core: Core, request: Request, token: str) -> tuple[Call | None, Dialog | None, bool]:
    """The call and dialog of the request, and whether the caller sent it. Tags decide (RFC 3261 §12.2.2, RFC 4916)."""
    call = core.calls.get(token)
    candidates = [call] if call is not None else core.by_call_id.get(request.call_id, ())
    for call in candidates:
        if call.call_id != request.call_id:
            continue
        caller_tag = call.caller.tag
        if request.from_tag == caller_tag:
            dialog = call.dialog(request.to_tag)
            if dialog is not None:
                return call, dialog, True
        if request.to_tag == caller_tag:
            dialog = call.dialog(request.from_tag)
            if dialog is not None:
                return call, dialog, False
    return None, None, True


def on_request(
    core: Core,
    txn: ServerTransaction,
    source: Flow,
    routed: bool,
    token: str,
    flow_token: str,
    sealed: str,
    now: float,
) -> None:
    """A request with a To tag. `routed`: it carried a Route of ours; the three others: what stood in it."""
    request = txn.request
    assert request is not None
    call, dialog, from_caller = find(core, request, token)
    if call is None or dialog is None:
        _of_no_call(core, txn, source, routed, flow_token, sealed, now)
        return
    sender = call.caller if from_caller else dialog.callee
    if request.cseq > sender.cseq:
        sender.cseq = request.cseq
    known = sender.flow
    if known is not source and (known.gone or (sender.follow_flow and source.conn and not known.conn)):
        # Its connection broke, or our process died, and it has made another: the way to it now (RFC 5626 §4.5).
        sender.flow = source
    elif sender.follow_flow and not known.conn and not source.conn and source.host == known.host:
        # Its NAT has given it another port. Another address would be anybody who knows the tags.
        sender.flow = txn.flow
    method = request.method
    if call.state is CallState.CUTTING:
        # Crossed our own BYE (RFC 5407 §3.1.4): the dialog is over; a BYE is answered as its sender expects.
        core.counters.crossed += 1
        if method == "BYE":
            core.answer(txn, 200, "OK", now)
        else:
            core.answer(txn, 481, "Call/Transaction Does Not Exist", now)
        return
    if method == "INVITE" and not dialog.confirmed:
        # RFC 3261 §14.1 forbids it until the first INVITE is answered, and §14.2 has the other end refuse it. An end
        # that took it all the same, and then refused the first one, would be in a call that nobody admitted.
        core.answer(txn, 491, "Request Pending", now)
        return
    target = _towards(core, call, dialog, request, from_caller)
    context = Context(txn, request, source)
    context.call_of_dialog, context.dialog, context.from_caller = call, dialog, from_caller
    if method == "BYE":
        _bye(core, call, dialog, from_caller, now)
    elif core.sessions is not None and method in ("INVITE", "UPDATE"):
        objection = session.objection(core, request)
        if objection is not None:
            core.answer(txn, objection[0], objection[1], now, objection[2])
            return
        session.ask(core, context)
    _relay(core, context, target, now)


def _of_no_call(
    core: Core,
    txn: ServerTransaction,
    source: Flow,
    routed: bool,
    flow_token: str,
    sealed: str,
    now: float,
) -> None:
    """A dialog we know nothing of: of a subscription, which our seal proves, or of a call from before a restart, of
    which a BYE passes from and to those we know.

    An INVITE does not pass: with a made-up To tag it would be a call that nobody admitted. Nor does anything else that
    has no seal: we would carry it for anybody.
    """
    request = txn.request
    assert request is not None
    core.counters.stray_requests += 1
    if not core.guard.tolerates(source, now):
        core.stack.forget(txn, now)
        return
    proved = seal.holds(core, sealed, request.call_id)
    if not routed or request.method == "INVITE" or not (proved or request.method == "BYE"):
        core.answer(txn, 481, "Call/Transaction Does Not Exist", now)
        return
    edge = read_token(core, flow_token) if flow_token else None
    if flow_token and (edge is None or edge.flow is None or edge.flow.gone):
        # RFC 5626 §5.3.1: tampered with, or gone.
        core.answer(txn, *((403, "Forbidden") if edge is None else (430, "Flow Failed")), now)
        return
    if edge is not None and edge.flow is not None and edge.flow is not source and "route" not in request.keys:
        # §5.3.1: to the client, over the flow that is known to reach it, whatever its Contact says.
        flow = edge.flow
        target: Target | None = Target(request.uri, flow, flow.transport, flow.host, flow.port)
    else:
        # §5.3.2: from it.
        target = by_route_or_uri(core, request)
    if not proved and edge is None and not _between_known(core, source, request, target, now):
        core.answer(txn, 481, "Call/Transaction Does Not Exist", now)
        return
    _relay(core, Context(txn, request, source), target, now)


def _between_known(core: Core, source: Flow, request: Request, target: Target | None, now: float) -> bool:
    """From a trunk or a client, or to a trunk: else a stranger would have us repeat it to anybody."""
    if core.trunks_at(source.host) or core.guard.lived_at(source.host):
        return True
    if core.sources.find(source, now, claimed_aor(core, request)):
        return True
    flow = target.flow if target is not None else None
    return flow is not None and (bool(core.trunks_at(flow.host)) or core.guard.answers_us(flow.host))


def _relay(core: Core, context: Context, target: Target | None, now: float) -> None:
    txn = context.txn
    if target is None:
        core.answer(txn, 404, "Not Found", now)
        return
    if context.invite:
        core.answer(txn, 100, "Trying", now)
    txn.user = context
    if "proxy-authorization" in context.request.keys and not _for_registrar(context.call_of_dialog):
        take_own_credentials(core, context.request)
    if privacy.asserts(context.request):
        privacy.in_dialog(context, context.request)
    call = context.call_of_dialog
    if call is not None and call.media is not None and media.hold_request(core, call, context, target):
        return
    _send(core, context, target, now)


def _send(core: Core, context: Context, target: Target, now: float) -> None:
    lower_max_forwards(context.request)
    context.groups = [(target,)]
    next_group(core, context, now)


def go_on(core: Core, held: Held, now: float) -> None:
    """A request that was held for its session description (media.py)."""
    call, context, target = held.call, held.context, held.target
    assert call is not None
    assert context is not None
    assert target is not None
    assert context.dialog is not None
    if context.cancelled:
        core.answer(context.txn, 487, "Request Terminated", now)
    elif call.has_lost(context.dialog):
        core.answer(context.txn, 481, "Call/Transaction Does Not Exist", now)
    else:
        _send(core, context, target, now)


def _for_registrar(call: Call | None) -> bool:
    """Credentials in this call's requests are for the registrar that keeps an account of it."""
    if call is None:
        return False
    caller, callee = call.caller_account, call.callee_account
    return (caller is not None and caller.forward != "") or (callee is not None and callee.forward != "")


def _towards(core: Core, call: Call, dialog: Dialog, request: Request, from_caller: bool) -> Target | None:
    peer = dialog.callee if from_caller else call.caller
    if peer.follow_flow and "route" not in request.keys:
        return _by_flow(core, call, peer, request)
    target = by_route_or_uri(core, request)
    if target is not None and target.flow is not peer.flow and not _known(core, call, peer, target):
        # We differ: RFC 3261 §16.6 step 6 would follow any Route and Request-URI. Its sender was to write the route set
        # and remote target of the dialog there (§12.2.1.1); who writes others would have us knock at any door.
        if peer.follow_flow:
            remove_all(request, "route")
            return _by_flow(core, call, peer, request)
        as_learned(request, peer)
        target = by_route_or_uri(core, request)
    if target is not None and target.flow is None and not target.secure:
        # Of several servers behind a name the one that has the dialog.
        target.prefer = peer.flow
    if target is not None and target.transport == "TLS":
        _same_connection(peer.flow, target)
    return target


def _by_flow(core: Core, call: Call, peer: Peer, request: Request) -> Target:
    """RFC 5626 §5.3: an account is reached over the flow it registered or called by, whatever its Contact says."""
    flow = way_to(core, call, peer)
    return Target(request.uri, flow, flow.transport, flow.host, flow.port)


def _known(core: Core, call: Call, peer: Peer, target: Target) -> bool:
    """Whether the dialog leads there: by this end's Contact or route set, or to where its messages come from."""
    flow = peer.flow
    if (target.host, target.port) == (flow.host, flow.port) or call.taken_up:
        return True
    if target.flow is not None and (target.host, target.port) in core.own:
        # It comes round by us again.
        return True
    # An account's Contact leads nowhere but to its flow.
    for text in peer.routes if peer.follow_flow else (peer.target, *peer.routes):
        learned = parse_name_addr(text)
        if learned is not None and leads_to(learned.uri, target):
            return True
    return False


def _same_connection(flow: Flow, target: Target) -> None:
    """RFC 5923 §8.1: what goes to where the dialog has a TLS connection already takes that one.

    A neighbour's Contact is an address as a rule and its certificate a name, so a new one would not get through.
    """
    there = target.flow
    if there is not None and there.host == flow.host and flow.transport == "TLS" and not flow.gone:
        target.flow = flow


def _bye(core: Core, call: Call, dialog: Dialog, from_caller: bool, now: float) -> None:
    """RFC 3261 §15.1.1: the dialog is over for its sender the moment the BYE is sent, whatever the answer."""
    dialog.over = True
    if all(each.over for each in call.dialogs if each.confirmed):
        calls.ended(core, call, from_caller, "bye", now)


def dialog_lost(core: Core, context: Context, status: int, now: float) -> None:
    """RFC 3261 §12.2.1.2: 481, 408 or silence within a dialog: the far side knows nothing of it."""
    call, dialog = context.call_of_dialog, context.dialog
    if call is None or dialog is None or not dialog.confirmed or call.state is not CallState.ANSWERED:
        # While our own BYEs are under way it is they that end the dialog.
        return
    dialog.over = True
    if all(each.over for each in call.dialogs if each.confirmed):
        calls.ended(core, call, not context.from_caller, f"dialog gone ({status})", now)


def on_ack(core: Core, request: Request, token: str, now: float) -> None:
    """RFC 3261 §16.11, §17: the ACK for a 2xx goes end to end without a transaction and is never answered.

    We differ: §16.11 would forward that of a dialog nobody here knows; it would be carried for anybody.
    """
    call, dialog, from_caller = find(core, request, token)
    target = None
    if call is not None and dialog is not None:
        target = _towards(core, call, dialog, request, from_caller)
    if call is None or target is None:
        core.counters.stray_requests += 1
        return
    if (
        dialog is not None
        and call.media is not None
        and media.hold_ack(core, call, dialog, from_caller, request, target)
    ):
        return
    _pass_ack(core, call, dialog, from_caller, request, target, now)


def ack_on(core: Core, held: Held, now: float) -> None:
    """An ACK that was held for its session description (media.py); its callee waits for it in any case."""
    request, target = held.message, held.target
    assert isinstance(request, Request)
    assert target is not None
    assert held.acked is not None
    dialog, from_caller = held.acked
    _pass_ack(core, held.call, dialog, from_caller, request, target, now)


def _pass_ack(
    core: Core,
    call: Call | None,
    dialog: Dialog | None,
    from_caller: bool,
    request: Request,
    target: Target,
    now: float,
) -> None:
    lower_max_forwards(request)
    if "proxy-authorization" in request.keys and not _for_registrar(call):
        take_own_credentials(core, request)
    way = cseq.passage(dialog, from_caller) if dialog is not None else None
    lines = request.lines if way is None else [*cseq.raised_lines(request, way.invite), *way.ack]
    if target.flow is not None:
        _send_ack(core, request, target, lines, target.flow)
    else:
        finding.find(core, target.question, partial(_ack_found, core, request, target, lines), now)
    if call is not None and dialog is not None and from_caller:
        teardown.ack_passed(core, call, dialog, now)


def _ack_found(
    core: Core, request: Request, target: Target, lines: list[str], ways: Sequence[Flow], now: float
) -> None:
    if target.found(ways) and target.flow is not None:
        _send_ack(core, request, target, lines, target.flow)
    else:
        # The callee repeats its 2xx, and whoever sends the ACK again finds the name known by then, if it has one.
        core.counters.stray_requests += 1


def _send_ack(core: Core, request: Request, target: Target, own: list[str], flow: Flow) -> None:
    lines = [core.texts[flow.local].via + core.ids.branch(0), *target.routes, *own]
    if flow.transport != "UDP" and "content-length" not in request.keys:
        lines.append(f"Content-Length: {len(request.body)}")
    core.transmit(flow, render(f"ACK {target.uri} SIP/2.0", lines, request.body))
