"""The ways a call can end. Each is played for three customers: one whose answered calls are counted, one whose failed
ones, one whose talk; afterwards each customer's limits must stand exactly where the call's record says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from tests.limits.agent import Behaviour
from tests.limits.leg import Leg
from tests.limits.probes import NO_LINES
from tests.limits.register import register
from tests.limits.stage import Call, Stage, answers, keeps_silent, rings, says
from tests.limits.system import CALLEE, NOBODY, NOBODY_THEN_CALLEE


class Scene:
    """One way, for one customer."""

    def __init__(self, stage: Stage, who: str, at: int) -> None:
        self.stage = stage
        self.who = who
        self.at = at
        self.calls: list[Call] = []

    def call(self, callee: Behaviour = answers, *, number: str = CALLEE, acks: bool = True) -> Call:
        call = self.stage.call(self.who, callee, at=self.at, number=number, acks=acks)
        self.calls.append(call)
        return call

    async def talking(self, callee: Behaviour = answers, *, number: str = CALLEE) -> Call:
        return await self.call(callee, number=number).talks()

    async def operator_hangs_up(self, call: Call) -> None:
        await self.stage.system.instances[self.at].hang_up(call.call_id)


@dataclass(frozen=True, slots=True)
class Way:
    """How it ends, and what that may count as."""

    play: Callable[[Scene], Awaitable[None]]
    success: tuple[int, ...]
    fail: tuple[int, ...]
    """Several: it is a race, and the record says who won."""
    limits: Mapping[str, str | int] = field(default_factory=dict)
    """What its customers have bought besides."""
    budget_ms: int = 2500
    """total_duration of the third customer; 0 = there is none, for the way needs another."""
    store_hangs: bool = False
    """The store is silent while it is played."""

    @property
    def name(self) -> str:
        return self.play.__name__.replace("_", " ")


WAYS: list[Way] = []


_Counts = tuple[tuple[int, ...], tuple[int, ...]]
"""Successes, failures."""
_NEITHER: _Counts = ((0,), (0,))
_SUCCESS: _Counts = ((1,), (0,))
_FAIL: _Counts = ((0,), (1,))


def _way(
    counts: _Counts,
    *,
    limits: Mapping[str, str | int] | None = None,
    budget_ms: int = 2500,
    store_hangs: bool = False,
) -> Callable[[Callable[[Scene], Awaitable[None]]], None]:
    return lambda play: WAYS.append(Way(play, *counts, limits or {}, budget_ms, store_hangs))


_ONE_SECOND: dict[str, str | int] = {"call_duration": "1s"}


def _assert_cut(call: Call, why: str) -> None:
    for side in (call.caller, call.callee):
        for bye in side.all("BYE"):
            assert bye["reason"].endswith(f'text="{why} reached"'), bye["reason"]


# Hung up -------------------------------------------------------------------------------------------------------------


@_way(_SUCCESS)
async def the_caller_hangs_up(scene: Scene) -> None:
    await (await scene.talking()).hang_up()


@_way(_SUCCESS)
async def the_callee_hangs_up(scene: Scene) -> None:
    call = await scene.talking()
    call.callee.hang_up()
    await call.callee.answer_to("BYE")


@_way(_SUCCESS)
async def both_hang_up_and_the_BYEs_cross(scene: Scene) -> None:
    call = await scene.talking()
    call.caller.hang_up()
    call.callee.hang_up()
    await asyncio.gather(call.caller.answer_to("BYE"), call.callee.answer_to("BYE"))


@_way(_SUCCESS)
async def hung_up_before_the_ACK(scene: Scene) -> None:
    call = scene.call(acks=False)
    await call.caller.hears_final()
    await call.hang_up()


@_way(_SUCCESS)
async def the_ACK_is_lost_and_the_callee_gives_up(scene: Scene) -> None:
    def answers_and_waits(leg: Leg) -> None:
        leg.answer()
        leg.later(0.6, leg.hang_up)

    call = scene.call(answers_and_waits, acks=False)
    await call.caller.hears("BYE")
    await call.callee.answer_to("BYE")


@_way(_SUCCESS)
async def the_BYE_is_answered_with_481(scene: Scene) -> None:
    call = await scene.talking()
    call.callee.bye_answer = 481
    call.caller.hang_up()
    assert (await call.caller.answer_to("BYE")).status == 481


@_way(_SUCCESS)
async def the_callee_has_died_and_the_caller_hangs_up(scene: Scene) -> None:
    call = await scene.talking()
    call.callee.die()
    call.caller.hang_up()


@_way(_SUCCESS)
async def the_caller_has_died_and_the_callee_hangs_up(scene: Scene) -> None:
    call = await scene.talking()
    call.caller.die()
    call.callee.hang_up()


@_way(_SUCCESS)
async def a_refused_re_INVITE_and_an_INFO_then_hung_up(scene: Scene) -> None:
    call = await scene.talking()
    for method in ("INVITE", "INFO"):
        call.caller.request(method)
    await call.caller.answer_to("INFO")
    await call.caller.until(lambda: call.caller.all(488), "an answer to the re-INVITE")
    await call.hang_up()


@_way(_SUCCESS)
async def a_re_INVITE_is_answered_with_481(scene: Scene) -> None:
    call = await scene.talking()
    call.callee.reinvite_answer = 481
    call.caller.request("INVITE")
    await call.caller.until(lambda: call.caller.all(481), "an answer to the re-INVITE")


@_way(_SUCCESS)
async def answered_by_the_second_target(scene: Scene) -> None:
    await (await scene.talking(number=NOBODY_THEN_CALLEE)).hang_up()


def _answers_twice(leg: Leg) -> None:
    leg.answer()
    leg.reply(200, tag=f"{leg.tag}other")


@_way(_SUCCESS)
async def two_answers_to_a_forked_INVITE_each_hung_up(scene: Scene) -> None:
    call = scene.call(_answers_twice)
    await call.caller.until(lambda: len(call.caller.dialogs) == 2, "two answers")
    call.caller.hang_up()
    await call.callee.until(lambda: len(call.callee.all("BYE")) == 2, "two BYEs")


# Cut -----------------------------------------------------------------------------------------------------------------


@_way(_SUCCESS, limits=_ONE_SECOND, budget_ms=1600)
async def cut_by_call_duration(scene: Scene) -> None:
    _assert_cut(await (await scene.talking()).cut(), "call_duration")


@_way(_SUCCESS, limits=_ONE_SECOND, budget_ms=1600)
async def cut_while_the_ACK_is_missing(scene: Scene) -> None:
    call = scene.call(acks=False)
    await call.caller.hears_final()
    _assert_cut(await call.cut(), "call_duration")


@_way(_SUCCESS, limits=_ONE_SECOND, budget_ms=1600)
async def cut_with_two_answers_to_a_forked_INVITE(scene: Scene) -> None:
    call = scene.call(_answers_twice)
    await call.decided()
    for side in (call.caller, call.callee):
        await side.until(lambda side=side: len(side.all("BYE")) == 2, "two BYEs")
    _assert_cut(call, "call_duration")


@_way(_SUCCESS, limits=_ONE_SECOND, budget_ms=1600)
async def cut_and_hung_up_at_the_same_moment(scene: Scene) -> None:
    call = await scene.talking()
    call.caller.later(1.0 - (scene.stage.now() - call.answered_at), call.caller.hang_up)
    await call.callee.hears("BYE")


@_way(_SUCCESS, limits={"total_duration": "1s per 4s"}, budget_ms=0)
async def cut_by_total_duration(scene: Scene) -> None:
    call = await (await scene.talking()).cut()
    _assert_cut(call, "total_duration")
    # With the window over the other limits can be seen again.
    await asyncio.sleep(call.answered_at + 4.2 - scene.stage.now())


@_way(_SUCCESS)
async def hung_up_by_the_operator(scene: Scene) -> None:
    call = await scene.talking()
    await scene.operator_hangs_up(call)
    await call.cut()


@_way(_FAIL)
async def hung_up_by_the_operator_while_it_rings(scene: Scene) -> None:
    call = scene.call(rings)
    await call.caller.hears(180)
    await scene.operator_hangs_up(call)
    await call.callee.hears("CANCEL")
    await call.caller.hears_final()


# Given up by the caller ----------------------------------------------------------------------------------------------


@_way(((0,), (0, 1)))
async def CANCEL_on_the_heels_of_the_INVITE(scene: Scene) -> None:
    call = scene.call(rings)
    call.caller.cancel()
    assert (await call.caller.hears_final()).status == 487


@_way(_FAIL, store_hangs=True)
async def CANCEL_while_the_limits_are_asked(scene: Scene) -> None:
    call = scene.call(rings)
    await call.caller.hears(100)
    call.caller.cancel()
    assert (await call.caller.hears_final()).status == 487


@_way(_FAIL)
async def CANCEL_while_it_rings(scene: Scene) -> None:
    call = scene.call(rings)
    await call.caller.hears(180)
    call.caller.cancel()
    assert (await call.caller.hears_final()).status == 487
    await call.callee.hears("CANCEL")


@_way(_FAIL)
async def it_rings_and_rings_and_nobody_answers(scene: Scene) -> None:
    def goes_on_ringing(leg: Leg) -> None:
        for n in range(4):
            leg.later(0.15 * n, leg.reply, 183 if n % 2 else 180)

    call = scene.call(goes_on_ringing)
    await call.caller.hears(183)
    await asyncio.sleep(0.5)
    call.caller.cancel('SIP ;cause=480 ;text="no answer"')
    assert (await call.caller.hears_final()).status == 487


@_way(_SUCCESS)
async def CANCEL_and_the_answer_cross(scene: Scene) -> None:
    def answers_when_cancelled(leg: Leg) -> None:
        leg.answers_cancelled = True
        leg.reply(180)

    call = scene.call(answers_when_cancelled)
    await call.caller.hears(180)
    call.caller.cancel()
    await call.talks()
    await call.hang_up()


# Not answered --------------------------------------------------------------------------------------------------------


@_way(_FAIL)
async def busy_486(scene: Scene) -> None:
    assert (await scene.call(says(486)).caller.hears_final()).status == 486


@_way(_FAIL)
async def declined_603(scene: Scene) -> None:
    assert (await scene.call(says(603)).caller.hears_final()).status == 603


@_way(_FAIL)
async def redirected_302(scene: Scene) -> None:
    call = scene.call(says(302, "Contact: <sip:elsewhere@example.net>"))
    assert (await call.caller.hears_final()).status == 302


@_way(_FAIL)
async def the_callee_keeps_silent(scene: Scene) -> None:
    assert (await scene.call(keeps_silent).caller.hears_final()).status == 408


@_way(_FAIL)
async def nobody_listens_there(scene: Scene) -> None:
    assert (await scene.call(number=NOBODY).caller.hears_final()).status == 500


@_way(_NEITHER)
async def challenged_401(scene: Scene) -> None:
    await _challenged(scene, 401, "WWW-Authenticate")


@_way(_NEITHER)
async def challenged_407(scene: Scene) -> None:
    await _challenged(scene, 407, "Proxy-Authenticate")


async def _challenged(scene: Scene, status: int, name: str) -> None:
    call = scene.call(says(status, f'{name}: Digest realm="elsewhere", nonce="n", algorithm=MD5'))
    assert (await call.caller.hears_final()).status == status


# Refused -------------------------------------------------------------------------------------------------------------


@_way(((2,), (0,)))
async def one_more_than_there_are_lines(scene: Scene) -> None:
    held = [await scene.talking(), await scene.talking()]
    refused = scene.call()
    assert not await refused.decided()
    assert refused.refusal() == NO_LINES
    await asyncio.gather(*(call.hang_up() for call in held))


FRIEND = "a-friend"
NOBODY_HOME = "never-registers"


@_way(_NEITHER)
async def the_callee_is_not_registered(scene: Scene) -> None:
    """Two legs: the caller's is taken, then there is nobody to call."""
    call = scene.call(number=NOBODY_HOME)
    assert (await call.caller.hears_final()).status == 480


@_way(_NEITHER)
async def refused_for_the_callees_limit(scene: Scene) -> None:
    """Two legs with two payers: the caller's is taken, the callee's refused; the caller's is as if it never was."""
    stage, callee = scene.stage, f"{scene.who}-callee"
    system = stage.system
    await register(
        stage.softphones, system.instances[scene.at].address, callee, system.password, system.domain
    )
    talking = await stage.call(FRIEND, answers, at=1 - scene.at, number=callee).talks()
    refused = scene.call(number=callee)
    assert not await refused.decided()
    assert refused.refusal() == NO_LINES
    await talking.hang_up()
    await stage.cdr(talking.call_id)
    again = await stage.call(FRIEND, answers, at=1 - scene.at, number=callee).talks()
    await again.hang_up()
