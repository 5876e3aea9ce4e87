"""Calls that behave as people and networks do, by dice: how each goes is drawn before it begins."""

from __future__ import annotations

import asyncio
from random import Random

from tests.limits.agent import Behaviour
from tests.limits.leg import Leg
from tests.limits.stage import Call, Stage
from tests.limits.system import CALLEE, NOBODY, NOBODY_THEN_CALLEE

FINALS = (302, 401, 404, 407, 480, 486, 500, 603)
OVER_S = 30.0


class Plan:
    """One call's fate."""

    def __init__(self, dice: Random) -> None:
        self.at = dice.randrange(2)
        self.number = dice.choices((CALLEE, NOBODY, NOBODY_THEN_CALLEE), (94, 3, 3))[0]
        self.rings_after = dice.choice((None, 0.0, dice.uniform(0, 0.1)))
        self.final = 200 if dice.random() < 0.7 else dice.choice(FINALS)
        self.final_after = dice.choice((0.0, dice.uniform(0, 0.2)))
        self.forked = dice.random() < 0.04
        self.cancelled_after = dice.uniform(0, 0.2) if dice.random() < 0.15 else None
        self.answers_cancelled = dice.random() < 0.2
        self.acks = dice.random() > 0.03
        self.again = dice.choice(("", "", "", "INVITE", "UPDATE", "INFO"))
        self.talks_s = dice.choice((0.0, dice.uniform(0, 0.2), dice.uniform(0, 1.0)))
        self.hangs_up = dice.choice(("caller", "callee", "both"))
        self.bye_answer = 481 if dice.random() < 0.05 else 200

    def callee(self) -> Behaviour:
        def behaves(leg: Leg) -> None:
            leg.answers_cancelled = self.answers_cancelled
            leg.bye_answer = self.bye_answer
            if self.rings_after is not None:
                leg.later(self.rings_after, self._ring, leg)
            leg.later(self.final_after, self._end, leg)

        return behaves

    def _ring(self, leg: Leg) -> None:
        if not leg.has_answered:
            leg.reply(180)

    def _end(self, leg: Leg) -> None:
        if leg.has_answered:
            return
        extra = {401: "WWW-Authenticate", 407: "Proxy-Authenticate"}.get(self.final)
        leg.reply(self.final, *([f'{extra}: Digest realm="elsewhere", nonce="n"'] if extra else []))
        if self.forked and self.final == 200:
            leg.reply(200, tag=f"{leg.tag}other")


async def play_out(stage: Stage, who: str, plan: Plan) -> Call:
    """The call, when it is over for both sides."""
    call = stage.call(who, plan.callee(), at=plan.at, number=plan.number, acks=plan.acks)
    caller = call.caller
    if plan.cancelled_after is not None:
        caller.later(plan.cancelled_after, _give_up, caller)
    final = await caller.hears_final(OVER_S)
    if final.status != 200:
        return call
    if plan.forked:
        await asyncio.sleep(0.05)
    if plan.again and plan.acks:
        caller.request(plan.again)
    await asyncio.sleep(plan.talks_s)
    hang_up = {"caller": (caller,), "callee": (call.callee,), "both": (caller, call.callee)}[plan.hangs_up]
    for side in hang_up:
        side.hang_up()
    for side in hang_up:
        await side.answer_to("BYE", OVER_S)
    return call


def _give_up(caller: Leg) -> None:
    if caller.final is None:
        caller.cancel()
