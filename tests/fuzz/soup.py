"""The pure engine in a world where anything may happen, watched: what tests/fuzz/test_engine.py plays with.

`Soup.handle` gives the engine one event and looks at all its effects; what must never be is asserted there, at once.
What is over for good (each lease given back, nothing left) is asserted by `Soup.settle`.
"""

from __future__ import annotations

import random
import re
from math import inf

from policies.lease import Leg
from policies.verdicts import Admitted, AdmitVerdict, PlaceHeld, Registered, Unavailable
from proxy.engine.call import Call, CallState
from proxy.engine.effects import (
    AskAdmission,
    AskBindings,
    AskMedia,
    AskName,
    AskPlace,
    AskRegister,
    AskTurn,
    CallAnswered,
    EndMedia,
    MediaAsk,
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
    Event,
    FramingFailed,
    Hangup,
    MediaAnswered,
    MessageIn,
    NameFound,
    PlaceDecided,
    RegisterDecided,
    SnapshotChanged,
    TimerFired,
    TurnDecided,
)
from proxy.engine.finding import Question
from proxy.engine.record import CallRecord
from proxy.sip.flow import Flow, FlowTable, Local
from proxy.sip.message import ErrorKind, ParseError, Request, Response
from proxy.sip.parse import parse
from tests.fuzz.service import INSTANCE, WALL, snapshot


class Watched(dict[str, Call]):
    """The engine's calls, and all it ever had."""

    def __init__(self) -> None:
        super().__init__()
        self.ever: dict[str, Call] = {}

    def __setitem__(self, token: str, call: Call) -> None:
        assert token not in self.ever
        self.ever[token] = call
        super().__setitem__(token, call)


class Soup:
    """An engine, its peers' end of all wires, and the limiter's."""

    def __init__(self, on_store_failure: str) -> None:
        self.on_store_failure = on_store_failure
        self.udp = FlowTable(Local("UDP", "192.0.2.1", 5060, 4))
        self.tcp = FlowTable(Local("TCP", "192.0.2.1", 5060, 4))
        tables = [self.udp, self.tcp]
        first = snapshot(0, on_store_failure)
        self.engine = Engine(first, tables, random.Random(1), INSTANCE, b"secret")
        self.core = self.engine.core
        self.core.wall_offset = WALL
        self.core.calls = self.calls = Watched()
        self.now = 0.0
        self._late = False
        """Something may be due, and what comes next comes before."""
        self.sent: list[tuple[Flow, Request | Response]] = []
        """What the engine sent, newest last."""
        self.asked: list[Leg] = []
        """Questions to the limiter that wait for their verdict."""
        self.registers: list[RegisterAsk] = []
        self.lookups: list[object] = []
        self.places: list[AskPlace] = []
        """Of sip_accounts, for REGISTERs that another registrar will answer."""
        self.turns: list[str] = []
        """Trunks whose turn was asked for."""
        self.lent: list[PlaceHeld] = []
        """Places told to be held and not given back."""
        self.names: list[Question] = []
        self.legs: dict[str, Leg] = {}
        """Every leg the limiter was asked for, by lease."""
        self.held: set[str] = set()
        """Leases admitted and not given back."""
        self.answered: dict[str, object] = {}
        """Leases whose answer was told, and of which call last: a transfer brings a lease to another one."""
        self.media: list[MediaAsk] = []
        """Questions to rtpengine."""
        self.media_over: set[str] = set()
        self.gone: set[str] = set()
        """Leases given back."""
        self.records: list[CallRecord] = []
        self.replayed: set[str] = set()
        """Tokens of calls whose verdict was that their credentials had been used: challenged again, no call."""
        self._refused = False
        """What came is no message: the answer repeats what is wrong with it."""
        self._invites: set[str] = set()
        """Branches of the INVITEs sent."""

    # Events in, effects out ------------------------------------------------------------------------------------------

    def receive(self, data: bytes, flow: Flow) -> None:
        self.handle(MessageIn(data, flow))

    def decide(self, leg: Leg, verdict: AdmitVerdict) -> None:
        """The limiter's verdict, which it gives once for each question."""
        self.asked.remove(leg)
        unbacked = isinstance(verdict, Unavailable) and self.on_store_failure == "admit" and not leg.aor
        if isinstance(verdict, Admitted) or unbacked:
            self.held.add(leg.lease)
        if type(verdict).__name__ == "Replayed":
            self.replayed.add(leg.lease[:-1])
        self.handle(AdmissionDecided(leg, verdict))

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while (due := self.engine.timers.next_deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            self.handle(TimerFired())
        self.now = until

    def lag(self, seconds: float) -> None:
        """Time goes by and the loop is late: what comes next is read before any timer rings."""
        self.now += seconds
        self._late = True

    def handle(self, event: Event) -> None:
        self._handle(event)
        if self._late:
            self._late = False
            self.advance(0)

    def _handle(self, event: Event) -> None:
        self._refused = isinstance(event, FramingFailed)
        if isinstance(event, MessageIn):
            self._refused = isinstance(parse(event.data), ParseError)
        for effect in list(self.engine.handle(event, self.now)):
            match effect:
                case Transmit():
                    self._transmitted(effect.flow, effect.data)
                case AskAdmission():
                    leg = effect.leg
                    assert leg.lease not in self.legs, "asked twice"
                    self.legs[leg.lease] = leg
                    self.asked.append(leg)
                case CallAnswered():
                    lease = effect.leg.lease
                    assert lease in self.held, "answered without being admitted, or after its end"
                    assert self.answered.get(lease) is not effect.leg.call, "answered twice"
                    self.answered[lease] = effect.leg.call
                    assert self.now < self._limit_of(effect.leg), "answered after its limit"
                case ReleaseLease():
                    lease = effect.leg.lease
                    assert lease not in self.gone, "released twice"
                    assert lease in self.held, "released and never held"
                    self.held.discard(lease)
                    self.gone.add(lease)
                case WriteRecord():
                    assert all(effect.record is not other for other in self.records), "written twice"
                    self.records.append(effect.record)
                case AskRegister():
                    self.registers.append(effect.ask)
                case AskPlace():
                    self.places.append(effect)
                case ReturnPlace():
                    assert any(effect.place is one for one in self.lent), "given back and not held, or twice"
                    self.lent = [one for one in self.lent if one is not effect.place]
                case AskTurn():
                    self.turns.append(effect.trunk)
                case AskBindings():
                    self.lookups.append(effect.user)
                case AskMedia():
                    self.media.append(effect.ask)
                case EndMedia():
                    assert effect.token not in self.media_over, "its media end twice"
                    self.media_over.add(effect.token)
                case AskName():
                    assert effect.question not in self.names, "asked for while it is being asked for"
                    self.names.append(effect.question)
        self._consistent()

    def _transmitted(self, flow: Flow, data: bytes) -> None:
        message = parse(data)
        below = (
            isinstance(message, ParseError) and message.kind is ErrorKind.VIA and data.startswith(b"SIP/2.0 ")
        )
        if isinstance(message, ParseError) and (self._refused or below):
            # Of a response that is passed on, the Vias below ours are the peer's affair.
            assert re.match(rb"SIP/2.0 \d\d\d [^\r\n]*\r\n([^\r\n]+\r\n)*\r\n", data), data
            return
        assert isinstance(message, Request | Response), (message.kind, message.reason, data)
        self.sent.append((flow, message))
        if isinstance(message, Request) and message.method == "INVITE":
            self._forwarded(message)

    def _forwarded(self, invite: Request) -> None:
        """Nothing is forwarded that nobody admitted."""
        again = invite.via.branch in self._invites
        self._invites.add(invite.via.branch)
        ours = re.match(
            r"Record-Route: <sip:192\.0\.2\.1:5060(?:;transport=tcp)?;lr;c=([0-9a-f]+)>", invite.lines[1]
        )
        call = self.calls.ever.get(ours[1]) if ours else None
        if call is not None and not invite.to_tag:
            lent = call.handover.legs if call.handover is not None else ()
            leases = {leg.lease for leg in (*call.legs, *lent)}
            assert leases or again, "forwarded and nobody was asked"
            # What was sent may be sent again after the end (RFC 3261 §17.1.1.2); nothing new is begun.
            assert leases <= (self.held | self.gone if again else self.held), "forwarded without a lease"
            return
        pair = {invite.from_tag, invite.to_tag}
        assert any(
            call.call_id == invite.call_id
            and call.record.decision == "admitted"
            and any(pair == {call.caller.tag, dialog.callee.tag} for dialog in call.dialogs)
            for call in self.calls.ever.values()
        ), "an INVITE of no call was forwarded"

    def _limit_of(self, leg: Leg) -> float:
        """When a leg that was answered has had its call_duration."""
        most = leg.limits.call_duration
        return leg.answered_at + most.value / 1000 if most is not None else inf

    def _consistent(self) -> None:
        """What holds between any two events."""
        core = self.core
        calls = {id(call) for line in core.by_call_id.values() for call in line}
        assert calls == {id(call) for call in core.calls.values()}
        assert all(call.state is not CallState.ENDED for call in core.calls.values())
        legs = {leg.lease: key for key, running in core.running.items() for leg in running.legs.values()}
        assert all(running.legs for running in core.running.values())
        going = [call for call in core.calls.values() if call.state <= CallState.ANSWERED]
        assert legs == {
            leg.lease: (leg.limits.payer, leg.limits.mode) for call in going for leg in call.legs
        }, "who pays for what is not what runs"
        for call in core.calls.values():
            if call.state is CallState.ANSWERED:
                for leg in call.legs:
                    assert leg.answered
                    assert self._late or self.now < self._limit_of(leg), "not cut"
            assert len(call.dialogs) <= 100
        assert core.finder.waiting_count == sum(map(len, core.finder.waiting.values()))
        assert set(core.finder.waiting) <= set(self.names)

    # The end ---------------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Everybody answers what they were asked, every call is hung up, and time goes by: nothing must be left."""
        self.handle(SnapshotChanged(snapshot(0, self.on_store_failure, last=True)))
        for _ in range(50):
            while self.asked:
                self.decide(self.asked[0], Unavailable())
            while self.registers:
                self.handle(RegisterDecided(self.registers.pop(), Registered([])))
            while self.places:
                self.handle(PlaceDecided(self.places.pop().user, Unavailable()))
            while self.turns:
                self.handle(TurnDecided(self.turns.pop(), False))
            while self.lookups:
                self.handle(BindingsFound([], self.lookups.pop()))
            while self.media:
                self.handle(MediaAnswered(self.media.pop(0), None))
            while self.names:
                self.handle(NameFound(self.names.pop(), [], 60))
            for call_id in tuple(self.core.by_call_id):
                self.handle(Hangup(call_id))
            self.advance(100)
            waits = (
                self.asked,
                self.registers,
                self.places,
                self.turns,
                self.lookups,
                self.names,
                self.media,
            )
            if not any(waits) and not self.core.calls:
                break
        # Cancelled deadlines leave when they are due; the farthest is the end of the longest ban, 16 times 10 minutes.
        self.advance(10_000)
        core, counters = self.core, self.engine.stack_counters
        assert not core.calls
        assert not core.running
        assert not core.finder.waiting
        assert counters.started == counters.ended, "a transaction is left"
        assert self.engine.timers.next_deadline() is None, "a timer is left"
        assert not self.held, "a lease is still held"
        assert self.gone >= self.answered.keys()
        self._recorded()

    def _recorded(self) -> None:
        written = [id(record) for record in self.records]
        for token, call in self.calls.ever.items():
            challenged = token in self.replayed and not call.cancelled
            assert written.count(id(call.record)) == (0 if challenged else 1), call.record.cause
        mine = {id(call.record) for call in self.calls.ever.values()}
        for record in self.records:
            if id(record) not in mine:
                assert (record.decision, record.outcome) == ("refused", "refused")
            assert record.ended_at >= record.started_at
            assert record.status >= 200
            assert record.decision == "admitted" or record.answered_at is None
            assert (record.outcome == "success") == (record.answered_at is not None)
