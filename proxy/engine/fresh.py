"""A request that starts something: who sends it, for whom it is, and which room it goes to."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from policies.reasons import Reason
from proxy.engine import admission, relay
from proxy.engine.bindings import came_by, read_records
from proxy.engine.call import Call
from proxy.engine.claimed import claimed_aor
from proxy.engine.effects import AskBindings
from proxy.engine.facts import AskFirst, Caller, Unknown, Unproved, callee_for, caller_of, challenge
from proxy.engine.forward import Context
from proxy.sip.uri import parse_uri

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policies.catalog import Trunk
    from proxy.engine.core import Core
    from proxy.engine.events import BindingsFound
    from proxy.sip.flow import Flow
    from proxy.sip.message import Request
    from proxy.sip.stack import ServerTransaction


class Waiting:
    """A request that waits for the store to say who registered from its flow."""

    __slots__ = ("aor", "cancelled", "flow_token", "source", "txn")

    def __init__(self, txn: ServerTransaction, source: Flow, aor: str, flow_token: str) -> None:
        self.txn = txn
        self.source = source
        self.aor = aor
        self.flow_token = flow_token
        self.cancelled = False


def on_request(
    core: Core,
    txn: ServerTransaction,
    source: Flow,
    trunks: Sequence[Trunk],
    asked: bool,
    now: float,
    flow_token: str = "",
) -> None:
    """`trunks`: those that send from there. `asked`: the store has said who registered from its flow. `flow_token`:
    of a Route that we wrote as Path."""
    request = txn.request
    assert request is not None
    invite = request.method == "INVITE"
    if invite and (core.overloaded or core.draining):
        # SPEC §5: cheap, before anybody is looked up or challenged.
        reason = Reason.DRAINING if core.draining else Reason.OVERLOAD
        admission.refuse_early(core, txn, reason, now)
        return
    uri = parse_uri(request.uri)
    if uri is not None and not uri.user and core.is_own(uri.host, uri.port):
        relay.to_ourselves(core, txn, now)
        return
    caller = caller_of(core, request, source, trunks, asked, now)
    match caller:
        case Caller():
            if not trunks and core.guard.on:
                core.guard.known(source)
            callee = callee_for(core, caller, request, flow_token)
            if flow_token and callee.edge is None:
                # RFC 5626 §5.3.1: "If the flow token has been tampered with".
                core.answer(txn, 403, "Forbidden", now)
                return
            if invite:
                admission.new_call(core, txn, caller, callee, now)
            else:
                relay.relay(core, txn, source, caller, callee, now)
        case Unproved():
            if caller.wrong and not _slowed(core, txn, source, request, now):
                return
            challenge(core, txn, caller.stale, now)
        case AskFirst():
            waiting = Waiting(txn, source, caller.account.aor, flow_token)
            txn.user = waiting
            core.out.append(AskBindings(caller.account.subscriber, caller.account.aor, waiting))
        case Unknown():
            admission.refuse_early(core, txn, Reason.UNKNOWN_CALLER, now)
        case _:
            assert_never(caller)


def _slowed(core: Core, txn: ServerTransaction, source: Flow, request: Request, now: float) -> bool:
    """A wrong password. True: it is answered at once; else later, or not at all."""
    seconds = core.guard.failed(source, claimed_aor(core, request), now)
    if not seconds:
        return True
    if txn.invite:
        # Or it would be repeated all the while.
        core.answer(txn, 100, "Trying", now)

    def answer(at: float) -> None:
        if txn.request is not None:
            challenge(core, txn, False, at)

    if not core.guard.later(seconds, answer, now):
        core.stack.forget(txn, now)
    return False


def bindings_found(core: Core, event: BindingsFound, now: float) -> None:
    """events.BindingsFound: for a request that is relayed, or to know its sender."""
    user = event.user
    if isinstance(user, Context):
        relay.bindings_found(core, user, event.bindings, now)
    elif isinstance(user, Call):
        admission.bindings_found(core, user, event.bindings, now)
    elif isinstance(user, Waiting) and not user.cancelled and user.txn.pending:
        for binding in read_records(event.bindings or ()):
            if came_by(binding, user.source, core.instance):
                until = binding.expires_at - core.wall_offset
                core.sources.put(user.source, user.aor, until, now)
        if event.bindings is None:
            admission.refuse_early(core, user.txn, Reason.STORE_UNAVAILABLE, now)
        else:
            on_request(core, user.txn, user.source, (), True, now, user.flow_token)
