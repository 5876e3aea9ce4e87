"""RFC 3261 §16.7: what comes back from the branches, and what of it goes up.

A 2xx to an INVITE goes up at once, every one of them; of the other finals the best one, when no branch is open and no
target is left.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from policies.reasons import Reason
from proxy.engine import (
    calls,
    credentials,
    cseq,
    early,
    indialog,
    media,
    passing,
    ping,
    privacy,
    replaces,
    session,
    teardown,
)
from proxy.engine.call import CallState
from proxy.engine.forward import (
    Branch,
    Context,
    cancel,
    cancel_all,
    elsewhere,
    fall_back,
    finish,
    next_group,
    next_way,
)
from proxy.engine.lines import add, top_via_off
from proxy.engine.trunks import note_failure
from proxy.sip.message import Response
from proxy.sip.serialise import render

if TYPE_CHECKING:
    from proxy.engine.core import Core
    from proxy.engine.media import Held
    from proxy.sip.flow import Flow
    from proxy.sip.transaction import ServerTransaction

_PREFERRED: Final = (401, 407, 415, 420, 484)
"""RFC 3261 §16.7 step 6: responses that let the caller mend its request."""
_FAILOVER: Final = (408, 503)
"""Finals after which the next target is tried: no answer, or a server that says it is down (RFC 3263 §4.3)."""
PHRASES: Final = {
    408: "Request Timeout",
    430: "Flow Failed",
    480: "Temporarily Unavailable",
    487: "Request Terminated",
    500: "Server Internal Error",
    503: "Service Unavailable",
}


def on_response(core: Core, branch: Branch, response: Response, now: float) -> None:
    """A response of the branch, never a retransmission of a final other than a 2xx to an INVITE."""
    context = branch.context
    status = response.status
    if context is None:
        if response.cseq_method != "INVITE":
            return
        if 200 <= status < 300:
            teardown.late_answer(core, None, branch, response, now)
        elif status < 200 and branch.given_up:
            branch.provisional = True
            cancel(core, branch, now)
        return
    if context.media is not None and status > 100 and media.hold_response(core, context, branch, response):
        if status < 200:
            # RFC 3261 §9.1: it may be cancelled from here on, wherever the response is.
            branch.provisional = True
        return
    _handle(core, context, branch, response, now)


def go_on(core: Core, held: Held, now: float) -> None:
    """A response that was held for its session description (media.py)."""
    context, branch, response = held.context, held.branch, held.message
    assert isinstance(response, Response)
    assert context is not None
    assert branch is not None
    # The branch may have let go of the context: over a stream its transaction is over with a final response.
    _handle(core, context, branch, response, now)


def _handle(core: Core, context: Context, branch: Branch, response: Response, now: float) -> None:
    status = response.status
    if status == 100:
        # RFC 3261 §16.7 step 2 names 101–199; a 100 stops here, but it does allow a CANCEL (§9.1).
        branch.provisional = True
    else:
        top_via_off(response)
        if not response.has("via"):
            _meant_for_us(core, context, branch, response, now)
        elif status < 200:
            _provisional(core, context, branch, response, now)
        elif status < 300:
            _success(core, context, branch, response, now)
            return
        else:
            _final(core, context, branch, status, response, now)
            return
    if branch.cancel_wanted:
        cancel(core, branch, now)


def _meant_for_us(core: Core, context: Context, branch: Branch, response: Response, now: float) -> None:
    """RFC 3261 §16.7 step 3: with no Via left it must not be forwarded. Of a final that is a branch that failed."""
    branch.provisional = True
    if response.status < 200:
        return
    if response.status < 300 and context.invite and not branch.done:
        teardown.late_answer(core, context.call, branch, response, now)
    branch_failed(core, branch, 500, now)


def _provisional(core: Core, context: Context, branch: Branch, response: Response, now: float) -> None:
    branch.provisional = True
    if branch.given_up:
        return
    if context.invite:
        # RFC 3261 §16.7 step 2: Timer C starts anew.
        branch.timer_c_at = now + core.snapshot.config.timers.timer_c
    elif response.status != 100:
        # RFC 4320 §4.1: no provisional other than 100 to a non-INVITE; so it goes no further.
        return
    if context.final_sent:
        return
    if context.call is not None and response.to_tag:
        if response.status == 199:
            # RFC 6228 §6: of the early dialog nothing is left; who is told so needs no 199 of ours.
            early.ended(context.call, branch, response.to_tag)
        else:
            calls.early(core, context.call, branch, response)
    _up(core, context, branch, response, now)


def _success(core: Core, context: Context, branch: Branch, response: Response, now: float) -> None:
    first = not branch.done
    if first:
        _close(core, context, branch, response.status)
        if core.reach.outages and branch.txn is not None:
            core.reach.good(branch.txn.flow)
    elif branch.given_up and not context.final_sent:
        # The one we no longer waited for was only slow: it has the call, and what was tried instead is cancelled.
        first, branch.given_up, branch.status = True, False, response.status
    call = context.call
    if (
        call is not None
        and call.state is CallState.TRYING
        and (call.handover is not None or (call.legs and call.legs[0].answered))
    ):
        # Before the timer of a limit that is reached, where the loop is late.
        teardown.cut_spent(core, call, now)
        replaces.hand_over(core, call, now)
    if branch.given_up or (call is not None and not calls.answered(core, call, branch, response, now)):
        teardown.late_answer(core, call, branch, response, now)
    elif context.invite or not context.final_sent:
        calls.refresh_target(context, response)
        if core.watching:
            _watch(core, context, response, now)
        context.final_sent = True
        if context.registration is None or not passing.accepted(core, context.registration, response, now):
            _up(core, context, branch, response, now)
    if first:
        # RFC 3261 §16.7 step 10: a 2xx cancels what is still open.
        cancel_all(core, context, now)
        if not context.pending:
            finish(core, context)


def _watch(core: Core, context: Context, response: Response, now: float) -> None:
    """A 2xx goes up, and dialogs are watched."""
    call = context.call
    if call is not None:
        dialog = call.dialog(response.to_tag)
    else:
        call, dialog = context.call_of_dialog, context.dialog
    if call is None or dialog is None:
        return
    if context.session is not None:
        session.answered(core, context.session, call, dialog, response, now)
    if context.call is not None:
        ping.begin(core, call, dialog, now)


def branch_failed(core: Core, branch: Branch, status: int, now: float) -> None:
    """The branch ended without a final response: 408 timeout, 503 transport (RFC 3261 §16.9), 487 cancelled unsent."""
    context = branch.context
    if context is not None and not branch.done:
        if status == 503 and branch.instead_of is not None and fall_back(core, branch, now):
            return
        if status == 503 and branch.target.edge:
            # RFC 5626 §5.3.1: who sent it chose this flow, and is to choose another or let the client register anew.
            status = 430
        _final(core, context, branch, status, None, now)


def timer_c(core: Core, branch: Branch, token: int, now: float) -> None:
    """RFC 3261 §16.8: a branch without a final response for too long."""
    branch.timer_c = None
    if branch.done or branch.context is None:
        return
    if now < branch.timer_c_at:
        # §16.7 step 2: a 101–199 came meanwhile and reset it.
        branch.timer_c = core.timers.at(branch.timer_c_at, core.on_timer_c, branch, 0)
    elif branch.provisional:
        cancel(core, branch, now)
    else:
        branch_failed(core, branch, 408, now)


def _final(
    core: Core, context: Context, branch: Branch, status: int, response: Response | None, now: float
) -> None:
    if branch.done:
        return
    challenged = response if status in (401, 407) else None
    if challenged is not None and credentials.answer(core, context, branch, challenged, now):
        return
    branch.response = response
    _close(core, context, branch, status)
    if context.session is not None:
        session.refused(core, context, status, now)
    if (status in _FAILOVER or status == 430) and _failed_over(core, context, branch, response, now):
        return
    if status >= 600:
        # RFC 3261 §16.7 step 5: a 6xx ends the search; what is open is cancelled.
        cancel_all(core, context, now)
    if context.pending:
        if branch.tags:
            early.branch_over(core, context, branch, status, now)
        return
    if (
        context.groups
        and not context.cancelled
        and not context.final_sent
        and _next_wanted(context, branch, status, response)
    ):
        if branch.tags:
            early.branch_over(core, context, branch, status, now)
        next_group(core, context, now)
        return
    if not context.final_sent:
        context.final_sent = True
        _best_up(core, context, now)
    finish(core, context)


def _failed_over(core: Core, context: Context, branch: Branch, response: Response | None, now: float) -> bool:
    """RFC 3263 §4.3: whether the request went on to the next server behind the same name."""
    txn = branch.txn
    if txn is not None and not context.cancelled:
        call = context.call
        trunk = call.route_trunk if call is not None else None
        if trunk is not None or branch.target.ways:
            note_failure(core, trunk, txn.flow, branch, response, now)
    if not branch.target.ways or context.cancelled or context.final_sent:
        return False
    if not _is_dead(context, branch, response):
        return False
    if branch.tags:
        early.branch_over(core, context, branch, branch.status, now)
    next_way(core, branch, now)
    return True


def _is_dead(context: Context, branch: Branch, response: Response | None) -> bool:
    """Of 408 and 503: whether another server is to be tried."""
    # RFC 3263 §4.3: "without ever having received any response"; of a non-INVITE whoever sent it has given up at the
    # same moment (Timer F).
    return branch.status != 408 or (context.invite and response is None and not branch.provisional)


def unanswered(core: Core, branch: Branch, token: int, now: float) -> None:
    """Nothing came for as long as the trunk allows: RFC 3263 §4.3 before Timer B, where there is somewhere to go."""
    context = branch.context
    if context is None or branch.done or branch.provisional or not elsewhere(context, branch):
        return
    branch.given_up = branch.cancel_wanted = True
    branch_failed(core, branch, 408, now)


def _next_wanted(context: Context, branch: Branch, status: int, response: Response | None) -> bool:
    if context.call is not None and context.call.route_trunk is not None:
        # A trunk's next target is for a dead one, not for a callee who declined or did not answer.
        return status in _FAILOVER and _is_dead(context, branch, response)
    return True


def _close(core: Core, context: Context, branch: Branch, status: int) -> None:
    branch.done = True
    branch.status = status
    context.pending -= 1
    if branch.timer_c is not None:
        core.timers.cancel(branch.timer_c)
        branch.timer_c = None


def _up(core: Core, context: Context, branch: Branch, response: Response, now: float) -> None:
    if branch.renumbering is not None:
        cseq.lower(response, branch.renumbering.raised)
    if privacy.asserts(response):
        privacy.in_dialog(context, response)
    pass_up(core, context.txn, context.source, response, now)


def pass_up(core: Core, txn: ServerTransaction, source: Flow, response: Response, now: float) -> None:
    """Send a response of a branch, our Via taken off, on to where the request came from."""
    lines = response.lines
    if source.transport != "UDP" and "content-length" not in response.keys:
        lines.append(f"Content-Length: {len(response.body)}")
    data = render(f"SIP/2.0 {response.status} {response.reason}", lines, response.body)
    core.respond(txn, response.status, data, now)


def _rank(branch: Branch) -> tuple[int, int, int]:
    """RFC 3261 §16.7 step 6: any 6xx first, else the lowest class; within 4xx those the caller can act on."""
    status = branch.status
    cls = 0 if status >= 600 else status // 100
    return (
        cls,
        0 if status in _PREFERRED else 1 if status != 503 else 2,
        0 if branch.response is not None else 1,
    )


def _best_up(core: Core, context: Context, now: float) -> None:
    best = min(context.branches, key=_rank)
    status, response = best.status, best.response
    if context.cancelled and status in _FAILOVER:
        # RFC 3261 §16.10 with §9.1: cancelled, and no 487 ever came.
        status, response = 487, None
    wait = passing.refused(core, context.registration, response, now) if context.registration else 0.0
    if wait:
        assert response is not None
        if not core.guard.later(wait, partial(_up, core, context, best, response), now):
            core.stack.abandon(context.txn, now)
        return
    if status in (408, 481):
        indialog.dialog_lost(core, context, status, now)
    if not context.invite and status == 408:
        # RFC 4320 §4.2: a 408 to a non-INVITE comes too late to be of use and blacklists us; silence instead.
        core.stack.abandon(context.txn, now)
        return
    if (
        status == 503
        and context.to_account
        and not any(b.response or b.status != 503 for b in context.branches)
    ):
        _unreached(core, context, now)
        return
    if status == 503:
        # RFC 3261 §16.7 step 6: a 503 would say that this proxy is overloaded.
        status, response = 500, None
    if context.call is not None:
        calls.failed(core, context.call, status, now)
    if response is None:
        core.answer(context.txn, status, PHRASES.get(status, "Request Failed"), now)
        return
    if status in (401, 407):
        if best.txn is not None:
            core.finder.challenged(response.call_id, best.txn.flow)
        _merge_challenges(context, best, response)
    _up(core, context, best, response, now)


def _unreached(core: Core, context: Context, now: float) -> None:
    """No contact could even be sent to: that is an account that is not registered (RFC 3261 §21.4.18), no failure."""
    row, extra = core.refusal(Reason.NOT_REGISTERED, "", None)
    core.answer(context.txn, row.status, row.phrase, now, extra)
    if context.call is not None:
        calls.unreached(core, context.call, row.status, now)


def _merge_challenges(context: Context, best: Branch, response: Response) -> None:
    """RFC 3261 §16.7 step 7: every WWW- and Proxy-Authenticate of the other 401 and 407 responses goes along."""
    for branch in context.branches:
        other = branch.response
        if branch is best or other is None or other.status not in (401, 407):
            continue
        for key, line in zip(other.keys, other.lines, strict=True):
            if key in ("www-authenticate", "proxy-authenticate"):
                add(response, key, line)
