"""Calls end while the store is gone, and then their instance is killed with -9: started again, it settles them once."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.net import Net
from tests.limits.stage import Call, Stage, play, rings
from tests.limits.standing import Counted, Standing, bought, holds, standing
from tests.limits.table import Table
from tests.limits.under_callgate import under_callgate

BUDGET_MS = 3000
TALK_S = 1.4
KINDS: tuple[Counted, ...] = ("success", "fail", "talk")
OWN_CUSTOMERS = {f"{counted}-spooled": bought(counted, {}, BUDGET_MS) for counted in KINDS}


async def _spooled(stage: Stage) -> dict[Counted, Standing]:
    """Of each customer one call is answered and hung up, and one fails, while the store is gone."""
    one, store = stage.system.instances[0], stage.system.store
    calls: dict[Counted, list[Call]] = {counted: [] for counted in KINDS}
    for counted, theirs in calls.items():
        for _ in range(2):
            call = stage.call(f"{counted}-spooled", rings, at=0)
            await call.caller.hears(180)
            theirs.append(call)
    store.is_gone()
    for answered, declined in calls.values():
        answered.callee.answer()
        declined.callee.reply(603)
    await asyncio.gather(*(answered.talks() for answered, _ in calls.values()))
    await asyncio.sleep(TALK_S)
    await asyncio.gather(*(answered.hang_up() for answered, _ in calls.values()))
    for theirs in calls.values():
        for call in theirs:
            await stage.cdr(call.call_id)
    one.kill()
    store.is_back()
    await one.start()
    await stage.system.settled()
    found = [
        standing(stage, f"{counted}-spooled", counted, theirs, at=1) for counted, theirs in calls.items()
    ]
    return dict(zip(calls, await asyncio.gather(*found), strict=True))


def test_what_happened_without_the_store_is_settled_once_after_a_death(
    net: Net, table: Table, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with under_callgate(
        net, tmp_path_factory.mktemp("spooled"), OWN_CUSTOMERS, first_host=3, deadline="300ms"
    ) as system:
        found = play(system, _spooled)
        assert system.alarms() == []
    holds(table, "store is gone, calls end, killed, started again", found, BUDGET_MS)
