"""SPEC §4, the cut: end a running call on both sides, each on its own, whatever state its dialogs are in.

callgate is here what RFC 7092 §3.1.1 calls a Proxy-B2BUA: a proxy that originates in-dialog requests. RFC 4028 §8.3
forbids a plain proxy to send BYE; we differ, because cutting calls at their limit is what we are for.

Not here: calls whose dialog another instance holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.lease import Outcome
from policies.reasons import Reason, cut_text
from proxy.engine import calls, credentials, within
from proxy.engine.call import Call, CallState, Dialog, Peer
from proxy.engine.forward import Branch, cancel_all
from proxy.engine.lines import raw_value
from proxy.engine.running import spent
from proxy.sip.grammar import CSEQ_MAX
from proxy.sip.headers import parse_name_addr
from proxy.sip.message import Response
from proxy.sip.serialise import render
from proxy.sip.uri import request_uri

if TYPE_CHECKING:
    from proxy.engine.core import Core
    from proxy.engine.watch import Watch


class Bye:
    """A BYE of ours on its way to one side of one dialog."""

    __slots__ = ("by_target", "call", "challenged", "dialog", "to_caller")

    def __init__(self, call: Call, dialog: Dialog, to_caller: bool) -> None:
        self.call = call
        self.dialog = dialog
        self.to_caller = to_caller
        self.by_target = False
        """Second try: by route set and remote target instead of the flow the dialog came by."""
        self.challenged = False


def cut(core: Core, call: Call, reason: Reason, now: float) -> None:
    """End the call because of `reason`. Cutting what is over already changes nothing."""
    state = call.state
    if state >= CallState.CUTTING:
        return
    call.cut_reason = reason
    record = call.record
    record.cut = True
    record.reason = reason.value
    record.cause = cut_text(reason)
    record.ended_by = "callgate"
    handover = call.handover
    if state is CallState.ANSWERED:
        record.outcome = "success"
        call.state = CallState.CUTTING
        calls.release(core, call, Outcome.SUCCESS, now)
        calls.write(core, call, now)
        _end_dialogs(core, call, now)
    else:
        _refuse_pending(core, call, reason, now)
    if handover is not None and handover.heir is not call:
        # The call that was to take its place has its legs now, and may be over with them.
        cut_spent(core, handover.heir, now)


def cut_spent(core: Core, call: Call, now: float) -> None:
    """A call that is not answered holds legs that were, or borrows them: it is not answered after their limits."""
    handover = call.handover
    holder = call if handover is None else handover.donor
    over = spent(core, holder.legs, now) if call.state < CallState.ANSWERED else None
    if over is not None:
        # Who lends them is cut as ever, and what borrows them after it.
        cut(core, holder, over[0], now)


def lost(core: Core, watch: Watch, reason: Reason, now: float) -> None:
    """One of the call's dialogs is dead: told to both sides. The call goes on in the others, where it has any."""
    call, dialog = watch.call, watch.dialog
    if call is None:
        return
    if all(other is dialog or other.over for other in call.dialogs if other.confirmed):
        cut(core, call, reason, now)
        return
    dialog.over = True
    for to_caller in (False, True):
        _send_bye(core, Bye(call, dialog, to_caller), now, (_reason_line(core, reason),))


def _refuse_pending(core: Core, call: Call, reason: Reason, now: float) -> None:
    """SPEC §4: not yet answered: CANCEL downstream and a final error upstream."""
    limit = call.record.mode if reason is Reason.NO_PLAN else ""
    over = spent(core, call.legs, now)
    if over is not None and over[0] is reason:
        limit = over[1]
    row, extra = core.refusal(reason, limit, None)
    txn, context = call.txn, call.context
    if txn is not None and txn.pending:
        core.answer(txn, row.status, row.phrase, now, [*extra, _reason_line(core, reason)])
    if context is not None:
        context.final_sent = True
        context.cancel_reason = (_reason_line(core, reason),)
        cancel_all(core, context, now)
    if call.state is CallState.ADMITTING:
        # The limiter's verdict is still to come; it is given back then (admission.decided).
        call.cancelled = True
        call.record.status = row.status
        return
    calls.failed(core, call, row.status, now)


def _end_dialogs(core: Core, call: Call, now: float) -> None:
    for dialog in call.dialogs:
        if not dialog.confirmed or dialog.over:
            continue
        _send_bye(core, Bye(call, dialog, to_caller=False), now)
        if dialog.acked:
            _send_bye(core, Bye(call, dialog, to_caller=True), now)
        else:
            # RFC 3261 §15: who sent the 2xx must not send BYE before the ACK came or the server transaction timed
            # out. The callee's BYE may go at once; the caller's waits.
            call.byes += 1
            core.timers.after(
                64 * core.snapshot.config.timers.t1, core.on_ack_overdue, (call, dialog), 0, now
            )
    _done(core, call)


def ack_passed(core: Core, call: Call, dialog: Dialog, now: float) -> None:
    """The ACK for the 2xx went to the callee."""
    if dialog.acked or not dialog.confirmed:
        return
    dialog.acked = True
    if call.state is CallState.CUTTING and not dialog.over:
        call.byes -= 1
        _send_bye(core, Bye(call, dialog, to_caller=True), now)


def ack_overdue(core: Core, call: Call, dialog: Dialog, now: float) -> None:
    """64*T1 went by and no ACK: the wait of `_end_dialogs` is over."""
    if call.state is CallState.CUTTING:
        ack_passed(core, call, dialog, now)


def _reason_line(core: Core, reason: Reason) -> str:
    # RFC 3326 §2.
    return f'Reason: SIP ;cause={core.reasons[reason].status} ;text="{cut_text(reason)}"'


# One BYE -------------------------------------------------------------------------------------------------------------


def _send_bye(core: Core, bye: Bye, now: float, extra: tuple[str, ...] = ()) -> None:
    """RFC 3261 §15.1.1, as the other side would have sent it."""
    call, dialog = bye.call, bye.dialog
    frm = dialog.callee if bye.to_caller else call.caller
    # RFC 3261 §8.1.1.5: at the end of its numbers there is no higher one.
    frm.cseq = min(frm.cseq + 1, CSEQ_MAX)
    if call.cut_reason is not None:
        extra = (*extra, _reason_line(core, call.cut_reason))
    call.byes += 1
    if not within.send(core, call, dialog, bye.to_caller, "BYE", frm.cseq, extra, bye.by_target, bye, now):
        call.byes -= 1
        _give_up(core, bye)


def on_bye_response(core: Core, bye: Bye, response: Response, now: float) -> None:
    """The answer to a BYE of ours: any final ends that side (RFC 3261 §15.1.1), but a challenge we can meet."""
    if response.status < 200:
        return
    bye.call.byes -= 1
    if response.status in (401, 407) and not bye.challenged:
        lines = _credentials(core, bye, response)
        if lines:
            bye.challenged = True
            _send_bye(core, bye, now, lines)
            return
    _over(core, bye)


def on_bye_failed(core: Core, bye: Bye, now: float) -> None:
    """Nobody answered: try the other way to that side once."""
    bye.call.byes -= 1
    if bye.by_target:
        _give_up(core, bye)
    else:
        bye.by_target = True
        _send_bye(core, bye, now)


def _give_up(core: Core, bye: Bye) -> None:
    core.counters.teardowns_failed += 1
    _over(core, bye)


def _over(core: Core, bye: Bye) -> None:
    _done(core, bye.call)


def _done(core: Core, call: Call) -> None:
    if not call.byes and call.state is CallState.CUTTING:
        call.state = CallState.ENDED
        calls.forget(core, call)


def _credentials(core: Core, bye: Bye, response: Response) -> tuple[str, ...]:
    """The lines that answer the challenge, () when we hold no credentials for that side."""
    peer: Peer = bye.call.caller if bye.to_caller else bye.dialog.callee
    secret = credentials.secret_of(bye.call, bye.to_caller)
    if secret is None and peer.trunk is not None:
        secret = credentials.secret_of_trunk(core, peer.trunk)
    if secret is None:
        return ()
    return credentials.lines_for(core, response, secret, "BYE", within.remote_target(peer))


# A 2xx that comes too late -------------------------------------------------------------------------------------------


def late_answer(core: Core, call: Call | None, branch: Branch, response: Response, now: float) -> None:
    """A 2xx after the caller had its final answer or after the cut: no call may run that is not admitted.

    We differ: RFC 3261 §16.7 step 5 would pass it up; its caller has gone, so the callee gets ACK and BYE from us.
    """
    txn = branch.txn
    if txn is None:
        return
    core.counters.late_answers += 1
    contact = parse_name_addr(raw_value(response, "contact"))
    uri = request_uri(contact.uri) if contact is not None else branch.target.uri
    routes = calls.routes_beyond(core, response)
    text = core.texts[txn.flow.local]
    common = [
        *([f"Route: {', '.join(routes)}"] if routes else ()),
        "Max-Forwards: 70",
        f"From: {raw_value(response, 'from')}",
        f"To: {raw_value(response, 'to')}",
        f"Call-ID: {response.call_id}",
    ]
    # RFC 3261 §22.1: the credentials of the INVITE, where it went out with ours.
    proof = branch.renumbering.lines if branch.renumbering is not None else ()
    head = [text.via + core.ids.branch(0), *common, f"CSeq: {response.cseq} ACK"]
    ack = [*head, *proof, "Content-Length: 0"]
    core.transmit(txn.flow, render(f"ACK {uri} SIP/2.0", ack, b""))
    if branch.late_bye_sent:
        return
    branch.late_bye_sent = True
    bye_branch = core.ids.branch(0)
    bye = [text.via + bye_branch, *common, f"CSeq: {min(response.cseq + 1, CSEQ_MAX)} BYE"]
    reason = call.cut_reason if call is not None else None
    if reason is not None:
        bye.append(_reason_line(core, reason))
    bye.append("Content-Length: 0")
    core.stack.send("BYE", render(f"BYE {uri} SIP/2.0", bye, b""), bye_branch, txn.flow, None, now)
