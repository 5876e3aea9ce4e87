"""What happens to a call: an early dialog, an answer, a failure, an end. Leases are released here only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from policies.lease import Leg, Outcome
from policies.reasons import Reason
from proxy.engine import cseq, media, replaces, watch
from proxy.engine.call import Call, CallState, Dialog, Peer
from proxy.engine.dialogtext import dialog_text
from proxy.engine.effects import CallAnswered, DialogOver, ReleaseLease, WriteRecord
from proxy.engine.forward import Branch, Context
from proxy.engine.lines import raw_value
from proxy.engine.running import leave
from proxy.sip.headers import parse_name_addr, place_of
from proxy.sip.message import Response

if TYPE_CHECKING:
    from proxy.engine.core import Core
    from proxy.engine.record import Decision, OutcomeLabel


EARLY_MAX: Final = 60
"""Early dialogs of one call; no request passes in those beyond it. Precedent: Max-Breadth (RFC 5393 §5.3.3) bounds what
may answer one INVITE to 60."""


_REFRESHING: Final = ("INVITE", "UPDATE", "SUBSCRIBE", "NOTIFY")


def remember(core: Core, call: Call) -> None:
    """The call exists from here on."""
    core.calls[call.token] = call
    line = core.by_call_id.get(call.call_id)
    if line is None:
        core.by_call_id[call.call_id] = [call]
    else:
        line.append(call)


def forget(core: Core, call: Call) -> None:
    """Nothing of the call is under way any more. Forgetting twice changes nothing."""
    if core.calls.pop(call.token, None) is None:
        return
    line = core.by_call_id[call.call_id]
    line.remove(call)
    if not line:
        del core.by_call_id[call.call_id]
    call.context = None
    call.txn = None
    for leg in call.legs:
        leg.call = None
    if call.orphan is not None:
        core.out.append(DialogOver(call.orphan))


def user_of(from_value: str) -> str:
    """The user part of a From value, for people; "anonymous" when it has none."""
    start = from_value.find("sip:") + 4
    end = from_value.find("@", start)
    return from_value[start:end] if start > 3 and end > start else "anonymous"


# Towards an answer ---------------------------------------------------------------------------------------------------


def early(core: Core, call: Call, branch: Branch, response: Response) -> None:
    """A provisional response with a To tag: PRACK and UPDATE may come in this early dialog (RFC 3261 §12.1)."""
    if call.state is CallState.TRYING and call.dialog(response.to_tag) is None:
        if len(call.dialogs) >= EARLY_MAX:
            return
        dialog = Dialog(_callee(core, call, branch, response))
        call.dialogs.append(dialog)
        if branch.renumbering is not None:
            cseq.opened(dialog, branch.renumbering)
        branch.tags += (response.to_tag,)


def answered(core: Core, call: Call, branch: Branch, response: Response, now: float) -> bool:
    """A 2xx from a branch. True: it goes up. False: the call is over for us, and the callee must be told so."""
    dialog = call.dialog(response.to_tag)
    if dialog is not None and dialog.confirmed:
        return True  # the callee repeats its 2xx until the ACK arrives
    state = call.state
    if state >= CallState.CUTTING:
        return False
    if dialog is None:
        dialog = Dialog(_callee(core, call, branch, response))
        call.dialogs.append(dialog)
    else:
        # RFC 3261 §13.2.2.4: the 2xx settles route set and remote target of what was an early dialog.
        dialog.callee = _callee(core, call, branch, response)
    if branch.renumbering is not None and dialog.down is None:
        cseq.opened(dialog, branch.renumbering)
    dialog.confirmed = True
    if state is CallState.TRYING:
        _first_answer(core, call, dialog, response.status, now)
    return True


def _first_answer(core: Core, call: Call, dialog: Dialog, status: int, now: float) -> None:
    call.state = CallState.ANSWERED
    call.txn = None
    record = call.record
    record.answered_at = now
    record.status = status
    text = dialog_text(core, call, dialog)
    for leg in call.legs:
        if not leg.answered:
            leg.answered = True
            leg.answered_at = now
        core.out.append(CallAnswered(leg, text))
        # One leg keeps it for the whole call.
        text = ""
    plan_end(core, call, now)


def plan_end(core: Core, call: Call, now: float) -> None:
    """The call is held to the call_duration of its answered legs."""
    if call.deadline is not None:
        core.timers.cancel(call.deadline)
        call.deadline = None
    end = end_of(call.legs)
    if end is not None:
        call.deadline = core.timers.at(max(now, end), core.on_call_duration, call, 0)


def end_of(legs: tuple[Leg, ...]) -> float | None:
    """When the first call_duration of answered legs is over; a leg of a call that was replaced began before."""
    end: float | None = None
    for leg in legs:
        limit = leg.limits.call_duration
        if limit is not None and leg.answered and limit.applies(leg.direction):
            at = leg.answered_at + limit.value / 1000
            if end is None or at < end:
                end = at
    return end


def _callee(core: Core, call: Call, branch: Branch, response: Response) -> Peer:
    assert branch.txn is not None
    return Peer(
        branch.txn.flow,
        response.to_tag,
        raw_value(response, "to"),
        raw_value(response, "contact"),
        routes_beyond(core, response),
        call.route_trunk,
    )


def routes_beyond(core: Core, response: Response) -> tuple[str, ...]:
    """The Record-Route values that proxies between us and the callee added, in the order we would use them."""
    keys = response.keys
    at = place_of(keys, "record-route")
    if at < 0:
        return ()
    first = response.lines[at].partition(":")[2].lstrip()
    if first.startswith(core.own_prefixes):
        return ()
    beyond: list[str] = []
    for value in response.all_values("record-route"):
        if value.startswith(core.own_prefixes):
            break
        beyond.insert(0, value)
    return readable_routes(beyond)


def readable_routes(values: list[str]) -> tuple[str, ...]:
    """A route set of which one value cannot be read is none: nobody may be sent what we would refuse ourselves."""
    if any("<" not in value or parse_name_addr(value) is None for value in values):
        return ()
    return tuple(values)


def refresh_target(context: Context, response: Response) -> None:
    """RFC 3261 §12.2.1.2, §12.2.2: a 2xx to a re-INVITE or UPDATE moves both remote targets (never the route sets), and
    so it does to SUBSCRIBE and NOTIFY (RFC 6665 §3.1, §3.2), as come of a REFER within the call.

    RFC 6141 §4.4 has the target of the request move even earlier; for us it matters only to our own BYE.
    """
    call, dialog, request = context.call_of_dialog, context.dialog, context.request
    if call is None or dialog is None or request.method not in _REFRESHING:
        return
    sender, receiver = (call.caller, dialog.callee) if context.from_caller else (dialog.callee, call.caller)
    sender.target = raw_value(request, "contact") or sender.target
    receiver.target = raw_value(response, "contact") or receiver.target


# The end -------------------------------------------------------------------------------------------------------------


def release(core: Core, call: Call, outcome: Outcome, now: float) -> None:
    """Give every lease that was taken back, once."""
    if call.handover is not None:
        heir = replaces.over(call, call.handover)
        if heir is not None:
            # It may ring for longer than what it holds now may last.
            plan_end(core, heir, now)
    if call.media is not None:
        media.stop(core, call.media, call)
    deadline = call.deadline
    if deadline is not None:
        core.timers.cancel(deadline)
        call.deadline = None
    for dialog in call.dialogs:
        if dialog.watch is not None:
            watch.stop(core, dialog.watch)
    for leg in call.legs[: call.leg_index]:
        give_back(core, leg, outcome)
    for leg in call.legs:
        leave(core, leg)


def give_back(core: Core, leg: Leg, outcome: Outcome) -> None:
    """One leg, once."""
    if not leg.released:
        leg.released = True
        # What was answered is a success, also where the call that took it over is not answered itself.
        core.out.append(ReleaseLease(leg, Outcome.SUCCESS if leg.answered else outcome))


def failed(core: Core, call: Call, status: int, now: float) -> None:
    """The admitted call got a final answer that is no 2xx."""
    if call.state >= CallState.CUTTING:
        return
    # SPEC §3: challenges are neither success nor failure, whoever asks them.
    outcome = Outcome.VOID if status in (401, 407) else Outcome.FAIL
    release(core, call, outcome, now)
    call.state = CallState.ENDED
    record = call.record
    record.status = status
    record.outcome = "fail" if outcome is Outcome.FAIL else "rejected"
    if not record.cause:
        record.cause = (
            "cancelled" if call.cancelled else "challenged" if outcome is Outcome.VOID else "rejected"
        )
        record.ended_by = "caller" if call.cancelled else "callee"
    write(core, call, now)
    forget(core, call)


def ended(core: Core, call: Call, by_caller: bool, cause: str, now: float) -> None:
    """An answered call whose last dialog is gone."""
    if call.state is not CallState.ANSWERED:
        return
    release(core, call, Outcome.SUCCESS, now)
    call.state = CallState.ENDED
    record = call.record
    record.outcome = "success"
    record.cause = cause if call.handover is None else "replaced"
    record.ended_by = "caller" if by_caller else "callee"
    write(core, call, now)
    forget(core, call)


def refused(core: Core, call: Call, reason: Reason, status: int, now: float) -> None:
    """A limit or policy of ours said no: what was taken for other legs goes back as if it never was."""
    release(core, call, Outcome.VOID, now)
    call.state = CallState.ENDED
    record = call.record
    record.reason = reason.value
    not_asked = reason in (Reason.NO_ROUTE, Reason.NOT_REGISTERED)
    finish_record(
        core, call, "none" if not_asked else "refused", "rejected" if not_asked else "refused", status, now
    )
    forget(core, call)


def unreached(core: Core, call: Call, status: int, now: float) -> None:
    """Admitted, and then none of the callee's contacts could be sent to: as if it had been found out before."""
    if call.state >= CallState.CUTTING:
        return
    release(core, call, Outcome.VOID, now)
    call.state = CallState.ENDED
    call.record.reason = Reason.NOT_REGISTERED.value
    finish_record(core, call, call.record.decision, "rejected", status, now)
    forget(core, call)


def finish_record(
    core: Core, call: Call, decision: Decision, outcome: OutcomeLabel, status: int, now: float
) -> None:
    """Write the record of a call that did not get through."""
    record = call.record
    record.decision, record.outcome, record.status = decision, outcome, status
    record.ended_by = "callgate"
    write(core, call, now)


def write(core: Core, call: Call, now: float) -> None:
    """The one record of the call."""
    call.record.ended_at = now
    core.out.append(WriteRecord(call.record))
