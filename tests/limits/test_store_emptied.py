"""The store is started again and has lost everything: live leases are asserted anew, nothing of them is zeroed."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.net import Net
from tests.limits.budget import cut_times, in_time
from tests.limits.probes import NO_LINES, lines_free
from tests.limits.stage import Stage, play
from tests.limits.system import Bought
from tests.limits.table import Table
from tests.limits.under_callgate import under_callgate

LIMIT_S = 3.0
ASSERTED_S = 0.5
"""After the store is back."""
OWN_CUSTOMERS = {
    "emptied": Bought({"lines": 1}),
    "emptied-talk": Bought({"total_duration": f"{LIMIT_S:g}s per 1h"}),
}


async def _emptied(stage: Stage) -> tuple[str, tuple[float, float], int]:
    store = stage.system.store
    call = await stage.call("emptied", at=0).talks()
    talker = await stage.call("emptied-talk", at=0).talks()
    store.is_gone()
    await asyncio.sleep(0.5)
    store.is_back_empty()
    await stage.system.settled()
    await asyncio.sleep(ASSERTED_S)
    refused = stage.call("emptied", at=1)
    await refused.decided()
    times = cut_times(await talker.cut(), LIMIT_S)
    await call.hang_up()
    await stage.cdr(call.call_id)
    return refused.refusal(), times, await lines_free(stage, "emptied", 1, at=1)


def test_live_leases_are_asserted_in_a_store_that_lost_everything(
    net: Net, table: Table, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with under_callgate(net, tmp_path_factory.mktemp("emptied"), OWN_CUSTOMERS, first_host=3) as system:
        refusal, (first, last), free = play(system, _emptied)
    table.holds(
        "store restarted empty with calls up",
        "its line held, its talk counted from its answer, 1 line free",
        f"{refusal or 'its line free'}, cut {last:+.2f} s after its limit, {free} line free",
        refusal == NO_LINES and in_time(first, last) and free == 1,
    )
