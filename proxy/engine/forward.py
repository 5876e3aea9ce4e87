"""RFC 3261 §16.6: a request goes out, once or to several targets, each in a client transaction of its own.

Theory: a `Context` is the response context of one server transaction; a `Branch` is one client transaction of it.
Targets come in groups: within a group they are tried at once (parallel forking), the groups one after the other
(serial failover). What comes back is respond.py's matter.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from proxy.engine import cseq
from proxy.engine.breadth import share_out
from proxy.engine.cseq import Renumbering
from proxy.engine.finding import find
from proxy.engine.flowtoken import both_sides
from proxy.engine.media import offer_of
from proxy.engine.oversize import UDP_MAX, refused, tcp_instead
from proxy.sip.grammar import MAX_FORWARDS_MAX
from proxy.sip.message import Request, Response, TopVia
from proxy.sip.serialise import cancel_for, render

if TYPE_CHECKING:
    from proxy.engine.call import Call, Dialog, Permit
    from proxy.engine.core import Core
    from proxy.engine.media import Media
    from proxy.engine.registration import Registration
    from proxy.engine.session import Asked
    from proxy.engine.targets import Target
    from proxy.sip.flow import Flow
    from proxy.sip.stack import ClientTransaction, ServerTransaction
    from proxy.sip.timers import TimerHandle

NO_REQUEST: Final = Request(
    "", "", [], [], b"", TopVia("", "", None, "", None, None, ""), "", 0, "", "", None
)
DEFAULT_MAX_FORWARDS: Final = 70
"""RFC 3261 §16.6 step 3."""
_MAX_FORWARDS: Final = [f"Max-Forwards: {hops}" for hops in range(MAX_FORWARDS_MAX)]
ANSWER_TIMEOUT = 4.0
"""Seconds a server behind a name has for its first word when there is another; a trunk's own is in its settings."""


class Branch:
    """One client transaction of a context."""

    __slots__ = (
        "breadth",
        "cancel_sent",
        "cancel_wanted",
        "context",
        "done",
        "instead_of",
        "given_up",
        "late_bye_sent",
        "provisional",
        "renumbering",
        "response",
        "status",
        "tags",
        "target",
        "timer_c",
        "timer_c_at",
        "txn",
    )

    def __init__(self, context: Context, target: Target) -> None:
        self.context: Context | None = context
        self.target = target
        self.breadth = 0
        """The Max-Breadth it is sent with (RFC 5393 §5.3.3); 0 = as it came."""
        self.tags: tuple[str, ...] = ()
        """To tags of the early dialogs that began on it."""
        self.txn: ClientTransaction | None = None
        self.provisional = False
        """A provisional response came: a CANCEL may be sent (RFC 3261 §9.1)."""
        self.cancel_wanted = False
        self.cancel_sent = False
        self.instead_of: Flow | None = None
        """The UDP flow that TCP was preferred to, for the size of the request."""
        self.done = False
        self.given_up = False
        """Done because nothing at all had come for a while; what comes after all is cancelled."""
        self.late_bye_sent = False
        self.renumbering: Renumbering | None = None
        """Set when its CSeq is not the one that came."""
        self.status = 0
        """Its final status; 408 and 503 also for a timeout and a transport error."""
        self.response: Response | None = None
        """The final response as it came, our Via taken off; None when we made the status up."""
        self.timer_c: TimerHandle | None = None
        self.timer_c_at = 0.0


class Context:
    """The response context (RFC 3261 §16.7) of one proxied request."""

    __slots__ = (
        "branches",
        "breadth",
        "call",
        "call_of_dialog",
        "cancel_reason",
        "cancelled",
        "dialog",
        "final_sent",
        "from_caller",
        "groups",
        "invite",
        "loop_hash",
        "media",
        "offered",
        "pending",
        "record_route",
        "seal",
        "registration",
        "request",
        "session",
        "source",
        "to_account",
        "txn",
    )

    def __init__(self, txn: ServerTransaction, request: Request, source: Flow) -> None:
        self.txn = txn
        self.request = request
        self.source = source
        self.invite = request.method == "INVITE"
        self.to_account = False
        """Its targets are the contacts of an account of ours: where none can be sent to, it is not registered."""
        self.call: Call | None = None
        """Set while this is the INVITE that makes a call."""
        self.call_of_dialog: Call | None = None
        self.dialog: Dialog | None = None
        """Both set when the request belongs to a dialog we know."""
        self.from_caller = True
        self.seal = ""
        """Of a dialog that is no call (seal.py)."""
        self.record_route = ""
        """The parameters after `;lr` in our Record-Route, ">" included; "" = do not record-route."""
        self.registration: Registration | None = None
        """Set when this is a REGISTER for another registrar; `record_route` then stands in our Path."""
        self.loop_hash = 0
        self.breadth = 0
        """Branches that it may have at once (breadth.py); 0 = within a dialog, where it has one."""
        self.media: Media | None = None
        """Set where session descriptions are rewritten (media.py)."""
        self.offered = False
        """Its request made an offer."""
        self.session: Asked | None = None
        """What it asked of session timers, where those are on (session.py)."""
        self.groups: list[Sequence[Target]] = []
        """Targets not yet tried, the next group last."""
        self.branches: list[Branch] = []
        self.pending = 0
        self.final_sent = False
        self.cancelled = False
        self.cancel_reason: tuple[str, ...] = ()
        """Reason lines for the CANCELs we send (RFC 3326 §2)."""


def loop_hash_of(request: Request) -> int:
    """RFC 5393 §4.2.1: a hash over what decides the routing; the topmost Via is not part of it, or it never matched."""
    routes = request.values("route") if request.has("route") else ""
    text = f"{request.uri}|{request.from_tag}|{request.to_tag}|{request.call_id}|{request.cseq}|{routes}"
    return zlib.crc32(text.encode("latin-1"))


def lower_max_forwards(request: Request) -> None:
    """RFC 3261 §16.6 step 3, in place."""
    hops = request.hops
    if hops is None:
        request.lines.append(f"Max-Forwards: {DEFAULT_MAX_FORWARDS}")
        request.keys.append("max-forwards")
    else:
        request.lines[request.index("max-forwards")] = _MAX_FORWARDS[hops - 1]


def forward_call(core: Core, context: Context, call: Call, permit: Permit, now: float) -> None:
    """The one way an INVITE that makes a call leaves: with the proof that its legs were admitted."""
    assert permit.legs, "a call without a payer is refused before it gets here"
    call.context = context
    context.call = call
    call.record.setup_delay = now - call.record.started_at
    next_group(core, context, now)


def next_group(core: Core, context: Context, now: float) -> None:
    """Try the next targets; none is left: the caller of this has seen to that."""
    group = context.groups.pop()
    branches = [Branch(context, target) for target in group]
    if context.breadth:
        if len(branches) == 1:
            branches[0].breadth = context.breadth
        else:
            branches = share_out(context, branches)
    context.branches += branches
    context.pending += len(branches)
    for branch in branches:
        start(core, branch, now)


def start(core: Core, branch: Branch, now: float) -> None:
    """Send the branch's request, after looking its host up if need be."""
    target = branch.target
    if target.flow is not None:
        _send(core, branch, target.flow, now)
    else:
        find(core, target.question, partial(_resolved, core, branch), now)


def _resolved(core: Core, branch: Branch, ways: Sequence[Flow], now: float) -> None:
    if branch.context is None or branch.done:
        return
    target = branch.target
    call, dialog = branch.context.call_of_dialog, branch.context.dialog
    if branch.context.invite and call is not None and dialog is not None and call.has_lost(dialog):
        # A re-INVITE would begin a call that nobody admitted.
        core.timers.after(0.0, core.on_branch_failed, branch, 481, now)
        return
    if target.found(ways) and target.flow is not None and not branch.cancel_wanted:
        _send(core, branch, target.flow, now)
        return
    # RFC 3261 §16.9: no way to send it is a 503 from that branch. Told by the timer and not from here, so that a
    # branch never fails while its group is still being started.
    core.timers.after(0.0, core.on_branch_failed, branch, 487 if branch.cancel_wanted else 503, now)


def _send(core: Core, branch: Branch, flow: Flow, now: float) -> None:
    context = branch.context
    assert context is not None
    request = context.request
    target = branch.target
    text = core.texts[flow.local]
    branch_id = core.ids.branch(context.loop_hash)
    lines = [text.via + branch_id]
    parameters = context.record_route
    if parameters:
        if context.registration is not None:
            # RFC 3327 §5.2: as a Record-Route, for calls that come later. One value: its token knows the other side.
            lines.append(f"Path: {text.route_prefix}{parameters}")
        elif parameters == ">":
            # RFC 5626 §5.3.2: no call remembers this dialog, so its routes say themselves where its clients are.
            lines += both_sides(core, context.source, flow, context.seal)
        else:
            # RFC 3261 §16.6 step 4.
            lines.append(text.record_route + parameters)
        if context.source.local is not flow.local and context.call is not None:
            # RFC 5658 §3.1: both sides when the transport or family changes, so that each finds its own socket.
            lines.append(core.texts[context.source.local].record_route + parameters)
    lines += target.routes
    dialog, renumbering = context.dialog, branch.renumbering
    if dialog is not None and renumbering is None:
        way = dialog.down if context.from_caller else dialog.up
        if way is not None:
            renumbering = branch.renumbering = Renumbering(way.raised, (), 0)
    lines += request.lines if renumbering is None else renumbered(context, renumbering)
    if branch.breadth:
        lines.append(f"Max-Breadth: {branch.breadth}")
    if flow.transport != "UDP" and "content-length" not in request.keys:
        # RFC 3261 §18.3: a stream cannot be framed without.
        lines.append(f"Content-Length: {len(request.body)}")
    method = request.method
    body = request.body
    if context.media is not None and context.call is not None:
        body = offer_of(context.media, branch, lines, body)
    data = render(f"{method} {target.uri} SIP/2.0", lines, body)
    if len(data) > UDP_MAX and target.any_transport and flow.transport == "UDP":
        tcp = tcp_instead(core, flow, now) if branch.instead_of is None else None
        if tcp is not None:
            branch.instead_of = flow
            _send(core, branch, tcp, now)
            return
    if context.invite:
        branch.timer_c_at = at = now + core.snapshot.config.timers.timer_c
        branch.timer_c = core.timers.at(at, core.on_timer_c, branch, 0)
        if target.ways or context.groups:
            _watch(core, branch, now)
    branch.txn = core.stack.send(method, data, branch_id, flow, branch, now, False)


def fall_back(core: Core, branch: Branch, now: float) -> bool:
    """RFC 3261 §18.1.1: TCP was tried for the size alone and could not be had: UDP then. False: nothing to fall to."""
    flow, txn = branch.instead_of, branch.txn
    if flow is None or txn is None or txn.flow is flow or branch.provisional:
        return False
    refused(core, flow, now)
    if branch.cancel_wanted:
        return False
    if branch.timer_c is not None:
        core.timers.cancel(branch.timer_c)
        branch.timer_c = None
    _send(core, branch, flow, now)
    return True


def renumbered(context: Context, renumbering: Renumbering) -> list[str]:
    """The lines of the request with its CSeq raised; its dialog and its sender are told."""
    request = context.request
    dialog, call = context.dialog, context.call or context.call_of_dialog
    rack = 0
    if dialog is not None:
        way = cseq.passage(dialog, context.from_caller)
        rack = way.invite if way is not None else 0
    lines = cseq.raised_lines(request, renumbering.raised, rack)
    lines += renumbering.lines
    if call is not None:
        cseq.sent(call, dialog, context.from_caller, request, renumbering)
    return lines


def _watch(core: Core, branch: Branch, now: float) -> None:
    """There is somewhere else to go, so nobody waits for Timer B (32 s) to learn that this one is dead."""
    context = branch.context
    assert context is not None
    trunk = context.call.route_trunk if context.call is not None else None
    if trunk is not None:
        core.timers.after(trunk.answer_timeout, core.on_unanswered, branch, 0, now)
    elif branch.target.ways:
        core.timers.after(ANSWER_TIMEOUT, core.on_unanswered, branch, 0, now)


def elsewhere(context: Context, branch: Branch) -> bool:
    """Whether another server could still be tried in place of the branch's."""
    if context.cancelled or context.final_sent:
        return False
    if branch.target.ways:
        return True
    return bool(context.groups) and context.call is not None and context.call.route_trunk is not None


def next_way(core: Core, branch: Branch, now: float) -> None:
    """RFC 3263 §4.3: the same request to the next server behind the name, with a new branch: a new transaction."""
    context = branch.context
    assert context is not None
    again = Branch(context, branch.target.next())
    again.breadth = branch.breadth
    context.branches.append(again)
    context.pending += 1
    start(core, again, now)


def cancel(core: Core, branch: Branch, now: float) -> None:
    """RFC 3261 §16.10: end a pending INVITE branch; before a provisional response came, remember to (§9.1)."""
    if branch.done and not branch.given_up:
        return
    if not branch.provisional or branch.txn is None:
        branch.cancel_wanted = True
        return
    txn = branch.txn
    if branch.cancel_sent or txn.data is None:
        return
    branch.cancel_sent = True
    extra = branch.context.cancel_reason if branch.context is not None else ()
    core.stack.send("CANCEL", cancel_for(txn.data, extra), txn.branch, txn.flow, None, now)


def cancel_all(core: Core, context: Context, now: float) -> None:
    """End every branch that is still open and try no more targets."""
    context.groups.clear()
    for branch in context.branches:
        cancel(core, branch, now)


def finish(core: Core, context: Context) -> None:
    """Every branch is final: let go of what is heavy, and of what would be a cycle.

    A branch that answered keeps its context until its transaction terminates: the callee repeats its 2xx until the
    ACK arrives, and each of them goes up (RFC 6026 §7.2).
    """
    context.request = NO_REQUEST
    for branch in context.branches:
        branch.response = None
        if not context.invite or not 200 <= branch.status < 300:
            branch.context = None
