"""A driver between an engine that says what the test says, and a limiter and network that write down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from policies.account import Limits, Mode
from policies.lease import Leg
from policies.limiter import Limiter
from proxy.driver import Driver
from proxy.engine.effects import (
    Effect,
    RegisterAsk,
)
from proxy.engine.engine import Engine
from proxy.engine.events import Event, NameFound, TimerFired
from proxy.engine.finding import Question
from proxy.net.network import Network
from proxy.net.resolve import Resolver
from proxy.ops.counters import CallCounters, LoopCounters, Traffic
from proxy.sip.flow import Flow, FlowTable, Local
from proxy.sip.timers import Timers

LOCAL = Local("UDP", "127.0.0.1", 5060, 4)
FLOW = FlowTable(LOCAL).get("127.0.0.9", 5060)


class Core:
    """Where an engine leaves its effects."""

    instance = "here"

    def __init__(self) -> None:
        self.out: list[Effect] = []

    def limits_of_payer(self, payer: str, mode: Mode, now: float) -> Limits | None:
        return None


class Script:
    """An engine that answers events with what the test says, and remembers them."""

    def __init__(self) -> None:
        self.core = Core()
        self.timers = Timers()
        self.events: list[Event] = []
        self.answers: dict[type, Callable[[Any], list[Effect]]] = {}

    def handle(self, event: Event, now: float) -> list[Effect]:
        self.core.out.clear()
        self.events.append(event)
        if isinstance(event, TimerFired):
            self.timers.expire(now)
        return self.answers.get(type(event), lambda event: [])(event)


class World:
    """A driver whose limiter and network write down what they are asked."""

    def __init__(self) -> None:
        self.done: list[tuple[Any, ...]] = []
        self.engine = Script()
        self.received, self.sent = Traffic(), Traffic()
        self.calls, self.loop = CallCounters(), LoopCounters()
        self.driver = Driver(
            cast(Engine, self.engine),
            self.received,
            self.sent,
            self.calls,
            lambda record: self.done.append(("record", record)),
        )
        self.driver.attach(cast(Limiter, self), cast(Network, self), cast(Resolver, self))

    @property
    def turns(self) -> World:
        return self

    @property
    def places(self) -> World:
        return self

    @property
    def senders(self) -> dict[Local, Callable[[Flow, bytes], None]]:
        return {LOCAL: self.send}

    def send(self, flow: Flow, data: bytes) -> None:
        self.done.append(("send", flow, data))
        if data == b"break":
            raise RuntimeError("no")
        if data == b"fail":
            self.driver.flow_failed(flow)

    async def find(self, question: Question) -> NameFound:
        if question.host == "broken":
            raise RuntimeError("no")
        return NameFound(question, [], 1.0)

    def ask_media(self, *asked: object) -> None:
        # The last one is whom to tell.
        self.done.append(("ask", *asked[:-1]))

    def close_flow(self, flow: Flow) -> None:
        self.done.append(("close", flow))

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *arguments: self.done.append((name, *arguments))


def leg(call: object = None) -> Leg:
    return Leg(
        lease="l1", limits=cast(Any, None), direction="out", account="a@b", aor="", nonce="", nc=0, call=call
    )


def ask() -> RegisterAsk:
    return RegisterAsk(
        aor="a@b", account="a@b", limits=cast(Any, None), call_id="c", cseq=1, contacts=[], remove_all=False, nonce="",
        nc=0, user=None,
    )  # fmt: skip
