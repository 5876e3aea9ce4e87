"""One phone that registers, through the engine's one door: REGISTER in, effects out, the store's verdict in."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from config.load import assemble
from config.schema import Config
from config.tariffs import Plan, Subscriber
from policies.catalog import build
from policies.verdicts import (
    Registered,
    RegisterVerdict,
)
from proxy.engine.bindings import Binding, read_record
from proxy.engine.digest import answer
from proxy.engine.effects import AskRegister, Effect, RegisterAsk
from proxy.engine.engine import Engine
from proxy.engine.events import Event, MessageIn, RegisterDecided
from proxy.engine.snapshot import Snapshot
from proxy.sip.flow import Flow, FlowTable, Local
from proxy.sip.message import Response
from proxy.sip.outputs import Transmit
from proxy.sip.parse import parse

WALL = 1_800_000_000.25
CONTACT = "<sip:alice@10.0.0.5:5062>"

PLANS = {
    "small": {"categories": {"softphone": {"sip_accounts": 1}}},
    "pbx": {"categories": {"gateway": {"lines": 2}}},
}
SUBSCRIBERS: dict[str, Any] = {
    "alice": {
        "accounts": [
            {"user": "alice", "password": "secret", "mode": "softphone"},
            {"user": "alice", "domain": "example.net", "password": "secret", "mode": "softphone"},
            {"user": "off", "password": "secret", "mode": "softphone", "disabled": True},
            {"user": "+15550100", "password": "secret", "mode": "softphone"},
            {"user": "gate", "password": "secret", "mode": "gateway"},
        ],
        "activations": [{"plan": "small", "since": "2026-01-01"}],
    },
}


def snapshot(**settings: Any) -> Snapshot:
    config = Config.model_validate(
        {
            # Wrong passwords by the dozen are the registrar's matter here, and the guard's in test_guard.py.
            "guard": {"enabled": False},
            "domains": ["example.com", "example.net"],
            "listen": ["udp://192.0.2.1:5060"],
            **settings,
        }
    )
    plans = {name: Plan.model_validate(plan) for name, plan in PLANS.items()}
    subscribers = {name: Subscriber.model_validate(one) for name, one in SUBSCRIBERS.items()}
    return Snapshot(config, build(assemble(config, plans, subscribers)))


class World:
    """An engine, its clock, and one phone's end of the wire."""

    def __init__(self, **settings: Any) -> None:
        self.udp = FlowTable(Local("UDP", "192.0.2.1", 5060, 4))
        self.udp6 = FlowTable(Local("UDP", "[2001:db8::1]", 5060, 6))
        self.tcp = FlowTable(Local("TCP", "192.0.2.1", 5060, 4))
        self.engine = Engine(
            snapshot(**settings), (self.udp, self.udp6, self.tcp), random.Random(3), "here", b"s"
        )
        self.engine.core.wall_offset = WALL
        self.now = 0.0
        self.flow = self.udp.get("203.0.113.9", 40000)
        self.cseq = 0

    def handle(self, event: Event) -> list[Effect]:
        return list(self.engine.handle(event, self.now))

    def send(self, text: str, flow: Flow | None = None) -> list[Effect]:
        return self.handle(MessageIn(text.encode("latin-1"), flow or self.flow))

    def register(
        self,
        *lines: str,
        user: str = "alice",
        aor: str | None = None,
        uri: str = "sip:example.com",
        password: str | None = "secret",
        flow: Flow | None = None,
    ) -> list[Effect]:
        """A REGISTER with these header lines; with a password, the challenge is fetched and answered first."""
        aor = aor or f"sip:{user}@example.com"
        first = self.send(self.text(lines, aor, uri), flow)
        if password is None:
            return first
        challenged = response_in(first)
        if challenged.status != 401:
            return first
        value = answer(challenged.values("www-authenticate")[0], user, password, "REGISTER", uri, "0a4f")
        return self.send(self.text((f"Authorization: {value}", *lines), aor, uri), flow)

    def text(
        self, lines: Sequence[str], aor: str = "sip:alice@example.com", uri: str = "sip:example.com"
    ) -> str:
        self.cseq += 1
        return "\r\n".join([
            f"REGISTER {uri} SIP/2.0",
            f"Via: SIP/2.0/UDP 10.0.0.5:5062;rport;branch=z9hG4bK{self.cseq}",
            "Max-Forwards: 70",
            "From: <sip:whoever@example.com>;tag=1",
            f"To: <{aor}>",
            "Call-ID: call-1",
            f"CSeq: {self.cseq} REGISTER",
            *lines,
            "Content-Length: 0",
            "",
            "",
        ])  # fmt: skip

    def decide(self, ask: RegisterAsk, verdict: RegisterVerdict) -> Response:
        return response_in(self.handle(RegisterDecided(ask, verdict)))

    def registered(self, *lines: str, flow: Flow | None = None, user: str = "alice") -> Response:
        """The whole of it, with a store that grants what it is asked."""
        ask = ask_in(self.register(*lines, flow=flow, user=user))
        return self.decide(ask, Registered([record for _, expires, record in ask.contacts if expires]))

    def source(self, flow: Flow | None = None, claimed: str = "") -> str:
        return self.engine.core.sources.find(flow or self.flow, self.now, claimed)


def response_in(effects: list[Effect]) -> Response:
    sent = [parse(effect.data) for effect in effects if isinstance(effect, Transmit)]
    assert len(sent) == len(effects) == 1, effects
    assert isinstance(sent[0], Response)
    return sent[0]


def ask_in(effects: list[Effect]) -> RegisterAsk:
    assert len(effects) == 1
    effect = effects[0]
    assert isinstance(effect, AskRegister), [
        parse(e.data).__dict__ for e in effects if isinstance(e, Transmit)
    ]
    return effect.ask


def binding_in(ask: RegisterAsk, index: int = 0) -> Binding:
    found = read_record(ask.contacts[index][2])
    assert found is not None
    return found


def status_of(effects: list[Effect]) -> int:
    return 0 if isinstance(effects[0], AskRegister) else response_in(effects).status


def warning_of(response: Response) -> str:
    return response.value("warning") or ""
