"""Each answer of the store takes 750 ms: new calls are refused at once and not after a wait, running ones are cut on
time, and when it is fast again nothing of the refused is left.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.net import Net
from tests.limits.budget import cut_times, in_time
from tests.limits.probes import lines_free
from tests.limits.stage import Call, Stage, play
from tests.limits.system import Bought
from tests.limits.table import Table
from tests.limits.under_callgate import under_callgate

LATENCY_S = 0.75
CALLS, APART_S = 120, 0.012
RUNNING, LIMIT_S = 10, 2.0
ANSWERED_S = 0.6
"""The store's deadline is 200 ms."""
LINES = 20
OWN_CUSTOMERS = {
    "calls-on": Bought({"lines": LINES}),
    "talks-meanwhile": Bought({"call_duration": f"{LIMIT_S:g}s"}),
}


async def _slow(stage: Stage) -> tuple[list[float], set[str], tuple[float, float], int]:
    """How long each new call waited, for which refusal; when the running ones were cut; the lines then free."""
    running = [await stage.call("talks-meanwhile", at=n % 2).talks() for n in range(RUNNING)]
    stage.system.store.is_slow(LATENCY_S)
    calls: list[tuple[Call, float]] = []
    for n in range(CALLS):
        calls.append((stage.call("calls-on", at=n % 2), stage.now()))
        await asyncio.sleep(APART_S)
    waits, refusals = [], set()
    for call, asked in calls:
        final = await call.caller.hears_final()
        waits.append(final.at - asked)
        refusals.add(call.refusal())
    times = [cut_times(await call.cut(), LIMIT_S) for call in running]
    stage.system.store.is_slow(0.0)
    await stage.system.settled()
    free = await lines_free(stage, "calls-on", LINES, at=1)
    return waits, refusals, (min(first for first, _ in times), max(last for _, last in times)), free


def test_a_slow_store_delays_nobody_and_leaks_nothing(
    net: Net, table: Table, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with under_callgate(
        net, tmp_path_factory.mktemp("slow"), OWN_CUSTOMERS, first_host=3, deadline="200ms", slowable=True
    ) as system:
        waits, refusals, (first, last), free = play(system, _slow)
        assert system.alarms() == []
    table.holds(
        f"store slow ({LATENCY_S:g} s an answer), {CALLS} calls",
        f"503 within {ANSWERED_S:g} s, running ones cut within 1.0 s, {LINES} lines free",
        f"{', '.join(sorted(one[:3] or '200' for one in refusals))} within {max(waits):.2f} s, "
        f"running ones cut within {last:.2f} s, {free} lines free",
        refusals == {"503 Service Unavailable"}
        and max(waits) <= ANSWERED_S
        and in_time(first, last)
        and free == LINES,
    )
