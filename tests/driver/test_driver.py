"""Every effect is performed, in order, before the next event; our own failures are told and survived."""

from __future__ import annotations

import asyncio
import socket
import time
from types import SimpleNamespace
from typing import Any, cast, get_args

import pytest
import structlog

from policies.account import Limits
from policies.lease import Outcome
from policies.registrations import RegisterRequest
from policies.verdicts import Admitted, PlaceHeld, Registered, Unavailable
from proxy.driver import driver as module
from proxy.engine.abuse import BanCause
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
    ReleaseLease,
    ReturnPlace,
    Shun,
    Suspicious,
    Transmit,
    Unshun,
    WriteRecord,
)
from proxy.engine.events import (
    AdmissionDecided,
    BindingsFound,
    BudgetPlanned,
    FlowFailed,
    Hangup,
    MessageIn,
    RegisterDecided,
    TimerFired,
)
from proxy.engine.record import CallRecord
from proxy.ops.counters import RegisterResult
from proxy.sip.flow import Flow
from tests.driver.scripted import FLOW, World, ask, leg
from tests.net.tools import run


def test_every_effect_has_its_performer_and_order_is_kept() -> None:
    async def main() -> None:
        world, one, register = World(), leg(), ask()
        record = CallRecord("c", "t", "a", "b", 0.0)
        limits = cast(Limits, object())
        media = MediaAsk("offer", "token", "from", "", b"v=0", "", cast(Any, None))
        world.driver.relay = cast(Any, SimpleNamespace(ask=world.ask_media, delete=world.delete))
        effects: list[Effect] = [
            Transmit(FLOW, b"1"),
            AskAdmission(one),
            HoldLease(one, 2.0, "{}"),
            DialogOver(cast(Any, "left")),
            ReleaseLease(one, Outcome.SUCCESS),
            AskRegister(register),
            AskPlace("a@b", cast(Any, None), 30.0, "user"),
            ReturnPlace("a@b", cast(Any, None), PlaceHeld(1, 0)),
            AskTurn("provider", 30.0),
            GiveTurn("provider"),
            AskBindings("payer", "a@b", "user"),
            LimitsChanged(limits),
            PlanActivated("alice", ("free",)),
            WriteRecord(record),
            AskMedia(media),
            EndMedia("token", "from"),
            CloseFlow(FLOW, "framing"),
            Shun("192.0.2.66", BanCause.FLOOD, 60.0),
            Unshun("192.0.2.66"),
            Suspicious("scanner", FLOW, "probe"),
            Transmit(FLOW, b"2"),
            CallAnswered(one, "{}"),
        ]
        assert {type(effect) for effect in effects} | {AskName} == set(get_args(Effect))
        world.engine.answers[Hangup] = lambda event: effects
        world.driver.feed(Hangup("c"))
        assert world.done == [
            ("send", FLOW, b"1"),
            ("admit", one),
            ("hold", one, 2.0, "{}"),
            ("dialog_over", "left"),
            ("release", one, Outcome.SUCCESS),
            ("register", register),
            ("hold", "a@b", None, 30.0, "user"),
            ("give_back", "a@b", None, PlaceHeld(1, 0)),
            ("ask", "provider", "here", 30.0),
            ("give", "provider", "here"),
            ("bindings", "payer", "a@b", "user"),
            ("change", limits),
            ("record", record),
            ("ask", "offer", "token", "from", "", b"v=0", ""),
            ("delete", "token", "from"),
            ("close", FLOW),
            ("shun", "192.0.2.66"),
            ("unshun", "192.0.2.66"),
            ("send", FLOW, b"2"),
            ("answered", one, "{}"),
        ]
        assert world.calls.outcomes["rejected", ""] == 1

    with structlog.testing.capture_logs() as lines:
        run(main())
    assert [line["event"] for line in lines if "address" in line] == ["banned", "ban is over", "scanner"]
    assert [(line["event"], line["subscriber"], line["plan"]) for line in lines if "plan" in line] == [
        ("activated by itself", "alice", "free")
    ]


def test_an_event_raised_while_performing_waits_its_turn() -> None:
    async def main() -> None:
        world = World()
        world.engine.answers[MessageIn] = lambda event: [Transmit(FLOW, b"fail"), Transmit(FLOW, b"after")]
        world.engine.answers[FlowFailed] = lambda event: [Transmit(FLOW, b"elsewhere")]
        world.driver.message(b"INVITE", FLOW)
        assert [done[2] for done in world.done] == [b"fail", b"after", b"elsewhere"]
        assert [type(event) for event in world.engine.events] == [MessageIn, FlowFailed]

    run(main())


def test_an_answer_leaves_when_the_store_has_been_written_to() -> None:
    """A limiter writes in the turn after it was told, and uvloop passes that on to the kernel at the turn's end."""

    class Store(World):
        def __init__(self) -> None:
            super().__init__()
            self.end, self.other_end = socket.socketpair()
            self.other_end.setblocking(False)
            self.all_sent = asyncio.get_running_loop().create_future()

        async def connect(self) -> None:
            loop = asyncio.get_running_loop()
            self.link, _ = await loop.create_connection(asyncio.Protocol, sock=self.end)

        def answered(self, *answer: object) -> None:
            asyncio.get_running_loop().call_soon(self.link.write, b"answered ")

        def send(self, flow: Flow, data: bytes) -> None:
            try:
                self.done.append((self.other_end.recv(100), data))
            except BlockingIOError:
                self.done.append((b"", data))
            if data == b"break":
                raise RuntimeError("no")
            if data == b"last":
                self.all_sent.set_result(None)

    async def main() -> None:
        world, one = Store(), leg()
        await world.connect()
        world.engine.answers[MessageIn] = lambda event: [
            Transmit(FLOW, b"before"),
            CallAnswered(one, "{}"),
            Transmit(FLOW, b"200"),
            CallAnswered(one, ""),
            Transmit(FLOW, b"break"),
            Transmit(FLOW, b"last"),
        ]
        with structlog.testing.capture_logs():
            world.driver.message(b"SIP/2.0 200 OK", FLOW)
            assert world.done == [(b"", b"before")]
            await world.all_sent
        told = b"answered answered "
        assert world.done == [(b"", b"before"), (told, b"200"), (b"", b"break"), (b"", b"last")]
        assert world.driver.failures == 1
        world.link.close()
        world.other_end.close()

    run(main())


def test_messages_are_counted_both_ways() -> None:
    async def main() -> None:
        world = World()
        world.engine.answers[MessageIn] = lambda event: [Transmit(FLOW, b"SIP/2.0 100 Trying")]
        world.driver.message(b"INVITE sip:a@b SIP/2.0", FLOW)
        assert world.received.requests()["INVITE"] == 1
        assert world.sent.responses()["1xx"] == 1

    run(main())


def test_what_the_limiter_says_becomes_events_and_counts() -> None:
    class Call:
        record = CallRecord("c", "t", "a", "b", 0.0)

    async def main() -> None:
        world, one, register = World(), leg(Call()), ask()

        def decide(event: AdmissionDecided) -> list[Effect]:
            Call.record.decision, Call.record.mode = "admitted", "gateway"
            return []

        world.engine.answers[AdmissionDecided] = decide
        world.driver.on_admission(one, Admitted("l1"))
        one.unbacked = True
        world.driver.on_admission(one, Unavailable())
        world.driver.on_budget("payer", "gateway", 3.5, 7)
        world.driver.on_registered(cast(RegisterRequest, register), Registered([]))
        world.driver.on_bindings(["b"], "user")
        decided, _, planned, registered, found = world.engine.events
        assert isinstance(decided, AdmissionDecided)
        assert decided.leg is one
        assert isinstance(planned, BudgetPlanned)
        assert (planned.payer, planned.mode, planned.exhausts_in, planned.version) == (
            "payer",
            "gateway",
            3.5,
            7,
        )
        assert isinstance(registered, RegisterDecided)
        assert registered.ask is register
        assert isinstance(found, BindingsFound)
        assert (found.bindings, found.user) == (["b"], "user")
        assert world.calls.admitted["gateway"] == 1
        assert world.calls.admitted_unchecked["gateway"] == 1
        assert world.calls.registrations[RegisterResult.ACCEPTED] == 1

    run(main())


def test_the_timer_rings_for_the_earliest_deadline_and_again_for_the_next() -> None:
    async def main() -> None:
        world = World()
        rung: list[str] = []
        over = asyncio.get_running_loop().create_future()
        start = time.monotonic()

        def ring(owner: object, token: int, now: float) -> None:
            assert now >= start + token / 1000
            rung.append(str(owner))
            if owner == "last":
                over.set_result(None)

        timers = world.engine.timers
        timers.at(start + 0.05, ring, "last", 50)
        world.driver.feed(Hangup(""))
        # Earlier than what is armed: the timer has to be set again.
        timers.at(start + 0.001, ring, "first", 1)
        world.driver.feed(Hangup(""))
        await over
        assert rung == ["first", "last"]
        world.driver.close()

    run(main())


def test_deadlines_close_together_are_served_by_one_ring() -> None:
    async def main() -> None:
        world = World()
        rung: list[int] = []
        over = asyncio.get_running_loop().create_future()

        def ring(owner: object, token: int, now: float) -> None:
            rung.append(token)
            if token == 4:
                over.set_result(None)

        start = time.monotonic()
        for i in range(5):
            world.engine.timers.at(start + i * module.TIMER_SLACK / 10, ring, None, i)
        world.driver.feed(Hangup(""))
        await over
        assert rung == [0, 1, 2, 3, 4]
        assert sum(isinstance(event, TimerFired) for event in world.engine.events) == 1
        world.driver.close()

    run(main())


@pytest.fixture
def logged() -> Any:
    with structlog.testing.capture_logs() as lines:
        yield lines


def test_an_exception_out_of_the_engine_is_told_with_its_message_and_survived(
    logged: list[dict[str, Any]],
) -> None:
    async def main() -> None:
        world = World()

        def broken(event: MessageIn) -> list[Effect]:
            if event.data == b"evil":
                raise RuntimeError("a bug of ours")
            return [Transmit(FLOW, b"fine")]

        world.engine.answers[MessageIn] = broken
        world.driver.message(b"evil", FLOW)
        world.driver.message(b"good", FLOW)
        assert world.done == [("send", FLOW, b"fine")]
        assert world.driver.failures == 1
        (line,) = logged
        assert line["message"] == "evil"
        assert line["log_level"] == "error"
        assert line["exc_info"] is True

    run(main())


def test_what_a_broken_event_had_asked_for_is_still_done(logged: list[dict[str, Any]]) -> None:
    """A lease given back just before a bug of ours must not stay held, renewed for ever."""

    async def main() -> None:
        world, one = World(), leg()

        def broken(event: Hangup) -> list[Effect]:
            world.engine.core.out.append(ReleaseLease(one, Outcome.FAIL))
            raise RuntimeError("a bug of ours")

        world.engine.answers[Hangup] = broken
        world.driver.feed(Hangup(""))
        assert world.done == [("release", one, Outcome.FAIL)]
        assert len(logged) == 1

    run(main())


def test_an_effect_that_fails_does_not_take_the_others_with_it(logged: list[dict[str, Any]]) -> None:
    async def main() -> None:
        world = World()
        world.engine.answers[Hangup] = lambda event: [
            Transmit(FLOW, b"1"),
            Transmit(FLOW, b"break"),
            Transmit(FLOW, b"3"),
        ]
        world.driver.feed(Hangup(""))
        assert [done[2] for done in world.done] == [b"1", b"break", b"3"]
        assert world.driver.failures == 1
        assert logged[0]["cause"] == "Transmit"

    run(main())


def test_a_bug_on_every_message_does_not_fill_the_disk(logged: list[dict[str, Any]]) -> None:
    async def main() -> None:
        world = World()

        def broken(event: MessageIn) -> list[Effect]:
            raise RuntimeError("a bug of ours")

        world.engine.answers[MessageIn] = broken
        for _ in range(3 * module.REPORTS_MAX):
            world.driver.message(b"x" * 10_000, FLOW)
        assert world.driver.failures == 3 * module.REPORTS_MAX
        assert len(logged) == module.REPORTS_MAX
        assert len(logged[0]["message"]) == module.REPORT_BYTES

    run(main())
