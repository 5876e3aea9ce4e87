"""No way to end a call leaks a line, a count or talk: each is played, and then the limits are found by calling."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

import pytest

from tests.limits.probes import fails_left, lines_free, successes_left, talk_left
from tests.limits.stage import Stage, play, seen_in
from tests.limits.system import Bought, System
from tests.limits.table import Table
from tests.limits.ways import FRIEND, WAYS, Scene, Way

LINES, SUCCESSES, FAILS = 2, 5, 3
CUT_WITHIN_S = 1.0
ABOUT_S = 0.15
BY_NAME = {way.name: way for way in WAYS}


def _customer(way: Way, counted: str) -> str:
    return f"{counted}-{way.name.lower().replace(' ', '-')}"


def _bought(way: Way, counted: str) -> Bought:
    limits = {"lines": LINES, **way.limits}
    if counted == "success":
        limits["success_calls"] = f"{SUCCESSES} per 1h"
    elif counted == "fail":
        limits["fail_calls"] = f"{FAILS} per 1h"
    else:
        limits["total_duration"] = f"{way.budget_ms}ms per 1h"
    return Bought(limits)


def _kinds(way: Way) -> tuple[str, ...]:
    return ("success", "fail", "talk") if way.budget_ms else ("success", "fail")


CUSTOMERS = {_customer(way, counted): _bought(way, counted) for way in WAYS for counted in _kinds(way)}
CUSTOMERS |= {
    f"{name}-callee": Bought({"lines": 1}) for name in tuple(CUSTOMERS) if "callees-limit" in name
}
CUSTOMERS[FRIEND] = Bought({"lines": 20})


@dataclass(frozen=True, slots=True)
class Seen:
    """For one customer."""

    success: int
    fail: int
    talk_s: float
    """Those three as the records of its calls tell."""
    lines: int
    left: float
    """Of what is counted: answered calls, failed calls, seconds."""


async def _played(way: Way, counted: str, stage: Stage) -> Seen:
    scene = Scene(stage, _customer(way, counted), at=0)
    await way.play(scene)
    return await _probed(scene, counted)


async def _probed(scene: Scene, counted: str) -> Seen:
    """Through the other instance: what one has given back, both have."""
    stage, who = scene.stage, scene.who
    cdrs = [await stage.cdr(call.call_id) for call in scene.calls]
    success, fail = (sum(cdr.outcome == outcome for cdr in cdrs) for outcome in ("success", "fail"))
    talk = sum(cdr.talk_s for cdr in cdrs)
    if counted == "talk":
        return Seen(success, fail, talk, LINES, await talk_left(stage, who, at=1))
    lines = await lines_free(stage, who, LINES, at=1)
    left = successes_left if counted == "success" else fails_left
    return Seen(success, fail, talk, lines, await left(stage, who, at=1))


async def _all(stage: Stage) -> dict[tuple[str, str], Seen | BaseException]:
    scenes = {(way.name, counted): partial(_played, way, counted, stage) for way in WAYS for counted in _kinds(way)}
    silent = {key: scene for key, scene in scenes.items() if BY_NAME[key[0]].store_hangs}
    rest = {key: scene for key, scene in scenes.items() if key not in silent}
    seen: dict[tuple[str, str], Seen | BaseException] = {}
    stage.system.store.hangs()
    asked = [asyncio.ensure_future(scene()) for scene in silent.values()]
    try:
        # Each is over for its caller before the store says anything.
        await stage.until("they are answered", lambda: _finals(stage) >= len(silent))
    finally:
        stage.system.store.is_back()
    for those, playing in ((silent, asked), (rest, [asyncio.ensure_future(scene()) for scene in rest.values()])):
        seen |= zip(those, await asyncio.gather(*playing, return_exceptions=True), strict=True)
    return seen


def _finals(stage: Stage) -> int:
    return sum(leg.final is not None for leg in stage.callers.legs.values())


@pytest.fixture(scope="module")
def played(system: System) -> dict[tuple[str, str], Seen | BaseException]:
    return play(system, _all)


@pytest.mark.parametrize("name", BY_NAME)
def test_nothing_leaks_and_everything_is_counted_once(
    played: dict[tuple[str, str], Seen | BaseException], table: Table, name: str
) -> None:
    way = BY_NAME[name]
    by_kind = {kind: seen_in(played, (name, kind)) for kind in _kinds(way)}
    s, f, t = by_kind["success"], by_kind["fail"], by_kind.get("talk")
    assert all(one.success in way.success and one.fail in way.fail for one in by_kind.values()), by_kind
    # The probe of the lines is answered calls itself.
    successes, fails = SUCCESSES - s.success - LINES, FAILS - f.fail
    expected = f"{LINES} lines, {successes} successes, {fails} fails"
    seen = f"{s.lines if s.lines != LINES else f.lines} lines, {s.left:g} successes, {f.left:g} fails"
    true = (s.lines, f.lines, s.left, f.left) == (LINES, LINES, successes, fails)
    if t is not None:
        left = way.budget_ms / 1000 - t.talk_s
        expected += f", {left:.1f} s left"
        seen += f", {t.left:.1f} s left"
        true = true and left - ABOUT_S <= t.left <= left + CUT_WITHIN_S
    table.holds(f"ends: {name}", expected, seen, true)
