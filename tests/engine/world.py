"""A whole service on the pure engine: no network, no store, a clock that jumps.

`World` performs the engine's effects: what is transmitted lands in `sent`, questions to the limiter wait in `asked`
until the test (or `World.auto`) answers them. `Phone` writes and reads the messages of one user agent. Everything is
deterministic: the generator is seeded, time moves only by `World.advance`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from config.load import load
from policies.account import Limits
from policies.catalog import Catalog
from policies.lease import Leg, Outcome
from policies.verdicts import Admitted, AdmitVerdict
from proxy.engine.bindings import Binding, to_record
from proxy.engine.effects import (
    AskAdmission,
    AskName,
    Effect,
    ReleaseLease,
    Transmit,
    WriteRecord,
)
from proxy.engine.engine import Engine
from proxy.engine.events import (
    AdmissionDecided,
    BudgetPlanned,
    Event,
    MessageIn,
    NameFound,
    SnapshotChanged,
    TimerFired,
)
from proxy.engine.finding import Server
from proxy.engine.record import CallRecord
from proxy.engine.snapshot import Snapshot
from proxy.sip.flow import Flow, FlowTable, Local
from proxy.sip.message import Request, Response
from proxy.sip.parse import parse

CALLGATE = """
domains: [example.com]
listen: ["udp://192.0.2.1:5060", "tcp://192.0.2.1:5060"]
store: {url: "redis://127.0.0.1:1/0"}
plans: plans.yaml
subscribers: subscribers.yaml
trunks:
  pbx: {from: ["192.0.2.10/32"], identity: from, targets: ["sip:192.0.2.10"]}
  provider: {targets: ["sip:192.0.2.20:5060", "sip:192.0.2.21:5060"], from: ["192.0.2.20/31"], identity: none}
routes:
  - {match: "^\\\\+?[0-9]+$", to: provider}
"""
PLANS = """
plans:
  office:
    categories:
      softphone: {call_duration: 1h, total_duration: 10h per 1d, success_calls: 100 per 1d, fail_calls: 5 per 1h}
      gateway: {lines: 5, call_duration: 1h, total_duration: 10h per 1d}
"""
SUBSCRIBERS = """
subscribers:
  alice:
    accounts: [{user: alice, password: secret, mode: softphone}]
    activations: [{plan: office, since: 2026-01-01, until: 2027-01-01}]
  bob:
    accounts: [{user: bob, password: secret, mode: gateway}]
    activations: [{plan: office, since: 2026-01-01, until: 2027-01-01}]
  nobody:
    accounts: [{user: nobody, password: secret, mode: softphone}]
"""
WALL = 1_785_000_000.0
"""Unix seconds at engine time 0: in July 2026."""

E = TypeVar("E")


class World:
    """The engine and what it did to the world so far."""

    def __init__(
        self, folder: Path, callgate: str = CALLGATE, plans: str = PLANS, subscribers: str = SUBSCRIBERS
    ) -> None:
        self._folder = folder
        snapshot = self._loaded(callgate=callgate, plans=plans, subscribers=subscribers)
        self.udp = FlowTable(Local("UDP", "192.0.2.1", 5060, 4))
        self.tcp = FlowTable(Local("TCP", "192.0.2.1", 5060, 4))
        self.tls = FlowTable(Local("TLS", "192.0.2.1", 5061, 4))
        self.wss = FlowTable(Local("WSS", "192.0.2.1", 443, 4))
        self.engine = Engine(
            snapshot, [self.udp, self.tcp, self.tls, self.wss], random.Random(1), "test", b"secret"
        )
        self.engine.core.wall_offset = WALL
        self.now = 0.0
        self.sent: list[Transmit] = []
        self.asked: list[Leg] = []
        self.effects: list[Effect] = []
        """All but Transmit and AskAdmission, in order."""
        self.auto: Callable[[Leg], AdmitVerdict] | None = lambda leg: Admitted(leg.lease)
        """Answers the limiter's questions at once; None: they wait in `asked`."""

    def _loaded(self, **files: str) -> Snapshot:
        for name, text in files.items():
            (self._folder / f"{name}.yaml").write_text(text)
        loaded = load(self._folder / "callgate.yaml")
        return Snapshot(loaded.config, Catalog(loaded))

    # Driving ---------------------------------------------------------------------------------------------------------

    def handle(self, event: Event) -> None:
        """One event and all its effects, as the driver would."""
        later: list[Leg] = []
        for effect in list(self.engine.handle(event, self.now)):
            match effect:
                case Transmit():
                    self.sent.append(effect)
                case AskAdmission():
                    later.append(effect.leg)
                case _:
                    self.effects.append(effect)
        for leg in later:
            if self.auto is not None:
                self.decide(leg, self.auto(leg))
            else:
                self.asked.append(leg)

    def decide(self, leg: Leg, verdict: AdmitVerdict) -> None:
        """The limiter's answer."""
        self.handle(AdmissionDecided(leg, verdict))

    def budget(self, limits: Limits, exhausts_in: float | None, version: int) -> None:
        """The limiter's plan for the payer's total_duration."""
        self.handle(BudgetPlanned(limits.payer, limits.mode, exhausts_in, version))

    def found(self, host: str, *addresses: str, ttl: float = 60.0, failed: bool = False) -> None:
        """The resolver's answer for a name that was asked for: its plain addresses, without NAPTR and SRV."""
        question = next(
            effect.question for effect in reversed(self.of(AskName)) if effect.question.host == host
        )
        server = Server(0, 0, question.transport or "UDP", question.port or 5060, addresses)
        self.handle(NameFound(question, [server] if addresses else [], ttl, failed))

    def advance(self, seconds: float) -> None:
        """Time goes by; each deadline on the way rings at its own moment."""
        until = self.now + seconds
        while (due := self.engine.timers.next_deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            self.handle(TimerFired())
        self.now = until

    def reload(self, **files: str) -> None:
        """Some of the files (callgate, plans, subscribers) have changed and are read again."""
        self.handle(SnapshotChanged(self._loaded(**files)))

    def receive(self, data: bytes, flow: Flow) -> None:
        self.handle(MessageIn(data, flow))

    # Looking ---------------------------------------------------------------------------------------------------------

    def of(self, kind: type[E]) -> list[E]:
        """The effects of this kind so far."""
        return [effect for effect in self.effects if isinstance(effect, kind)]

    @property
    def records(self) -> list[CallRecord]:
        return [effect.record for effect in self.of(WriteRecord)]

    @property
    def released(self) -> list[tuple[str, Outcome]]:
        """(account, outcome) of each lease given back."""
        return [(effect.leg.account, effect.outcome) for effect in self.of(ReleaseLease)]

    def take(self, flow: Flow) -> list[Request | Response]:
        """What was sent to this flow since it was last asked, parsed."""
        mine = [item for item in self.sent if item.flow is flow]
        self.sent = [item for item in self.sent if item.flow is not flow]
        found = []
        for item in mine:
            message = parse(item.data)
            assert isinstance(message, Request | Response), (item.data, message)
            found.append(message)
        return found

    def idle(self) -> None:
        """Nothing of any call is left: no call, no timer that matters, no lease unreleased."""
        core = self.engine.core
        assert not core.calls
        assert not core.by_call_id
        assert not core.running
        self.advance(400)
        assert self.engine.stack_counters.started == self.engine.stack_counters.ended
        leases = [effect.leg.lease for effect in self.of(ReleaseLease)]
        assert len(leases) == len(set(leases))


class Phone:
    """One user agent on one flow."""

    def __init__(
        self, world: World, host: str, user: str, port: int = 5060, table: FlowTable | None = None
    ) -> None:
        self.world = world
        self.user = user
        self.flow = (table or world.udp).get(host, port)
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.inbox: list[Request | Response] = []
        self.beyond = ""
        """The Record-Route value of a proxy between callgate and it, if there is one."""
        self._branches = 0

    def branch(self) -> str:
        self._branches += 1
        return f"z9hG4bK-{self.user}-{self._branches}"

    def send(self, start: str, *lines: str, body: str = "") -> None:
        text = "\r\n".join([start, *lines, f"Content-Length: {len(body)}", "", body])
        self.world.receive(text.encode(), self.flow)

    def request(
        self, method: str, uri: str, call_id: str, cseq: int, frm: str, to: str, *extra: str, branch: str = ""
    ) -> None:
        """Any request; `frm` and `to` are whole header values."""
        self.send(
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/{self.flow.transport} {self.address};branch={branch or self.branch()}",
            "Max-Forwards: 70",
            f"From: {frm}",
            f"To: {to}",
            f"Call-ID: {call_id}",
            f"CSeq: {cseq} {method}",
            *extra,
        )

    def invite(self, uri: str, call_id: str = "c1", *extra: str, branch: str = "", cseq: int = 1) -> None:
        self.request(
            "INVITE",
            uri,
            call_id,
            cseq,
            f"<sip:{self.user}@example.com>;tag=f-{call_id}",
            f"<{uri}>",
            f"Contact: <sip:{self.user}@{self.address}>",
            *extra,
            branch=branch or f"z9hG4bK-inv-{call_id}-{cseq}",
        )

    def cancel(self, uri: str, call_id: str = "c1", *extra: str, branch: str = "", cseq: int = 1) -> None:
        """Of the INVITE that `invite` sends for the same arguments."""
        frm = f"<sip:{self.user}@example.com>;tag=f-{call_id}"
        branch = branch or f"z9hG4bK-inv-{call_id}-{cseq}"
        self.request("CANCEL", uri, call_id, cseq, frm, f"<{uri}>", *extra, branch=branch)

    def answer(self, request: Request, status: int, reason: str, tag: str = "t1", *extra: str) -> None:
        """A response to what was received, Vias and Record-Routes copied."""
        to = request.value("to") or ""
        self.send(
            f"SIP/2.0 {status} {reason}",
            *[line for line, key in zip(request.lines, request.keys, strict=True) if key == "via"],
            *([f"Record-Route: {self.beyond}"] if self.beyond else []),
            *[line for line, key in zip(request.lines, request.keys, strict=True) if key == "record-route"],
            f"From: {request.value('from')}",
            f"To: {to}" if ";tag=" in to or status == 100 else f"To: {to};tag={tag}",
            f"Call-ID: {request.call_id}",
            f"CSeq: {request.cseq} {request.method}",
            f"Contact: <sip:{self.user}@{self.address}>",
            *extra,
        )

    def within(self, method: str, response: Response, cseq: int, *extra: str, branch: str = "") -> None:
        """A request of the caller within the dialog that `response` made."""
        routes = list(reversed(response.all_values("record-route")))
        self.request(
            method,
            response.contact_uri() or "",
            response.call_id,
            cseq,
            response.value("from") or "",
            response.value("to") or "",
            *[f"Route: {route}" for route in routes],
            *extra,
            branch=branch,
        )

    def back(self, method: str, invite: Request, tag: str, cseq: int, *extra: str) -> None:
        """A request of the callee within the dialog of the INVITE it got."""
        self.request(
            method,
            invite.contact_uri() or "",
            invite.call_id,
            cseq,
            f"{invite.value('to')};tag={tag}",
            invite.value("from") or "",
            *[f"Route: {route}" for route in invite.all_values("record-route")],
            *extra,
        )

    def got(self) -> list[Request | Response]:
        """What came since last asked."""
        return self.world.take(self.flow)

    def requests(self) -> list[Request]:
        return [message for message in self.got() if isinstance(message, Request)]

    def statuses(self) -> list[int]:
        """Statuses of the responses that came since last asked; anything else is an error of the test."""
        found = []
        for message in self.got():
            assert isinstance(message, Response), message
            found.append(message.status)
        return found


def set_up(world: World, call_id: str = "c1") -> tuple[Phone, Phone, Request, Response]:
    """alice's call to a number by the provider, answered and acknowledged."""
    caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
    invite, ok = answered(caller, callee, call_id)
    caller.within("ACK", ok, 1)
    [ack] = callee.requests()
    assert ack.method == "ACK"
    return caller, callee, invite, ok


def ringing(caller: Phone, callee: Phone, call_id: str = "c1", uri: str = "sip:4930@example.com") -> Request:
    """A call that rings; returns the INVITE as the callee got it."""
    caller.invite(uri, call_id)
    assert caller.statuses() == [100]
    [invite] = callee.requests()
    callee.answer(invite, 180, "Ringing")
    assert caller.statuses() == [180]
    return invite


def answered(
    caller: Phone, callee: Phone, call_id: str = "c1", uri: str = "sip:4930@example.com"
) -> tuple[Request, Response]:
    """A call whose 200 has reached the caller, not yet acknowledged."""
    invite = ringing(caller, callee, call_id, uri)
    callee.answer(invite, 200, "OK")
    [ok] = caller.got()
    assert isinstance(ok, Response)
    assert ok.status == 200
    return invite, ok


def bound(*contacts: tuple[str, str]) -> list[str]:
    """Binding records: (host, q)."""
    return [
        to_record(
            Binding(
                uri=f"sip:bob@10.0.0.{i}:5060",
                contact=f"<sip:bob@10.0.0.{i}:5060>",
                q=int(q),
                expires_at=2_000_000_000,
                updated_at=1_785_000_000 + i,
                transport="UDP",
                host=host,
                port=5060,
                conn=0,
                local_host="192.0.2.1",
                local_port=5060,
                instance="test",
            )
        )
        for i, (host, q) in enumerate(contacts)
    ]
