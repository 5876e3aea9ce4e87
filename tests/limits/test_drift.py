"""After thousands of random calls on two instances the counters say what the CDRs say: not one more, not one less.

The counters are read as a customer would: limits are moved to a little above what the CDRs add up to, and exactly that
little is left. (A counter survives a change of its option's value.)
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from random import Random

import pytest

from tests.limits.budget import BYE_S
from tests.limits.form import LONG
from tests.limits.probes import fails_left, lines_free, successes_left, talk_left
from tests.limits.randomly import Plan, play_out
from tests.limits.stage import Call, Stage, play
from tests.limits.system import Bought, System
from tests.limits.table import Table

CALLS = 10_000 if LONG else 300
AT_ONCE = 40
"""Some of them more than their customer has lines."""
LINES, LEFT, LEFT_S = 8, 2, 2
MANY: dict[str, str | int] = {
    "lines": LINES,
    "success_calls": "1000000 per 10d",
    "fail_calls": "1000000 per 10d",
    "total_duration": "1000h per 10d",
}
DRIFTERS = [f"drifts-{n}" for n in range(6)]
CUSTOMERS = {name: Bought(MANY) for name in DRIFTERS}
ROUNDING_S = 0.002
"""Of one call's talk: the CDR's clock is the instance's, the counter's is the store's."""


async def _all_calls(stage: Stage, dice: Random, calls: int) -> dict[str, list[Call]]:
    made: dict[str, list[Call]] = {who: [] for who in DRIFTERS}
    turnstile = asyncio.Semaphore(AT_ONCE)

    async def one(who: str, plan: Plan) -> None:
        try:
            made[who].append(await play_out(stage, who, plan))
        finally:
            turnstile.release()

    playing = []
    for _ in range(calls):
        await turnstile.acquire()
        playing.append(asyncio.ensure_future(one(dice.choice(DRIFTERS), Plan(dice))))
    await asyncio.gather(*playing)
    return made


class Sums:
    """What the CDRs of one customer add up to."""

    def __init__(self, stage: Stage, who: str) -> None:
        theirs = [cdr for cdr in stage.cdrs().values() if who in cdr.payers]
        outcomes = Counter(cdr.outcome for cdr in theirs)
        self.calls = len(theirs)
        self.success, self.fail = outcomes["success"], outcomes["fail"]
        self.talk_s = sum(cdr.talk_s for cdr in theirs)


async def _drifted(stage: Stage, dice: Random, calls: int) -> tuple[list[tuple[str, str]], Counter[str]]:
    """Differences between what was seen, what the CDRs say and what the counters say; and how the calls ended."""
    made = await _all_calls(stage, dice, calls)
    wrong: list[tuple[str, str]] = []
    for who, theirs in made.items():
        for call in theirs:
            cdr = await stage.cdr(call.call_id)
            if (cdr.outcome == "success") != (call.caller.answered_at is not None):
                wrong.append((who, f"{call.call_id}: {cdr} but the caller heard {call.caller.heard}"))
        if Sums(stage, who).calls != len(theirs):
            wrong.append((who, f"{len(theirs)} calls, {Sums(stage, who).calls} CDRs"))
    counted = Counter(stage.cdrs()[call.call_id].outcome for theirs in made.values() for call in theirs)
    for who in DRIFTERS:
        free = await lines_free(stage, who, LINES, at=dice.randrange(2))
        if free != LINES:
            wrong.append((who, f"{free} of {LINES} lines"))
    for option, probe in (("success_calls", successes_left), ("fail_calls", fails_left)):
        await _settled(stage)
        sums = {who: Sums(stage, who) for who in DRIFTERS}
        used = {who: s.success if option == "success_calls" else s.fail for who, s in sums.items()}
        await stage.system.change({who: {**MANY, option: f"{used[who] + LEFT} per 10d"} for who in DRIFTERS})
        for who in DRIFTERS:
            left = await probe(stage, who, dice.randrange(2))
            if left != LEFT:
                wrong.append((who, f"{option}: {left} left after {used[who]}, not {LEFT}"))
    return wrong + await _talk_drifted(stage, dice), counted


async def _talk_drifted(stage: Stage, dice: Random) -> list[tuple[str, str]]:
    await _settled(stage)
    sums = {who: Sums(stage, who) for who in DRIFTERS}
    await stage.system.change(
        {
            who: {**MANY, "total_duration": f"{round(s.talk_s * 1000) + LEFT_S * 1000}ms per 10d"}
            for who, s in sums.items()
        }
    )
    left = await asyncio.gather(*(talk_left(stage, who, dice.randrange(2)) for who in DRIFTERS))
    wrong = []
    for (who, s), (least, most) in zip(sums.items(), left, strict=True):
        slack = 0.1 + ROUNDING_S * s.success
        if most < LEFT_S - slack or least > LEFT_S + slack + BYE_S:
            wrong.append((who, f"total_duration: {least:.2f} s left after {s.talk_s:.2f} s, not {LEFT_S}"))
    return wrong


async def _settled(stage: Stage) -> None:
    """Every call that came to its callee or was refused is in the CDRs."""
    for call_id in stage.callers.legs:
        await stage.cdr(call_id)


@pytest.mark.timeout(480)
def test_counters_are_what_the_cdrs_say(system: System, table: Table) -> None:
    seed = int(os.environ.get("LIMITS_SEED", 0)) or Random().randrange(1, 1 << 32)
    wrong, counted = play(system, lambda stage: _drifted(stage, Random(seed), CALLS))
    table.holds(
        f"drift: {CALLS} random calls by {len(DRIFTERS)} customers",
        "every call in one CDR, every counter as they say",
        f"{len(wrong)} differences; {counted['success']} answered, {counted['fail']} failed, "
        f"{CALLS - counted['success'] - counted['fail']} refused (LIMITS_SEED={seed}) {wrong[:5] or ''}".rstrip(),
        not wrong and min(counted["success"], counted["fail"]) > CALLS / 20,
    )
