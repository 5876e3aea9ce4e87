"""The one place where events meet effects: feeds the engine, performs all it asks for, and owns the one loop timer.

Nothing in here decides. An event is handled whole (every effect performed) before the next; what is raised while
effects are performed (a send that fails at once) waits its turn in a queue. Between two turns of the loop the engine
is thus always at rest.

The one thing that leaves later is the 2xx of a call: when what the store is told of its answer has been written to the
store's connection. Whoever has heard it can then be cut, whatever happens to this process (SPEC §5). Were the process
killed before, nobody would have heard of the answer: a callee whose 2xx meets no ACK ends the call itself (RFC 3261
§13.3.1.4), and its repeated 2xx is not passed on by who knows nothing of it.

An exception out of the engine is ours, never a peer's: it is logged with what caused it, counted, and the next event
goes on. The engine's own state may have lost the one call that broke; the others must not pay for it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Final, cast

import structlog

from policies.account import Limits, Mode
from policies.heritage import Inherited
from policies.lease import Leg
from policies.limiter import Limiter
from policies.registrations import RegisterRequest
from policies.verdicts import AdmitVerdict, PlaceVerdict, RegisterRefused, RegisterVerdict
from proxy.driver.guarding import Guarding
from proxy.driver.names import Names
from proxy.engine.effects import (
    AskAdmission,
    AskBindings,
    AskMedia,
    AskName,
    AskPlace,
    AskRegister,
    AskTurn,
    CallAnswered,
    CloseFlow,
    DialogOver,
    Effect,
    EndMedia,
    GiveTurn,
    HoldLease,
    LimitsChanged,
    MediaAsk,
    PlanActivated,
    RegisterAsk,
    ReleaseLease,
    ReturnPlace,
    Transmit,
    WriteRecord,
)
from proxy.engine.engine import Engine
from proxy.engine.events import (
    AdmissionDecided,
    BindingsFound,
    BudgetPlanned,
    CallInherited,
    Event,
    FloodSeen,
    FlowFailed,
    FramingFailed,
    LeaseLost,
    MediaAnswered,
    MessageIn,
    PlaceDecided,
    RegisterDecided,
    TimerFired,
    TurnDecided,
)
from proxy.engine.record import CallRecord
from proxy.net.network import Network
from proxy.net.resolve import Resolver
from proxy.net.rtpengine import Rtpengine
from proxy.ops.counters import CallCounters, Traffic
from proxy.sip.flow import Flow, Local
from proxy.sip.message import ParseError

TIMER_SLACK: Final = 0.01
"""Seconds the loop timer rings after a deadline, to serve with it what is due until then: 100 rings a second at most,
whatever the load, where exact ones would be a thousand. SIP's shortest timer is 500 ms."""

REPORTS_MAX: Final = 20
"""Failures logged in full in each REPORTS_PERIOD; all are counted. A bug on every message must not fill a disk."""
REPORTS_PERIOD: Final = 60.0
REPORT_BYTES: Final = 4096
"""Of the message that caused a failure."""

_NEVER: Final = float("inf")
_RING: Final = TimerFired()


def _nothing() -> None:
    pass


class Driver:
    """Is the Sink of the network and the LimiterUser of the limiter. Give it both by `attach` before anything comes."""

    def __init__(
        self,
        engine: Engine,
        received: Traffic,
        sent: Traffic,
        calls: CallCounters,
        write_record: Callable[[CallRecord], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.on_reload: Callable[[], None] = _nothing
        """Called when another instance has read its files again; whoever can do that sets it."""
        self.failures = 0
        """Exceptions out of the engine or out of performing an effect, since the start."""
        self.relay: Rtpengine | None = None
        """For those who want their media relayed."""
        self._engine = engine
        self._timers = engine.timers
        self._received = received
        self._sent = sent
        self._calls = calls
        self._write_record = write_record
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._later: deque[Event] = deque()
        self._busy = False
        self._armed = _NEVER
        """The deadline the loop timer is set for."""
        self._ringer: asyncio.TimerHandle | None = None
        self._senders: dict[Local, Callable[[Flow, bytes], None]] = {}
        self._names: Names | None = None
        self._reports: deque[float] = deque(maxlen=REPORTS_MAX)
        self._log = structlog.get_logger("callgate.driver")
        self._performers: dict[type, Callable[[Any], None]] = {
            AskAdmission: self._ask_admission,
            AskBindings: self._ask_bindings,
            AskMedia: self._ask_media,
            AskPlace: self._ask_place,
            AskRegister: self._ask_register,
            AskTurn: self._ask_turn,
            GiveTurn: self._give_turn,
            CallAnswered: self._call_answered,
            CloseFlow: self._close_flow,
            EndMedia: self._end_media,
            HoldLease: self._hold_lease,
            DialogOver: self._dialog_over,
            LimitsChanged: self._limits_changed,
            PlanActivated: self._plan_activated,
            ReleaseLease: self._release_lease,
            ReturnPlace: self._return_place,
            WriteRecord: self._record,
        }

    def attach(self, limiter: Limiter, network: Network, resolver: Resolver) -> None:
        """Tell it who performs. (They need the driver first, so they cannot be arguments.)"""
        self._limiter = limiter
        self._network = network
        self._names = Names(resolver, self.feed, self._report)
        self._performers.update({AskName: self._names.ask, **Guarding(network).performers()})
        self._senders = network.senders

    def feed(self, event: Event) -> None:
        """Handle this event and everything that follows from it at once; or queue it, if called from inside of that."""
        if self._busy:
            self._later.append(event)
            return
        self._busy = True
        later = self._later
        clock = self._clock
        try:
            while True:
                try:
                    effects = self._engine.handle(event, clock())
                except Exception:
                    self._report(event)
                    # What it had asked for before it broke: a lease given back there must not stay held.
                    effects = self._engine.core.out
                if effects:
                    self._perform(effects)
                if not later:
                    break
                event = later.popleft()
        finally:
            self._busy = False
        if self._timers.earliest < self._armed:
            self._arm()

    def close(self) -> None:
        """No more timer, no more names. Events still fed are handled."""
        if self._ringer is not None:
            self._ringer.cancel()
        self._armed = -_NEVER
        if self.relay is not None:
            self.relay.close()
        if self._names is not None:
            self._names.close()

    # Sink of the network ----------------------------------------------------------------------------------------------

    def message(self, data: bytes, flow: Flow) -> None:
        self._received.count(data)
        self.feed(MessageIn(data, flow))

    def flow_failed(self, flow: Flow) -> None:
        self.feed(FlowFailed(flow))

    def in_use(self) -> Collection[Flow]:
        return self._engine.connections_in_use(self._clock())

    def framing_failed(self, flow: Flow, error: ParseError) -> None:
        self.feed(FramingFailed(flow, error))

    def flooded(self, host: str) -> None:
        """Of proxy.net.door.Door: more datagrams from this address or site than anybody should send."""
        self.feed(FloodSeen(host))

    # User of the limiter ----------------------------------------------------------------------------------------------

    def on_admission(self, leg: Leg, verdict: AdmitVerdict) -> None:
        # Before the event, for a call that is over with it lets go of its legs.
        record = getattr(leg.call, "record", None)
        self.feed(AdmissionDecided(leg, verdict))
        if record is not None:
            self._calls.decided(record, leg.unbacked)

    def on_budget(self, payer: str, mode: str, exhausts_in: float | None, version: int) -> None:
        self.feed(BudgetPlanned(payer, mode, exhausts_in, version))

    def on_lease_lost(self, leg: Leg) -> None:
        self.feed(LeaseLost(leg))

    def on_inherited(self, call: Inherited) -> None:
        self.feed(CallInherited(call))

    def limits_of_payer(self, payer: str, mode: Mode) -> Limits | None:
        return self._engine.core.limits_of_payer(payer, mode, self._clock())

    def on_reload_wanted(self) -> None:
        self.on_reload()

    def on_registered(self, ask: RegisterRequest, verdict: RegisterVerdict) -> None:
        self._calls.registered(verdict)
        self.feed(RegisterDecided(cast(RegisterAsk, ask), verdict))

    def on_turn(self, trunk: str, ours: bool | None) -> None:
        self.feed(TurnDecided(trunk, ours))

    def on_place(self, user: object, verdict: PlaceVerdict) -> None:
        if isinstance(verdict, RegisterRefused):
            self._calls.registered(verdict)
        self.feed(PlaceDecided(user, verdict))

    def on_bindings(self, bindings: list[str] | None, user: object) -> None:
        self.feed(BindingsFound(bindings, user))

    # Effects ----------------------------------------------------------------------------------------------------------

    def _perform(self, effects: list[Effect]) -> None:
        senders = self._senders
        sent = self._sent
        performers = self._performers
        remaining = iter(effects)
        put_off: list[Effect] | None = None
        while True:
            try:
                for effect in remaining:
                    if type(effect) is not Transmit:
                        performers[type(effect)](effect)
                        if type(effect) is CallAnswered and put_off is None:
                            put_off = []
                            self._when_written(put_off)
                    elif put_off is None:
                        data = effect.data
                        senders[effect.flow.local](effect.flow, data)
                        sent.count(data)
                    else:
                        put_off.append(effect)
                return
            except Exception:
                self._report(effect)

    def _when_written(self, effects: list[Effect]) -> None:
        """Perform these, which may be added later in this turn, when what the store has been told so far is written."""
        # The link writes at the beginning of the next turn, and the loop itself only at that turn's end.
        self._loop.call_soon(self._loop.call_soon, self._perform, effects)

    def _ask_admission(self, effect: AskAdmission) -> None:
        self._limiter.admit(effect.leg)

    def _call_answered(self, effect: CallAnswered) -> None:
        self._limiter.answered(effect.leg, effect.dialog)

    def _release_lease(self, effect: ReleaseLease) -> None:
        self._limiter.release(effect.leg, effect.outcome)

    def _dialog_over(self, effect: DialogOver) -> None:
        self._limiter.dialog_over(effect.inherited)

    def _hold_lease(self, effect: HoldLease) -> None:
        self._limiter.hold(effect.leg, effect.answered_ago, effect.dialog)

    def _limits_changed(self, effect: LimitsChanged) -> None:
        self._limiter.change(effect.limits)

    def _plan_activated(self, effect: PlanActivated) -> None:
        self._log.info("activated by itself", subscriber=effect.subscriber, plan=", ".join(effect.plans))

    def _ask_register(self, effect: AskRegister) -> None:
        # RegisterAsk leaves the type of its limits open; it is Limits or the engine would not have asked.
        self._limiter.register(cast(RegisterRequest, effect.ask))

    def _ask_place(self, effect: AskPlace) -> None:
        self._limiter.places.hold(effect.account, effect.limits, effect.hold, effect.user)

    def _return_place(self, effect: ReturnPlace) -> None:
        self._limiter.places.give_back(effect.account, effect.limits, effect.place)

    def _ask_turn(self, effect: AskTurn) -> None:
        self._limiter.turns.ask(effect.trunk, self._engine.core.instance, effect.life)

    def _give_turn(self, effect: GiveTurn) -> None:
        self._limiter.turns.give(effect.trunk, self._engine.core.instance)

    def _ask_bindings(self, effect: AskBindings) -> None:
        self._limiter.bindings(effect.payer, effect.aor, effect.user)

    def _record(self, effect: WriteRecord) -> None:
        self._calls.over(effect.record)
        self._write_record(effect.record)

    def _ask_media(self, effect: AskMedia) -> None:
        ask = effect.ask
        then = partial(self._media_answered, ask)
        if self.relay is None:
            # A reload gave a call's end the wish for one, but it comes with a restart only.
            then(None)
        else:
            self.relay.ask(ask.command, ask.token, ask.from_tag, ask.to_tag, ask.sdp, ask.profile, then)

    def _media_answered(self, ask: MediaAsk, sdp: bytes | None) -> None:
        self.feed(MediaAnswered(ask, sdp))

    def _end_media(self, effect: EndMedia) -> None:
        if self.relay is not None:
            self.relay.delete(effect.token, effect.from_tag)

    def _close_flow(self, effect: CloseFlow) -> None:
        self._network.close_flow(effect.flow)

    # The loop timer ---------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        if self._ringer is not None:
            self._ringer.cancel()
        self._armed = self._timers.earliest
        self._ringer = self._loop.call_later(max(0.0, self._armed - self._clock()) + TIMER_SLACK, self._ring)

    def _ring(self) -> None:
        self._armed = _NEVER
        self._ringer = None
        self.feed(_RING)

    # Our own failures -------------------------------------------------------------------------------------------------

    def _report(self, cause: Event | Effect) -> None:
        """Count and log the exception being handled, with the message it came from."""
        self.failures += 1
        now = self._clock()
        if len(self._reports) == REPORTS_MAX and now - self._reports[0] < REPORTS_PERIOD:
            return
        self._reports.append(now)
        data = getattr(cause, "data", b"")[:REPORT_BYTES]
        self._log.error(
            "internal error",
            cause=type(cause).__name__,
            flow=repr(getattr(cause, "flow", None)),
            message=data.decode("latin-1"),
            exc_info=True,
        )
