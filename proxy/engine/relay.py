"""Requests outside a dialog other than INVITE and REGISTER: answered by us, or relayed to an account or a trunk.

They are no calls: nothing is charged. But who sends them must be somebody we serve, or this were an open relay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from policies.account import NoPlan
from policies.reasons import Reason
from proxy.engine import breadth, privacy, seal
from proxy.engine.admission import binding_targets, edge_targets, keeps_uri
from proxy.engine.effects import AskBindings
from proxy.engine.facts import Callee, Caller
from proxy.engine.forward import Context, loop_hash_of, lower_max_forwards, next_group
from proxy.engine.lines import strip_untrusted
from proxy.engine.merged import LOOP_DETECTED, merged
from proxy.engine.trunks import trunk_targets

if TYPE_CHECKING:
    from policies.catalog import Account
    from proxy.engine.core import Core
    from proxy.sip.flow import Flow
    from proxy.sip.stack import ServerTransaction

ALLOW: Final = (
    "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, REGISTER, PRACK, UPDATE, INFO, REFER, NOTIFY, SUBSCRIBE, MESSAGE, "
    "PUBLISH"
)
_OPTIONS: Final = (
    ALLOW,
    "Accept: application/sdp, */*",
    "Accept-Encoding: identity",
    "Supported: path, outbound",
)
_NO_DIALOG: Final = ("MESSAGE", "OPTIONS", "PUBLISH", "INFO", "PRACK", "UPDATE", "BYE", "REGISTER")
"""Methods known to begin no dialog. SUBSCRIBE, REFER and NOTIFY do (RFC 6665 §4.2, RFC 3515 §2.4)."""


def to_ourselves(core: Core, txn: ServerTransaction, now: float) -> None:
    """A request whose Request-URI names this proxy and no user of it."""
    request = txn.request
    assert request is not None
    if request.method == "OPTIONS":
        if merged(core, txn):
            core.answer(txn, *LOOP_DETECTED, now)
            return
        # RFC 3261 §8.2.2.3: for an OPTIONS to us we are a UAS, which has no extensions that change its answer.
        required = request.all_values("require") if request.has("require") else ()
        if required:
            core.answer(txn, 420, "Bad Extension", now, (f"Unsupported: {', '.join(required)}",))
            return
        # RFC 3261 §11.2.
        core.answer(txn, 200, "OK", now, _OPTIONS)
    elif request.method == "INVITE":
        core.answer(txn, 404, "Not Found", now)
    else:
        # RFC 3261 §21.4.6: a 405 names what is allowed.
        core.answer(txn, 405, "Method Not Allowed", now, (ALLOW,))


def relay(
    core: Core, txn: ServerTransaction, source: Flow, caller: Caller, callee: Callee, now: float
) -> None:
    """From somebody we know, to an account or by a route."""
    request = txn.request
    assert request is not None
    account = callee.account
    if account is None and (callee.trunk is None or caller.account is None):
        reason = Reason.NO_ROUTE if callee.trunk is None else Reason.UNKNOWN_CALLER
        row, extra = core.refusal(reason, "", None)
        core.answer(txn, row.status, row.phrase, now, extra)
        return
    refused = _forbidden(core, caller.account, account, now)
    if refused is not None:
        row, extra = core.refusal(*refused, None)
        core.answer(txn, row.status, row.phrase, now, extra)
        return
    objection = privacy.objection(request) or breadth.objection(request)
    if objection is not None:
        core.answer(txn, objection[0], objection[1], now, objection[2])
        return
    strip_untrusted(core, request, caller)
    privacy.on_request(core, request, caller, callee.trunk)
    context = Context(txn, request, source)
    context.breadth = breadth.take(request)
    context.loop_hash = loop_hash_of(request)
    if request.method not in _NO_DIALOG:
        # RFC 3261 §16.6 step 4: on "every request with a method it does not understand since that method may have
        # dialog semantics". Its dialog needs us on the way back, too.
        context.record_route = ">"
        context.seal = seal.parameter(core, request.call_id)
    txn.user = context
    lower_max_forwards(request)
    if callee.edge is not None:
        context.groups = edge_targets(callee.edge, request.uri)
        if context.groups:
            next_group(core, context, now)
        else:
            # RFC 5626 §5.3.1.
            core.answer(txn, 430, "Flow Failed", now)
    elif account is not None:
        core.out.append(AskBindings(account.subscriber, account.aor, context))
    elif callee.trunk is not None:
        context.groups = trunk_targets(
            core, callee.trunk, request.uri, keeps_uri(caller.account, callee.trunk)
        )
        _go(core, context, Reason.TRUNK_DOWN, now)


def _forbidden(
    core: Core, caller: Account | None, callee: Account | None, now: float
) -> tuple[Reason, str] | None:
    """SPEC §2: what an account may not do at all it may not do without a call either: providers charge for messages."""
    for account in (caller, callee):
        if account is None:
            continue
        if account.disabled:
            return Reason.ACCOUNT_DISABLED, ""
        limits = core.limits_of(account, now)
        if isinstance(limits, NoPlan):
            return Reason.NO_PLAN, limits.mode
    return None


def bindings_found(core: Core, context: Context, bindings: list[str] | None, now: float) -> None:
    """events.BindingsFound for a request of ours."""
    if not context.txn.pending:
        return
    if bindings is None:
        row, extra = core.refusal(Reason.STORE_UNAVAILABLE, "", None)
        core.answer(context.txn, row.status, row.phrase, now, extra)
        return
    context.groups = binding_targets(core, bindings)
    context.to_account = True
    _go(core, context, Reason.NOT_REGISTERED, now)


def _go(core: Core, context: Context, otherwise: Reason, now: float) -> None:
    if context.groups:
        next_group(core, context, now)
    else:
        row, extra = core.refusal(otherwise, "", None)
        core.answer(context.txn, row.status, row.phrase, now, extra)
