"""The store hangs or is gone while calls are asked for, ring, talk and end: no limit is wrong afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.e2e.net import Net
from tests.limits.form import LONG
from tests.limits.phases import PHASES, Part, Phase, Weather
from tests.limits.stage import Stage, play, seen_in
from tests.limits.standing import Counted, Standing, bought, holds, standing
from tests.limits.system import System
from tests.limits.table import Table
from tests.limits.under_callgate import under_callgate

KINDS: tuple[Counted, ...] = ("success", "fail", "talk")
BY_NAME = {phase.name: phase for phase in PHASES}
LEASE_S = 4.0
ALL = [(failure, policy) for failure in ("hangs", "is gone") for policy in ("refuse", "admit")]
OUTAGES = ALL if LONG else [("hangs", "refuse"), ("is gone", "admit")]


def _customer(phase: Phase, counted: Counted) -> str:
    return f"{counted}-{phase.name.replace(' ', '-')}"


# Each outage has its own system: these are not among the customers of the one that most cases share.
OWN_CUSTOMERS = {
    _customer(phase, counted): bought(counted, phase.limits, phase.budget_ms)
    for phase in PHASES
    for counted in KINDS
}
Key = tuple[str, Counted]

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module", params=OUTAGES, ids=lambda outage: f"{outage[0]}, {outage[1]}")
def outage(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def seen(
    net: Net, tmp_path_factory: pytest.TempPathFactory, outage: tuple[str, str]
) -> Iterator[dict[Key, Standing | BaseException]]:
    failure, policy = outage
    with under_callgate(
        net,
        tmp_path_factory.mktemp("store-loss"),
        OWN_CUSTOMERS,
        first_host=5,
        lease_s=LEASE_S,
        deadline="300ms",
        on_store_failure=policy,
    ) as system:
        yield play(system, partial(_all, system, failure, policy == "admit"))
        assert system.alarms() == []


async def _all(
    system: System, failure: str, admits: bool, stage: Stage
) -> dict[Key, Standing | BaseException]:
    keys: list[Key] = [(phase.name, counted) for phase in PHASES for counted in KINDS]
    weather = Weather(stage, len(keys))
    playing: list[Any] = [asyncio.ensure_future(_played(stage, key, weather, admits)) for key in keys]
    store = system.store
    try:
        await weather.happens(store.hangs if failure == "hangs" else store.is_gone, store.is_back)
    except BaseException:
        for one in playing:
            one.cancel()
        raise
    return dict(zip(keys, await asyncio.gather(*playing, return_exceptions=True), strict=True))


async def _played(stage: Stage, key: Key, weather: Weather, admits: bool) -> Standing:
    phase, counted = BY_NAME[key[0]], key[1]
    part = Part(stage, _customer(phase, counted), weather, admits)
    await phase.play(part)
    await weather.mended()
    return await standing(stage, part.who, counted, part.calls, at=1)


@pytest.mark.parametrize("phase", BY_NAME)
def test_every_limit_is_where_the_records_say(
    seen: dict[Key, Standing | BaseException],
    table: Table,
    outage: tuple[str, str],
    phase: str,
) -> None:
    found = {counted: seen_in(seen, (phase, counted)) for counted in KINDS}
    holds(table, f"store {outage[0]}, {outage[1]}: {phase}", found, BY_NAME[phase].budget_ms)
