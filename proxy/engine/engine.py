"""The pure core's one door: `handle(event, now)` in, effects out.

The engine is the user of the transaction layer (proxy.sip.transaction.TransactionUser); what it does with a message is
in the rooms: validate, facts, admission, forward, respond, indialog, relay, registrar, teardown.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from functools import partial
from typing import assert_never

from policies.catalog import Trunk
from policies.reasons import Reason
from proxy.engine import (
    admission,
    finding,
    fresh,
    indialog,
    relayed,
    replan,
    respond,
    running,
    stateless,
    takeover,
    teardown,
)
from proxy.engine.alive import Alive
from proxy.engine.attempt import Attempt
from proxy.engine.call import Call, CallState, Running
from proxy.engine.core import Core
from proxy.engine.digest import Digest
from proxy.engine.effects import CloseFlow, Effect
from proxy.engine.events import (
    AdmissionDecided,
    BindingsFound,
    BudgetPlanned,
    CallInherited,
    DrainStarted,
    Event,
    FloodSeen,
    FlowFailed,
    FramingFailed,
    Hangup,
    LeaseLost,
    MediaAnswered,
    MessageIn,
    NameFound,
    OverloadChanged,
    PlaceDecided,
    RegisterDecided,
    SnapshotChanged,
    Started,
    TimerFired,
    TurnDecided,
    Unban,
)
from proxy.engine.forward import Branch, Context, cancel_all
from proxy.engine.health import Probe
from proxy.engine.ping import Ping
from proxy.engine.registrar import Registrar
from proxy.engine.registrations import Registrations
from proxy.engine.snapshot import Snapshot
from proxy.engine.targets import take_own_routes
from proxy.engine.teardown import Bye
from proxy.engine.validate import validate
from proxy.sip.flow import Flow, FlowTable
from proxy.sip.message import ParseError, Request, Response
from proxy.sip.parse import parse
from proxy.sip.serialise import received_via
from proxy.sip.stack import ClientTransaction, ServerTransaction, Stack, TimerConfig
from proxy.sip.timers import Timers
from proxy.sip.transaction import Counters, TransactionUser


class Engine(TransactionUser):
    """One for each process."""

    def __init__(
        self,
        snapshot: Snapshot,
        tables: Sequence[FlowTable],
        rng: random.Random,
        instance: str,
        secret: bytes,
        name: str = "",
    ) -> None:
        """`tables`: one for each listening socket, shared with the network layer. `instance`: new at each start.
        `secret`: signs digest nonces, the same on all instances of a service. `name`: the same at every start; leases
        begin with it, so that the store knows whose they are."""
        config = snapshot.config
        self.timers = Timers()
        self._secret = secret
        self.core = core = Core(snapshot, tables, rng, self.timers, instance, name, _digest(secret, snapshot))
        core.secret = secret
        self.stack_counters = Counters()
        times = config.timers
        core.stack = Stack(
            self,
            self.timers,
            core.out,
            TimerConfig(times.t1, times.t2, times.t4, config.limits.transactions_max),
            self.stack_counters,
        )
        core.on_timer_c = partial(respond.timer_c, core)
        core.on_unanswered = partial(respond.unanswered, core)
        core.on_branch_failed = partial(respond.branch_failed, core)
        core.on_budget = self._on_budget
        core.on_replan = self._on_replan
        self.registrar = Registrar(core)
        self.registrations = Registrations(core)
        if snapshot.catalog.registered:
            self.timers.at(0.0, self._begin, None, 0)
        self._alive = Alive(core)

    # The door --------------------------------------------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event. The effects are to be performed, in order, before the next call, which reuses the list."""
        core = self.core
        out = core.out
        out.clear()
        match event:
            case MessageIn():
                self._message(event.data, event.flow, now)
            case TimerFired():
                self.timers.expire(now)
            case AdmissionDecided():
                admission.decided(core, event.leg, event.verdict, now)
            case BudgetPlanned():
                running.plan_budget(core, (event.payer, event.mode), event.exhausts_in, event.version, now)
            case LeaseLost():
                if isinstance(event.leg.call, Call):
                    teardown.cut(core, event.leg.call, Reason.HANGUP, now)
            case CallInherited():
                takeover.take_up(core, event.inherited, now)
            case RegisterDecided():
                self.registrar.on_decided(event, now)
            case TurnDecided():
                self.registrations.turn_decided(event, now)
            case PlaceDecided():
                self.registrar.on_place(event, now)
            case BindingsFound():
                fresh.bindings_found(core, event, now)
            case NameFound():
                finding.found(core, event, now)
            case MediaAnswered():
                relayed.answered(core, event.ask, event.sdp, now)
            case FlowFailed():
                self.registrar.flow_failed(event.flow)
                core.stack.flow_failed(event.flow, now)
            case FramingFailed():
                stateless.malformed(core, event.error, event.flow, now)
                out.append(CloseFlow(event.flow, "framing"))
            case Hangup():
                for call in tuple(core.by_call_id.get(event.call_id, ())):
                    teardown.cut(core, call, Reason.HANGUP, now)
            case DrainStarted():
                core.draining = True
                self.registrations.drain(now)
            case OverloadChanged():
                core.overloaded = event.on
            case SnapshotChanged():
                core.configure(event.snapshot)
                core.digest = _digest(self._secret, event.snapshot)
                self.registrations.configure(now)
                replan.snapshot_changed(core, now)
                core.health.configure(now)
                core.guard.configure()
            case FloodSeen():
                core.guard.flood(event.host, now)
            case Unban():
                core.guard.unban(event.host)
            case Started():
                core.health.configure(now)
            case _:
                assert_never(event)
        return out

    def calls(self) -> Iterable[Call]:
        """Every call there is, for whoever looks on. Not to be changed."""
        return self.core.calls.values()

    # Messages --------------------------------------------------------------------------------------------------------

    def _message(self, data: bytes, flow: Flow, now: float) -> None:
        message = parse(data)
        if isinstance(message, ParseError):
            stateless.malformed(self.core, message, flow, now)
        else:
            self.core.stack.receive(message, flow, now)

    def on_request(self, txn: ServerTransaction, now: float) -> None:
        """TransactionUser."""
        core = self.core
        request = txn.request
        assert request is not None
        source = txn.flow
        via = request.via
        value = received_via(via, source.host, source.port)
        if value is not via.value:
            # RFC 3261 §18.2.1, RFC 3581 §4: in place, for whatever is answered or forwarded from here on.
            i = request.keys.index("via")
            request.lines[i] = request.lines[i].replace(via.value, value, 1)
        trunks: tuple[Trunk, ...] = ()
        if not request.to_tag:
            trunks = core.trunks_at(source.host)
            if not trunks and core.guard.on and not core.guard.lets_in(request, source, now):
                core.stack.forget(txn, now)
                return
        txn.flow = stateless.way_back(core, request, source)
        objection = validate(core, request)
        if objection is not None:
            status, phrase, extra = objection
            core.answer(txn, status, phrase, now, extra)
            return
        routed, token, flow_token, seal = take_own_routes(core, request, source)
        if request.to_tag:
            indialog.on_request(core, txn, source, routed, token, flow_token, seal, now)
        elif request.method != "REGISTER" or not self.registrar.on_register(txn, now, source):
            fresh.on_request(core, txn, source, trunks, False, now, flow_token)

    def on_ack(self, request: Request, flow: Flow, now: float) -> None:
        """TransactionUser."""
        if request.hops == 0:
            return
        _, token, _, _ = take_own_routes(self.core, request, flow)
        indialog.on_ack(self.core, request, token, now)

    def on_cancel(self, txn: ServerTransaction, invite: ServerTransaction | None, now: float) -> None:
        """TransactionUser. RFC 3261 §16.10."""
        core = self.core
        if invite is None:
            # We differ: §16.10 would forward it statelessly; without its INVITE there is nowhere we would send it.
            if core.guard.tolerates(txn.flow, now):
                core.answer(txn, 481, "Call/Transaction Does Not Exist", now)
            else:
                core.stack.forget(txn, now)
            return
        request = txn.request
        reasons = (
            tuple(f"Reason: {value}" for value in request.values("reason")) if request is not None else ()
        )
        core.answer(txn, 200, "OK", now)
        user = invite.user
        if not invite.pending:
            return
        if isinstance(user, fresh.Waiting):
            user.cancelled = True
            core.answer(invite, 487, "Request Terminated", now)
        elif isinstance(user, Call) and user.state is CallState.ADMITTING:
            admission.cancelled(core, user, now)
        else:
            context = user.context if isinstance(user, Call) else user
            if isinstance(context, Context):
                if isinstance(user, Call):
                    user.cancelled = True
                context.cancelled = True
                context.cancel_reason = reasons
                cancel_all(core, context, now)

    def on_response(self, txn: ClientTransaction, response: Response, now: float) -> None:
        """TransactionUser."""
        user = txn.user
        if isinstance(user, Branch):
            respond.on_response(self.core, user, response, now)
        elif isinstance(user, Bye):
            teardown.on_bye_response(self.core, user, response, now)
        elif isinstance(user, Attempt):
            self.registrations.on_response(user, response, txn.flow, now)
        elif isinstance(user, Ping):
            self._alive.pinged(user, response.status, now)
        elif isinstance(user, Probe):
            self.core.health.answered(user, response, now)

    def on_stray_response(self, response: Response, flow: Flow, now: float) -> None:
        """TransactionUser. RFC 6026 §8.9: never forwarded; the stack has counted it."""
        if self.core.natted.answered(response):
            self.stack_counters.strays -= 1

    def on_timeout(self, txn: ClientTransaction, now: float) -> None:
        """TransactionUser. RFC 3261 §16.7: as if a 408 had come."""
        self._client_failed(txn, 408, now)

    def on_transport_error(self, txn: ClientTransaction, now: float) -> None:
        """TransactionUser. RFC 3261 §16.9: as if a 503 had come."""
        self._client_failed(txn, 503, now)

    def _client_failed(self, txn: ClientTransaction, status: int, now: float) -> None:
        user = txn.user
        if isinstance(user, Branch):
            respond.branch_failed(self.core, user, status, now)
        elif isinstance(user, Bye):
            teardown.on_bye_failed(self.core, user, now)
        elif isinstance(user, Attempt):
            self.registrations.failed(user, status, now)
        elif isinstance(user, Ping):
            self._alive.pinged(user, 408, now)
        elif isinstance(user, Probe):
            self.core.health.failed(user, now)

    def on_ack_timeout(self, txn: ServerTransaction, now: float) -> None:
        """TransactionUser. The caller never acknowledged our refusal; there is nothing to undo."""

    def on_terminated(self, txn: ServerTransaction | ClientTransaction, now: float) -> None:
        """TransactionUser. A branch that answered kept its context for repeated 2xx; now none can come."""
        user = txn.user
        if isinstance(user, Branch) and user.txn is txn:
            # Else it has gone out again, by another transport.
            user.context = None

    def on_overload(self, request: Request, flow: Flow, now: float) -> None:
        """TransactionUser. No room for another transaction."""
        stateless.overloaded(self.core, request, flow)

    def connections_in_use(self, now: float) -> set[Flow]:
        """Those that a transaction, a registration or a call's dialog goes by. Walks all there are: not for each
        message."""
        core = self.core
        flows = core.stack.flows_in_use() | core.sources.connections(now)
        flows |= self.registrations.connections(now)
        for call in core.calls.values():
            peers = [call.caller, *(dialog.callee for dialog in call.dialogs if not dialog.over)]
            flows.update([peer.flow for peer in peers if peer.flow.reliable])
        return flows

    def _begin(self, owner: None, token: int, now: float) -> None:
        """The first turn of the clock: from here on requests of our own may leave."""
        if not self.core.draining:
            self.registrations.configure(now)

    # Timers ----------------------------------------------------------------------------------------------------------

    def _on_budget(self, drained: Running, token: int, now: float) -> None:
        replan.budget_used_up(self.core, drained, now)

    def _on_replan(self, owner: None, token: int, now: float) -> None:
        replan.rung(self.core, token, now)


def _digest(secret: bytes, snapshot: Snapshot) -> Digest:
    auth = snapshot.config.auth
    return Digest(secret, auth.nonce_life, auth.algorithms)
