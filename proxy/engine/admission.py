"""A new call, from its INVITE to the limiter's verdict: who, whose limits, admitted or refused.

Theory: nothing is charged before the caller is known and the callee has a place to go. Each leg is one question to the
limiter; legs are asked one after the other, and what was taken is given back when a later one is refused (SPEC §3).
A CANCEL that comes meanwhile is answered at once; the verdict is then given back when it comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from policies.account import NoPlan
from policies.lease import Leg, Outcome
from policies.payer import workers_of
from policies.reasons import Reason
from policies.verdicts import Admitted, AdmitVerdict, Refused, Replayed, Unavailable
from proxy.engine import breadth, calls, media, privacy, replaces, session
from proxy.engine.bindings import Binding, devices, flow_of, read_records
from proxy.engine.call import Call, CallState, Peer, Permit
from proxy.engine.effects import AskAdmission, AskBindings, WriteRecord
from proxy.engine.facts import Callee, Caller, callee_of, challenge
from proxy.engine.forward import Context, forward_call, loop_hash_of, lower_max_forwards
from proxy.engine.lines import raw_value, strip_untrusted
from proxy.engine.record import CallRecord
from proxy.engine.running import join
from proxy.engine.targets import Target, hop_of
from proxy.engine.trunks import all_down, trunk_targets

if TYPE_CHECKING:
    from policies.catalog import Account, Trunk
    from proxy.engine.core import Core
    from proxy.engine.flowtoken import Edge
    from proxy.sip.stack import ServerTransaction


_RARE: Final = frozenset(
    {"max-breadth", "privacy", "p-asserted-identity", "p-preferred-identity", "remote-party-id", "replaces"}
)
"""Headers that ask for more than an ordinary call; all of them are looked for at once."""


def new_call(core: Core, txn: ServerTransaction, caller: Caller, callee: Callee, now: float) -> None:
    """An INVITE that passed validation, from a caller we know."""
    request = txn.request
    assert request is not None
    rare = not _RARE.isdisjoint(request.keys)
    objection = (privacy.objection(request) or breadth.objection(request)) if rare else None
    if objection is None and core.sessions is not None:
        objection = session.objection(core, request)
    if objection is not None:
        core.answer(txn, objection[0], objection[1], now, objection[2])
        return
    call = _call(core, txn, caller, callee, now)
    calls.remember(core, call)
    txn.user = call
    reason, limit = _forbidden(core, call, caller, callee, now)
    if reason is not None:
        _refuse(core, call, reason, limit, None, now)
        return
    # RFC 3261 §16.2: a 100 at once; the limiter is a network trip away.
    core.answer(txn, 100, "Trying", now)
    strip_untrusted(core, request, caller)
    trunk = callee.trunk
    if rare and "replaces" in request.keys:
        replaces.borrow(core, call, request)
    if rare or (trunk is not None and trunk.trusted):
        privacy.on_request(core, request, caller, trunk)
    if call.legs:
        core.out.append(AskAdmission(call.legs[0]))
    else:
        # Every leg is lent by the call that this one replaces.
        _admitted(core, call, Admitted(""), now)


def _call(core: Core, txn: ServerTransaction, caller: Caller, callee: Callee, now: float) -> Call:
    request = txn.request
    assert request is not None
    account = caller.account
    from_line = raw_value(request, "from")
    names = account.aor if account is not None else calls.user_of(from_line)
    record = CallRecord(
        request.call_id,
        request.from_tag,
        names,
        callee.account.aor if callee.account is not None else callee.user,
        now,
    )
    upstream = (
        calls.readable_routes(request.all_values("record-route")) if request.has("record-route") else ()
    )
    # Where it hears us, as it has its 100: RFC 3261 §18.2.2 without rport, which may be another port.
    hears = txn.flow
    peer = Peer(hears, request.from_tag, from_line, raw_value(request, "contact"), upstream, caller.trunk)
    peer.cseq = request.cseq
    call = Call(core.ours + core.ids.tag(), request.call_id, peer, record, txn)
    call.caller_account = account
    call.caller_trunk = caller.trunk
    call.callee_account = callee.account
    call.route_trunk = callee.trunk
    call.edge = callee.edge
    trunk = caller.trunk or callee.trunk
    record.trunk = trunk.name if trunk is not None else ""
    return call


def _forbidden(
    core: Core, call: Call, caller: Caller, callee: Callee, now: float
) -> tuple[Reason | None, str]:
    """What speaks against the call before any counter is looked at; else the legs are made."""
    record = call.record
    if core.draining:
        return Reason.DRAINING, ""
    if core.overloaded or len(core.calls) > core.snapshot.config.limits.calls_max:
        return Reason.OVERLOAD, ""
    reason = nobody_pays(caller.account, callee)
    if reason is not None:
        return reason, ""
    if core.reach.outages and all_down(core, callee):
        return Reason.TRUNK_DOWN, ""
    workers = workers_of(caller.account, caller.trunk, callee.account, callee.trunk)
    legs: list[Leg] = []
    both = caller.account is not None and callee.account is not None
    for account, used, incoming in (
        (caller.account, workers[0], False),
        (callee.account, workers[1], True),
    ):
        if account is None:
            continue
        charge = core.charge_of(account, used, now)
        record.payers.append(charge.payer)
        if not record.mode:
            record.mode, record.direction = account.mode, "in" if incoming else "out"
        limits = charge.limits
        if charge.refusal is not None or isinstance(limits, NoPlan):
            return charge.refusal or Reason.NO_PLAN, charge.limit
        legs.append(
            Leg(
                lease=call.token + ("i" if incoming else "o"),
                limits=limits,
                direction="in" if incoming else "out",
                account=account.aor,
                # Bindings are among the keys of the account's subscriber, out of reach of a group's script.
                aor=account.aor if incoming and charge.payer == account.subscriber else "",
                nonce="" if incoming else caller.nonce,
                nc=0 if incoming else caller.nc,
                call=call,
                tentative=both and not incoming,
                before=legs[0] if legs else None,
            )
        )
    call.legs = tuple(legs)
    for leg in legs:
        join(core, leg, now)
    return None, ""


def nobody_pays(caller: Account | None, callee: Callee) -> Reason | None:
    """Why a call between these two is none of ours to carry."""
    if callee.account is None and callee.trunk is None:
        return Reason.NO_ROUTE
    if caller is None and callee.account is None:
        # Somebody outside calls somebody outside: nobody would pay.
        return Reason.UNKNOWN_CALLER
    return None


def decided(core: Core, leg: Leg, verdict: AdmitVerdict, now: float) -> None:
    """events.AdmissionDecided."""
    call = leg.call
    if not isinstance(call, Call):
        return
    if (
        isinstance(verdict, Unavailable)
        and core.snapshot.config.store.on_store_failure == "admit"
        and not leg.aor
    ):
        # SPEC §5: the operator wants calls to go on; what they use is settled when the store is back. A callee of
        # ours cannot be found without the store, so its calls are refused all the same.
        leg.unbacked = True
        verdict = Admitted(leg.lease)
    if isinstance(verdict, Admitted):
        call.leg_index += 1
        _admitted(core, call, verdict, now)
        return
    if call.cancelled:
        # The leg was not taken; what an earlier leg holds is a failed attempt like any cancelled one.
        _gone(core, call, now)
    elif isinstance(verdict, Refused):
        _refuse(core, call, verdict.reason, verdict.limit, verdict.resets_in_ms, now)
    elif isinstance(verdict, Replayed):
        _challenge_again(core, call, now)
    else:
        _refuse(core, call, Reason.STORE_UNAVAILABLE, "", None, now)


def _admitted(core: Core, call: Call, verdict: Admitted, now: float) -> None:
    if call.cancelled:
        _gone(core, call, now)
        return
    if call.leg_index < len(call.legs):
        core.out.append(AskAdmission(call.legs[call.leg_index]))
        return
    txn = call.txn
    assert txn is not None
    assert txn.request is not None
    request = txn.request
    source = call.caller.flow
    context = Context(txn, request, source)
    if call.edge is not None:
        context.groups = edge_targets(call.edge, request.uri)
        if not context.groups:
            _flow_failed(core, call, now)
            return
    elif call.callee_account is not None:
        if verdict.bindings is None and not _asked_for(call, verdict):
            # The callee's leg is lent (replaces.py) or a group pays it, so no admission brought them along.
            core.out.append(AskBindings(call.callee_account.subscriber, call.callee_account.aor, call))
            return
        context.groups = binding_targets(core, verdict.bindings or [])
        context.to_account = True
    elif call.route_trunk is not None:
        context.groups = trunk_targets(
            core,
            call.route_trunk,
            request.uri,
            keeps_uri(call.caller_account, call.route_trunk),
            core.finder.challengers.pop(call.call_id, None) if core.finder.challengers else None,
        )
    if not context.groups:
        reason = Reason.NOT_REGISTERED if call.callee_account is not None else Reason.TRUNK_DOWN
        _refuse(core, call, reason, "", None, now)
        return
    call.state = CallState.TRYING
    call.record.decision = "admitted"
    context.record_route = f";c={call.token}>"
    context.loop_hash = loop_hash_of(request)
    context.breadth = breadth.take(request)
    lower_max_forwards(request)
    if core.sessions is not None:
        session.ask(core, context)
    lent = call.handover.legs if call.handover is not None else ()
    permit = Permit(call.legs + lent)
    if core.relays and media.wanted(core, call) and media.hold_start(core, call, context, permit):
        return
    forward_call(core, context, call, permit, now)


def _asked_for(call: Call, verdict: Admitted) -> bool:
    """Whether the verdict is on the callee's own leg."""
    return bool(call.legs) and call.legs[-1].lease == verdict.lease and bool(call.legs[-1].aor)


def bindings_found(core: Core, call: Call, bindings: list[str] | None, now: float) -> None:
    """events.BindingsFound for a call whose callee's leg is lent, or paid by a group."""
    if call.state is not CallState.ADMITTING:
        return
    if bindings is None and not call.cancelled:
        _refuse(core, call, Reason.STORE_UNAVAILABLE, "", None, now)
    else:
        _admitted(core, call, Admitted("", bindings), now)


def binding_targets(core: Core, records: list[str]) -> list[Sequence[Target]]:
    """Groups of targets, the first to try last; over the flows the contacts registered from."""
    groups: list[Sequence[Target]] = []
    for found in reversed(devices(read_records(records))):
        group = [target for device in found if (target := _device_target(core, device)) is not None]
        if group:
            groups.append(group)
    return groups


def _device_target(core: Core, bindings: Sequence[Binding]) -> Target | None:
    """Where a device is called; its other flows are for when this one fails (RFC 5626 §7)."""
    if len(bindings) == 1:
        return _binding_target(core, bindings[0])
    reached = [target for binding in bindings if (target := _binding_target(core, binding)) is not None]
    if not reached:
        return None
    first, others = reached[0], reached[1:]
    first.ways = tuple(
        other.flow
        for other in others
        if other.flow is not None and (other.uri, other.routes) == (first.uri, first.routes)
    )
    return first


def _binding_target(core: Core, binding: Binding) -> Target | None:
    flow = flow_of(binding, core.instance, core.flows)
    if flow is None:
        return _by_contact(core, binding)
    # RFC 3327 §5.3: the way back by the proxies it came by; its flow is that of the nearest one.
    routes = (f"Route: {binding.path}",) if binding.path else ()
    return Target(binding.uri, flow, flow.transport, flow.host, flow.port, routes)


def _by_contact(core: Core, binding: Binding) -> Target | None:
    """A phone on TCP whose connection is gone may take a new one, if its Contact is where it sent from: no NAT then.

    For TLS it would have to prove an address, and a browser takes none: they are not there.
    """
    target = hop_of(core, binding.uri, binding.uri) if binding.transport == "TCP" else None
    if target is None or target.transport != "TCP" or target.flow is None or target.host != binding.host:
        return None
    return target


def edge_targets(edge: Edge, request_uri: str) -> list[Sequence[Target]]:
    """RFC 5626 §5.3: the flow that a token names; nothing when it has failed."""
    flow = edge.flow
    if flow is None or flow.gone:
        return []
    target = Target(request_uri, flow, flow.transport, flow.host, flow.port)
    target.edge = True
    return [(target,)]


def keeps_uri(account: Account | None, trunk: Trunk) -> bool:
    """The Request-URI stays as it is on the way to the registrar of the account: the domain is its own."""
    return account is not None and account.forward == trunk.name


def cancelled(core: Core, call: Call, now: float) -> None:
    """The caller's CANCEL while the limiter is still being asked: answered now, given back when the verdict comes."""
    call.cancelled = True
    call.record.status = 487
    if call.txn is not None:
        core.answer(call.txn, 487, "Request Terminated", now)


def _gone(core: Core, call: Call, now: float) -> None:
    """The verdict came for a call that is over. SPEC §3: an admitted INVITE that the caller cancels is a failure."""
    all_taken = call.leg_index == len(call.legs)
    calls.release(core, call, Outcome.FAIL if all_taken else Outcome.VOID, now)
    call.state = CallState.ENDED
    record = call.record
    if not record.cut:
        record.cause, record.ended_by = "cancelled", "caller"
    record.decision = "admitted" if all_taken else "none"
    record.outcome = "fail" if all_taken else "rejected"
    calls.write(core, call, now)
    calls.forget(core, call)


def _flow_failed(core: Core, call: Call, now: float) -> None:
    """RFC 5626 §5.3.1: the flow of the token is gone: its registrar is to try another or to forget it."""
    if call.txn is not None:
        core.answer(call.txn, 430, "Flow Failed", now)
    calls.refused(core, call, Reason.NOT_REGISTERED, 430, now)


def _refuse(core: Core, call: Call, reason: Reason, limit: str, resets_in_ms: int | None, now: float) -> None:
    row, extra = core.refusal(reason, limit, resets_in_ms)
    if call.txn is not None:
        core.answer(call.txn, row.status, row.phrase, now, extra)
    calls.refused(core, call, reason, row.status, now)


def _challenge_again(core: Core, call: Call, now: float) -> None:
    """The store saw this nonce count before (RFC 7616 §3.4): a fresh nonce, and no word of the old one."""
    txn = call.txn
    assert txn is not None
    challenge(core, txn, True, now)
    calls.release(core, call, Outcome.VOID, now)
    call.state = CallState.ENDED
    calls.forget(core, call)


def refuse_early(core: Core, txn: ServerTransaction, reason: Reason, now: float) -> None:
    """Refused before there is a call; an INVITE leaves its record all the same."""
    request = txn.request
    assert request is not None
    row, extra = core.refusal(reason, "", None)
    core.answer(txn, row.status, row.phrase, now, extra)
    if request.method != "INVITE":
        return
    callee = callee_of(core, request.uri)
    record = CallRecord(
        request.call_id, request.from_tag, calls.user_of(request.value("from") or ""), callee.user, now
    )
    record.decision, record.outcome, record.status, record.reason = (
        "refused",
        "refused",
        row.status,
        reason.value,
    )
    record.ended_by = "callgate"
    core.out.append(WriteRecord(record))
