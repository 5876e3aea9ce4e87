"""Calls through a system under test, and how a case is played: callers and callees in this process, all at once."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from tests.limits.agent import Agent, Behaviour
from tests.limits.leg import PATIENCE_S, Leg
from tests.limits.sip import unique
from tests.limits.system import CALLEE, Cdr, System

T = TypeVar("T")
K = TypeVar("K")
POLL_S = 0.02


def answers(leg: Leg) -> None:
    leg.answer()


def rings(leg: Leg) -> None:
    leg.reply(180)


def keeps_silent(leg: Leg) -> None:
    """Not even a provisional response."""


def says(status: int, *extra: str) -> Behaviour:
    return lambda leg: leg.reply(status, *extra)


class Call:
    """Made by `Stage.call`."""

    def __init__(self, caller: Leg) -> None:
        self.caller = caller
        self._callee: Leg | None = None

    @property
    def call_id(self) -> str:
        return self.caller.call_id

    @property
    def through(self) -> bool:
        """The callee was asked."""
        return self._callee is not None

    @property
    def callee(self) -> Leg:
        assert self._callee is not None, f"{self.call_id} has not come to its callee"
        return self._callee

    @property
    def answered_at(self) -> float:
        """As the caller saw it: not before the system did."""
        assert self.caller.answered_at is not None
        return self.caller.answered_at

    @property
    def answer_left_at(self) -> float:
        """As the callee saw it: not after the system did."""
        assert self.callee.answered_at is not None
        return self.callee.answered_at

    def comes(self, leg: Leg) -> None:
        """The callee has its INVITE."""
        self._callee = leg
        self.caller.told()

    async def decided(self) -> bool:
        """Whether it was let through; else it was refused."""
        await self.caller.until(lambda: self.through or self.caller.final is not None, "a decision")
        return self.through

    async def talks(self) -> Call:
        """Both sides know that it is answered."""
        final = await self.caller.hears_final()
        assert final.status == 200, f"{self.call_id}: {final.start} {final['warning']}"
        await self.callee.hears("ACK")
        return self

    async def hang_up(self) -> None:
        """By the caller; returns when the callee has said 200."""
        self.caller.hang_up()
        await self.caller.answer_to("BYE")

    async def cut(self, timeout: float = PATIENCE_S) -> Call:
        """Both sides have got a BYE."""
        await asyncio.gather(self.caller.hears("BYE", timeout), self.callee.hears("BYE", timeout))
        return self

    def refusal(self) -> str:
        """Status and phrase of the answer that was no 2xx."""
        final = self.caller.final
        return "" if final is None or final.status < 300 else final.start.removeprefix("SIP/2.0 ")


class Stage:
    """One system, with an agent at each place. Made by `play`."""

    def __init__(self, system: System, callers: Agent, callees: Agent, softphones: Agent) -> None:
        self.system = system
        self.callers = callers
        self.callees = callees
        self.softphones = softphones
        self._cdrs: dict[str, Cdr] = {}
        self.twice: set[str] = set()
        """Calls that have more than one record."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def call(
        self,
        who: str,
        callee: Behaviour = answers,
        *,
        at: int = 0,
        number: str = CALLEE,
        acks: bool = True,
    ) -> Call:
        """`who` calls through instance `at`. An account is called by its name, else the callees' agent answers."""
        call_id = unique("c")
        agent = self.callees if number.isdigit() else self.softphones

        def comes(leg: Leg) -> None:
            call.comes(leg)
            callee(leg)

        agent.behaviours[call_id] = comes
        address = self.system.instances[at].address
        leg = self.callers.call(address, who, number, self.system.domain, call_id=call_id, acks=acks)
        call = Call(leg)
        return call

    async def cdr(self, call_id: str) -> Cdr:
        """The system's own word on a call, as soon as it has written it."""
        deadline = self.now() + PATIENCE_S
        while call_id not in self._cdrs:
            assert self.now() < deadline, f"no CDR of {call_id} within {PATIENCE_S:g} s"
            self.cdrs()
            await asyncio.sleep(POLL_S)
        return self._cdrs[call_id]

    def cdrs(self) -> Mapping[str, Cdr]:
        """Of all calls so far, by Call-ID."""
        for cdr in self.system.cdrs():
            if self._cdrs.setdefault(cdr.call_id, cdr) is not cdr:
                self.twice.add(cdr.call_id)
        return self._cdrs

    async def until(self, what: str, true: Callable[[], object], timeout: float = PATIENCE_S) -> float:
        """Returns when it became true."""
        deadline = self.now() + timeout
        while not true():
            assert self.now() < deadline, f"{what}: not within {timeout:g} s"
            await asyncio.sleep(POLL_S)
        return self.now()


Scene = Callable[[Stage], Awaitable[T]]


async def _on_stage(system: System, scene: Scene[T]) -> T:
    agents = [Agent(address) for address in (system.callers, system.callees, system.softphones)]
    try:
        stage = Stage(system, *agents)
        seen = await scene(stage)
        stage.cdrs()
        assert not stage.twice, f"calls with two records: {stage.twice}"
        return seen
    finally:
        for agent in agents:
            agent.close()


def play(system: System, scene: Scene[T]) -> T:
    """Play one scene and return what it saw."""
    # What ten thousand calls have left takes seconds to collect, and a phone must not be deaf so long.
    gc.collect()
    gc.disable()
    try:
        return asyncio.run(_on_stage(system, scene))
    finally:
        gc.enable()


def play_all(system: System, scenes: Mapping[K, Scene[T]]) -> dict[K, T | BaseException]:
    """Play scenes all at once. One that fails does not end the others: its exception is what it saw."""

    async def all_at_once(stage: Stage) -> list[T | BaseException]:
        playing = [asyncio.ensure_future(scene(stage)) for scene in scenes.values()]
        return list(await asyncio.gather(*playing, return_exceptions=True))

    return dict(zip(scenes, play(system, all_at_once), strict=True))


def seen_in(played: Mapping[K, T | BaseException], name: K) -> T:
    """What a scene of `play_all` saw; raises what it raised."""
    seen = played[name]
    if isinstance(seen, BaseException):
        raise seen
    return seen
