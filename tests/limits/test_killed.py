"""An instance dies with calls up, or is told to go: what they held is free in time, what they talked is counted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.e2e.net import Net
from tests.limits.budget import BYE_S, EARLY_S
from tests.limits.probes import NO_LINES, fails_left, lines_free, talk_left
from tests.limits.stage import Call, Stage, play, rings
from tests.limits.system import Bought, System
from tests.limits.table import Table
from tests.limits.under_callgate import under_callgate

LEASE_S = 3.0
LINES, LINES_LONG = 30, 200
BUDGET_S = 9.0
FAILS, RINGING = 5, 2
RENEWED_S = 0.5 * LEASE_S
"""A lease is renewed by then at the latest; it had so much less to live when its instance died."""
OWN_CUSTOMERS = {
    "killed-lines": Bought({"lines": LINES}),
    "killed-lines-long": Bought({"lines": LINES_LONG}),
    "killed-ringing": Bought({"fail_calls": f"{FAILS} per 1h"}),
    "killed-talk": Bought({"total_duration": f"{BUDGET_S:g}s per 1h"}),
    "drained": Bought({"lines": 2, "success_calls": "4 per 1h"}),
}


@pytest.fixture(scope="module")
def mortals(net: Net, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system of which an instance may die."""
    folder = tmp_path_factory.mktemp("killed")
    with under_callgate(net, folder, OWN_CUSTOMERS, first_host=3, lease_s=LEASE_S) as system:
        yield system
        assert system.alarms() == []


async def _up(stage: Stage, who: str, calls: int) -> list[Call]:
    made = [stage.call(who, at=0) for _ in range(calls)]
    await asyncio.gather(*(call.talks() for call in made))
    return made


async def _freed(stage: Stage, who: str, since: float) -> float:
    """When a call got through the other instance; until then each is refused for want of a line."""
    while True:
        call = stage.call(who, at=1)
        if await call.decided():
            freed = stage.now() - since
            await (await call.talks()).hang_up()
            return freed
        assert call.refusal() == NO_LINES, call.refusal()
        await asyncio.sleep(0.1)


def test_lines_of_a_killed_instance_are_free_within_the_lease(
    mortals: System, table: Table, long: bool
) -> None:
    who, lines = ("killed-lines-long", LINES_LONG) if long else ("killed-lines", LINES)

    async def scene(stage: Stage) -> tuple[float, int, tuple[float, float], int]:
        one = stage.system.instances[0]
        talker = await stage.call("killed-talk", at=0).talks()
        await _up(stage, who, lines)
        for _ in range(RINGING):
            await stage.call("killed-ringing", rings, at=0).caller.hears(180)
        # Leases are renewed: what is up longer than a lease still holds its lines.
        await asyncio.sleep(1.2 * LEASE_S)
        refused = stage.call(who, at=1)
        assert not await refused.decided()
        killed = stage.now()
        one.kill()
        freed = await _freed(stage, who, killed)
        free = await lines_free(stage, who, lines, at=1)
        least, most = await talk_left(stage, "killed-talk", at=1)
        await one.start()
        fails = await fails_left(stage, "killed-ringing", at=1)
        spent = BUDGET_S - (killed - talker.answered_at)
        return freed, free, (spent - most, spent - least), fails

    freed, free, (shortest, longest), fails = play(mortals, scene)
    table.holds(
        f"killed with {lines} calls up, a lease of {LEASE_S:g} s",
        f"{lines} lines free within {LEASE_S:g} s (+ 1 s)",
        f"{free} lines free, the first after {freed:.1f} s",
        free == lines and freed <= LEASE_S + 1.0,
    )
    # Talk goes on to the lease's end: between what was left of it at worst and at best.
    table.holds(
        "killed: its talk is settled up to the lease's end",
        f"{RENEWED_S:g} to {LEASE_S:g} s after the death",
        f"{longest:.1f} s after the death",
        longest >= RENEWED_S - BYE_S and shortest <= LEASE_S + EARLY_S,
    )
    table.holds(
        "killed: calls that rang have failed",
        f"{FAILS - RINGING} of {FAILS} fails left",
        f"{fails} of {FAILS} fails left",
        fails == FAILS - RINGING,
    )


def test_a_drained_instance_ends_its_calls_and_gives_everything_back(mortals: System, table: Table) -> None:
    async def scene(stage: Stage) -> tuple[int, str]:
        one = stage.system.instances[0]
        call = await stage.call("drained", at=0).talks()
        one.drain()
        await stage.until("it takes no calls", lambda: not one.ready())
        refused = stage.call("drained", at=0)
        await refused.decided()
        await call.cut()
        assert (await stage.cdr(call.call_id)).outcome == "success"
        return await lines_free(stage, "drained", 2, at=1), refused.refusal()

    free, refusal = play(mortals, scene)
    table.holds(
        "ends: drained",
        "new calls 503, BYE to both, 2 lines free",
        f"new calls {refusal[:3]}, BYE to both, {free} lines free",
        refusal.startswith("503") and free == 2,
    )
