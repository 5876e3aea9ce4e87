"""What a call is at when the store fails: asked, ringing, talking, ending. Each goes on in its own way meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from tests.limits.agent import Behaviour
from tests.limits.budget import cut_times, in_time
from tests.limits.form import LONG
from tests.limits.stage import Call, Stage, answers, rings

OUTAGE_S = 30.0 if LONG else 2.5
LONG_ENOUGH_S = 1.4
"""More than the second that a cut may be late: then it shows whether this talk was counted."""


class Weather:
    """The store's, as the scenes know it: they wait for it to break, and to be mended."""

    def __init__(self, stage: Stage, scenes: int) -> None:
        self._stage = stage
        self._awaited = scenes
        self._ready = asyncio.Event()
        self._broken = asyncio.Event()
        self._mended = asyncio.Event()
        self.broke_at = 0.0

    async def breaks(self) -> None:
        """Returns when the store has failed; it does when every scene waits for that."""
        self._awaited -= 1
        if self._awaited == 0:
            self._ready.set()
        await self._broken.wait()

    async def mended(self) -> None:
        """Returns when the store is back and all is settled."""
        await self._mended.wait()

    async def happens(self, fail: Callable[[], None], mend: Callable[[], None]) -> None:
        await asyncio.wait_for(self._ready.wait(), 20.0)
        fail()
        self.broke_at = self._stage.now()
        self._broken.set()
        await asyncio.sleep(OUTAGE_S)
        mend()
        await self._stage.system.settled()
        self._mended.set()


class Part:
    """One phase, for one customer."""

    def __init__(self, stage: Stage, who: str, weather: Weather, admits: bool) -> None:
        self.stage = stage
        self.who = who
        self.weather = weather
        self.admits = admits
        """`on_store_failure`."""
        self.calls: list[Call] = []

    def call(self, callee: Behaviour = answers) -> Call:
        call = self.stage.call(self.who, callee, at=0)
        self.calls.append(call)
        return call


@dataclass(frozen=True, slots=True)
class Phase:
    play: Callable[[Part], Awaitable[None]]
    limits: Mapping[str, str | int] = field(default_factory=dict)
    budget_ms: int = 2500

    @property
    def name(self) -> str:
        return self.play.__name__.replace("_", " ")


PHASES: list[Phase] = []


def _phase(
    limits: Mapping[str, str | int] | None = None, budget_ms: int = 2500
) -> Callable[[Callable[[Part], Awaitable[None]]], None]:
    return lambda play: PHASES.append(Phase(play, limits or {}, budget_ms))


@_phase()
async def asked(part: Part) -> None:
    await part.weather.breaks()
    call = part.call()
    if part.admits:
        await call.talks()
        await asyncio.sleep(0.4)
        await call.hang_up()
        return
    final = await call.caller.hears_final()
    assert final.status == 503, final
    assert int(final["retry-after"]) > 0


@_phase()
async def ringing_then_answered_and_hung_up(part: Part) -> None:
    call = part.call(rings)
    await call.caller.hears(180)
    await part.weather.breaks()
    call.callee.answer()
    await call.talks()
    await asyncio.sleep(LONG_ENOUGH_S)
    await call.hang_up()


@_phase()
async def ringing_then_declined(part: Part) -> None:
    call = part.call(rings)
    await call.caller.hears(180)
    await part.weather.breaks()
    call.callee.reply(603)
    assert (await call.caller.hears_final()).status == 603


@_phase()
async def ringing_then_cancelled(part: Part) -> None:
    call = part.call(rings)
    await call.caller.hears(180)
    await part.weather.breaks()
    call.caller.cancel()
    assert (await call.caller.hears_final()).status == 487


@_phase()
async def ringing_all_the_while(part: Part) -> None:
    call = part.call(rings)
    await call.caller.hears(180)
    await part.weather.breaks()
    await part.weather.mended()
    call.callee.answer()
    await (await call.talks()).hang_up()


@_phase({"call_duration": "2s"}, budget_ms=3000)
async def talking_until_cut(part: Part) -> None:
    call = await part.call().talks()
    await part.weather.breaks()
    await call.cut()
    assert call.caller.bye is not None
    assert "call_duration" in call.caller.bye["reason"]
    assert in_time(*cut_times(call, 2.0))


@_phase()
async def talking_then_hung_up(part: Part) -> None:
    call = await part.call().talks()
    await part.weather.breaks()
    await asyncio.sleep(LONG_ENOUGH_S)
    await call.hang_up()


@_phase(budget_ms=round(OUTAGE_S * 1000) + 2500)
async def talking_all_the_while(part: Part) -> None:
    call = await part.call().talks()
    await part.weather.breaks()
    await part.weather.mended()
    await call.hang_up()


@_phase()
async def ending(part: Part) -> None:
    call = await part.call().talks()
    await part.weather.breaks()
    await call.hang_up()
