"""No way to end a call leaks a line, a count or talk: each is played, and then the limits are found by calling."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from tests.limits.stage import Stage, play, seen_in
from tests.limits.standing import Counted, Standing, bought, holds, standing
from tests.limits.system import Bought, System
from tests.limits.table import Table
from tests.limits.ways import FRIEND, NOBODY_HOME, WAYS, Scene, Way

BY_NAME = {way.name: way for way in WAYS}


def _customer(way: Way, counted: Counted) -> str:
    return f"{counted}-{way.name.lower().replace(' ', '-')}"


def _bought(way: Way, counted: Counted) -> Bought:
    return bought(counted, way.limits, way.budget_ms)


def _kinds(way: Way) -> tuple[Counted, ...]:
    return ("success", "fail", "talk") if way.budget_ms else ("success", "fail")


CUSTOMERS = {_customer(way, counted): _bought(way, counted) for way in WAYS for counted in _kinds(way)}
CUSTOMERS |= {f"{name}-callee": Bought({"lines": 1}) for name in tuple(CUSTOMERS) if "callees-limit" in name}
CUSTOMERS |= {FRIEND: Bought({"lines": 20}), NOBODY_HOME: Bought()}


async def _played(way: Way, counted: Counted, stage: Stage) -> Standing:
    scene = Scene(stage, _customer(way, counted), at=0)
    await way.play(scene)
    # Through the other instance: what one has given back, both have.
    return await standing(stage, scene.who, counted, scene.calls, at=1)


Key = tuple[str, Counted]
_ALL = {(way.name, counted): partial(_played, way, counted) for way in WAYS for counted in _kinds(way)}
SCENES = {key: scene for key, scene in _ALL.items() if not BY_NAME[key[0]].store_hangs}


async def _silent(stage: Stage) -> dict[Key, Standing | BaseException]:
    """Those that are over for their callers before the store says anything."""
    scenes = {key: scene for key, scene in _ALL.items() if key not in SCENES}
    stage.system.store.hangs()
    playing = [asyncio.ensure_future(scene(stage)) for scene in scenes.values()]
    try:
        await stage.until("they are answered", lambda: _finals(stage) >= len(scenes))
    finally:
        stage.system.store.is_back()
    return dict(zip(scenes, await asyncio.gather(*playing, return_exceptions=True), strict=True))


def _finals(stage: Stage) -> int:
    return sum(leg.final is not None for leg in stage.callers.legs.values())


@pytest.fixture(scope="module")
def silent(system: System) -> dict[Key, Standing | BaseException]:
    return play(system, _silent)


@pytest.mark.parametrize("name", BY_NAME)
def test_nothing_leaks_and_everything_is_counted_once(
    played: dict[Any, Any], silent: dict[Key, Standing | BaseException], table: Table, name: str
) -> None:
    way = BY_NAME[name]
    by_kind: dict[Counted, Standing] = {
        kind: seen_in(silent if way.store_hangs else played, (name, kind)) for kind in _kinds(way)
    }
    assert all(one.success in way.success and one.fail in way.fail for one in by_kind.values()), by_kind
    holds(table, f"ends: {name}", by_kind, way.budget_ms)
