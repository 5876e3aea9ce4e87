"""An instance dies with calls up, or is told to go: what they held is free in time, what they talked is counted, and
their limits still cut them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.net import Net
from tests.limits.budget import BYE_S, EARLY_S, cut_all, cut_times, in_time
from tests.limits.form import LONG
from tests.limits.probes import NO_LINES, fails_left, lines_free, talk_left
from tests.limits.stage import Call, Stage, play, play_all, rings, seen_in
from tests.limits.system import Bought
from tests.limits.table import Table
from tests.limits.under_callgate import under_callgate

DIES, OBSERVES, COMES_BACK, GOES = range(4)
"""Instances."""
LEASE_S = 4.0
LEASES_S = {COMES_BACK: 30.0}
"""Longer than a start takes on a busy machine: who comes back finds its leases."""
LINES = 200 if LONG else 30
BUDGET_S = 7.0
FAILS, RINGING = 5, 2
OUTLIVED_S, TAKEN_UP_S = 9.0, 9.0
RENEWED_S = 0.5 * LEASE_S
"""A lease is renewed by then at the latest; it had so much less to live when its instance died."""
OWN_CUSTOMERS = {
    "killed-lines": Bought({"lines": LINES}),
    "killed-ringing": Bought({"fail_calls": f"{FAILS} per 1h"}),
    "killed-talk": Bought({"total_duration": f"{BUDGET_S:g}s per 1h"}),
    "outlived": Bought({"call_duration": f"{OUTLIVED_S:g}s"}),
    "taken-up": Bought({"lines": LINES, "call_duration": f"{TAKEN_UP_S:g}s"}),
    "shares-taken-up": Bought({"total_duration": f"{3 * TAKEN_UP_S:g}s per 1h"}),
    "drained": Bought({"lines": 2, "success_calls": "4 per 1h"}),
}
AT_THE_ANSWER, CALLS_EACH, ANSWERED_S = 3, 3, 6.0
"""Instances killed there, calls of each, and the call_duration."""
UNTOLD_S = 6.0
Times = tuple[float, float]
pytestmark = pytest.mark.timeout(180)


async def _up(stage: Stage, who: str, calls: int, at: int) -> list[Call]:
    made = [stage.call(who, at=at) for _ in range(calls)]
    await asyncio.gather(*(call.talks() for call in made))
    return made


@dataclass(frozen=True, slots=True)
class Death:
    freed_s: float
    """From the death to the first line that was free."""
    lines: int
    talked_on: Times
    """So long after the death its talk was counted, at least and at most."""
    fails: int
    outlived: Times


async def _dies(stage: Stage) -> Death:
    one = stage.system.instances[DIES]
    talker = await stage.call("killed-talk", at=DIES).talks()
    await _up(stage, "killed-lines", LINES, DIES)
    orphan = await stage.call("outlived", at=DIES).talks()
    for _ in range(RINGING):
        await stage.call("killed-ringing", rings, at=DIES).caller.hears(180)
    await asyncio.sleep(0.25 * LEASE_S)
    refused = stage.call("killed-lines", at=OBSERVES)
    assert not await refused.decided()
    killed = stage.now()
    one.kill()
    freed = await _freed(stage, "killed-lines") - killed
    lines = await lines_free(stage, "killed-lines", LINES, at=OBSERVES)
    least, most = await talk_left(stage, "killed-talk", at=OBSERVES)
    spent = BUDGET_S - (killed - talker.answered_at)
    fails = await fails_left(stage, "killed-ringing", at=OBSERVES)
    outlived = cut_times(await orphan.cut(), OUTLIVED_S)
    return Death(freed, lines, (spent - most, spent - least), fails, outlived)


async def _freed(stage: Stage, who: str) -> float:
    """When a call got through; until then each is refused for want of a line."""
    while True:
        call = stage.call(who, at=OBSERVES)
        if await call.decided():
            freed = stage.now()
            await (await call.talks()).hang_up()
            return freed
        assert call.refusal() == NO_LINES, call.refusal()
        await asyncio.sleep(0.1)


@dataclass(frozen=True, slots=True)
class Return:
    held: bool
    """No line was free when it was back."""
    cut: Times
    shared: Times
    lines: int


async def _comes_back(stage: Stage) -> Return:
    one = stage.system.instances[COMES_BACK]
    calls = await _up(stage, "taken-up", LINES, COMES_BACK)
    sharing = await _up(stage, "shares-taken-up", 3, COMES_BACK)
    one.kill()
    await one.start()
    refused = stage.call("taken-up", at=OBSERVES)
    held = not await refused.decided() and refused.refusal() == NO_LINES
    times = [cut_times(await call.cut(), TAKEN_UP_S) for call in calls]
    for call in calls:
        await stage.cdr(call.call_id)
    shared = await cut_all(sharing, 3 * TAKEN_UP_S)
    lines = await lines_free(stage, "taken-up", LINES, at=OBSERVES)
    return Return(held, (min(first for first, _ in times), max(last for _, last in times)), shared, lines)


async def _goes(stage: Stage) -> tuple[int, str]:
    one = stage.system.instances[GOES]
    call = await stage.call("drained", at=GOES).talks()
    one.drain()
    await stage.until("it takes no calls", lambda: not one.ready())
    refused = stage.call("drained", at=GOES)
    await refused.decided()
    await call.cut()
    assert (await stage.cdr(call.call_id)).outcome == "success"
    return await lines_free(stage, "drained", 2, at=OBSERVES), refused.refusal()


@pytest.fixture(scope="module")
def ends(net: Net, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Of instances, all at once."""
    folder = tmp_path_factory.mktemp("killed")
    with under_callgate(
        net, folder, OWN_CUSTOMERS, instances=4, first_host=3, lease_s=LEASE_S, leases_s=LEASES_S
    ) as system:
        yield play_all(system, {"dies": _dies, "comes back": _comes_back, "goes": _goes})
        assert system.alarms() == []


def test_lines_of_a_killed_instance_are_free_within_the_lease(ends: dict[str, Any], table: Table) -> None:
    death: Death = seen_in(ends, "dies")
    table.holds(
        f"killed with {LINES} calls up, a lease of {LEASE_S:g} s",
        f"{LINES} lines free within {LEASE_S:g} s (+ 1 s)",
        f"{death.lines} lines free, the first after {death.freed_s:.1f} s",
        death.lines == LINES and death.freed_s <= LEASE_S + 1.0,
    )


def test_talk_of_a_killed_instance_is_settled_up_to_its_leases_end(
    ends: dict[str, Any], table: Table
) -> None:
    """Between what was left of the lease at worst and at best."""
    shortest, longest = seen_in(ends, "dies").talked_on
    table.holds(
        "killed: its talk is settled up to the lease's end",
        f"{RENEWED_S:g} to {LEASE_S:g} s after the death",
        f"{longest:.1f} s after the death",
        longest >= RENEWED_S - BYE_S and shortest <= LEASE_S + EARLY_S,
    )


def test_calls_of_a_killed_instance_that_rang_have_failed(ends: dict[str, Any], table: Table) -> None:
    fails = seen_in(ends, "dies").fails
    table.holds(
        "killed: calls that rang have failed",
        f"{FAILS - RINGING} of {FAILS} fails left",
        f"{fails} of {FAILS} fails left",
        fails == FAILS - RINGING,
    )


def test_another_instance_cuts_the_calls_of_a_dead_one(ends: dict[str, Any], table: Table) -> None:
    first, last = seen_in(ends, "dies").outlived
    table.holds(
        f"killed: another instance cuts its call at {OUTLIVED_S:g} s",
        "BYE to both within 1.0 s",
        f"BYE to both after {last:+.2f} s",
        in_time(first, last),
    )


def test_started_again_it_takes_its_calls_up(ends: dict[str, Any], table: Table) -> None:
    back: Return = seen_in(ends, "comes back")
    first, last = back.cut
    table.holds(
        f"killed with {LINES} calls up, started again",
        f"lines held, BYE to both within 1.0 s of {TAKEN_UP_S:g} s, {LINES} lines free",
        f"lines {'held' if back.held else 'free'}, BYE to both from {first:+.2f} to {last:+.2f} s, "
        f"{back.lines} lines free",
        back.held and in_time(first, last) and back.lines == LINES,
    )


def test_started_again_its_calls_drain_their_budget_on(ends: dict[str, Any], table: Table) -> None:
    first, last = seen_in(ends, "comes back").shared
    table.holds(
        f"killed with 3 calls on {3 * TAKEN_UP_S:g} s up, started again",
        "BYE to both within 1.0 s of the exhaustion",
        f"BYE to both from {first:+.2f} to {last:+.2f} s",
        in_time(first, last),
    )


def test_a_drained_instance_ends_its_calls_and_gives_everything_back(
    ends: dict[str, Any], table: Table
) -> None:
    free, refusal = seen_in(ends, "goes")
    table.holds(
        "ends: drained",
        "new calls 503, BYE to both, 2 lines free",
        f"new calls {refusal[:3]}, BYE to both, {free} lines free",
        refusal.startswith("503") and free == 2,
    )


@contextmanager
def _preempts(pid: int) -> Iterator[None]:
    """A process is halted in the midst of its turn whenever it sends us a message, and goes on when we wait."""
    before = os.sched_getaffinity(0)
    os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
    os.sched_setaffinity(pid, {min(before)})
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def test_killed_at_the_answer_it_takes_its_calls_up(
    net: Net, tmp_path_factory: pytest.TempPathFactory, table: Table
) -> None:
    """Whoever heard the answer is cut: it leaves when the store's word for it has left."""
    folder, calls = tmp_path_factory.mktemp("answer"), AT_THE_ANSWER * CALLS_EACH
    bought = {"answered": Bought({"call_duration": f"{ANSWERED_S:g}s"})}
    with under_callgate(net, folder, bought, instances=AT_THE_ANSWER, first_host=7, lease_s=30.0) as system:

        async def killed(stage: Stage) -> int:
            made = []
            for at, one in enumerate(system.instances):
                with _preempts(one.service.running.popen.pid):
                    made += await _up(stage, "answered", CALLS_EACH, at)
                    one.kill()
            await asyncio.gather(*(one.start() for one in system.instances))
            cut = await asyncio.gather(*(call.cut() for call in made), return_exceptions=True)
            return sum(isinstance(one, Call) for one in cut)

        cut = play(system, killed)
    table.holds(
        f"killed at the answer of {calls} calls, started again",
        f"BYE to both sides of {calls}",
        f"BYE to both sides of {cut}",
        cut == calls,
    )


def test_killed_while_the_store_is_gone_it_takes_up_what_was_answered_meanwhile(
    net: Net, tmp_path_factory: pytest.TempPathFactory, table: Table
) -> None:
    """Its spool tells of the answer, and how to end the call."""
    folder = tmp_path_factory.mktemp("untold")
    bought = {"untold": Bought({"call_duration": f"{UNTOLD_S:g}s"})}

    async def killed(stage: Stage) -> Times:
        one, store = stage.system.instances[0], stage.system.store
        call = stage.call("untold", rings)
        await call.caller.hears(180)
        store.is_gone()
        call.callee.answer()
        await call.talks()
        one.kill()
        store.is_back()
        await one.start()
        return cut_times(await call.cut(), UNTOLD_S)

    with under_callgate(
        net, folder, bought, instances=1, first_host=7, lease_s=30.0, deadline="300ms"
    ) as system:
        first, last = play(system, killed)
    table.holds(
        "killed while the store is gone, started again",
        f"BYE to both within 1.0 s of {UNTOLD_S:g} s",
        f"BYE to both from {first:+.2f} to {last:+.2f} s",
        in_time(first, last),
    )
