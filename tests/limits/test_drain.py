"""One budget, drained by calls on two instances: n calls drain it n times as fast, and all are cut at one moment."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from tests.limits.budget import cut_all, in_time, refused_everywhere
from tests.limits.stage import Stage, seen_in
from tests.limits.system import Bought
from tests.limits.table import Table

BUDGETS_S = {1: 2.0, 3: 6.0, 20: 40.0}
"""By the number of calls."""
APART_S = {1: 0.0, 3: 0.5, 20: 0.05}
"""One call begins so long after the other."""
INSTANCES = {1: [0], 3: [0, 1, 1], 20: [0, 1] * 10}
"""Of three the first learns only from the others that it drains three times as fast."""
CUSTOMERS = {f"drains-by-{n}": Bought({"total_duration": f"{s:g}s per 1h"}) for n, s in BUDGETS_S.items()}


async def _drained(n: int, stage: Stage) -> tuple[float, float, bool]:
    who = f"drains-by-{n}"
    calls = []
    begun = stage.now()
    for i in range(n):
        await asyncio.sleep(begun + i * APART_S[n] - stage.now())
        calls.append(await stage.call(who, at=INSTANCES[n][i]).talks())
    first, last = await cut_all(calls, BUDGETS_S[n])
    return first, last, await refused_everywhere(stage, who)


SCENES = {f"drain by {n}": partial(_drained, n) for n in BUDGETS_S}


@pytest.mark.parametrize("n", BUDGETS_S)
def test_all_are_cut_when_their_budget_is_used_up(played: dict[str, Any], table: Table, n: int) -> None:
    first, last, refused = seen_in(played, f"drain by {n}")
    table.holds(
        f"drain: {BUDGETS_S[n]:g} s by {n} on 2 instances",
        "BYEs within 1.0 s of the exhaustion, then 402",
        f"BYEs from {first:+.2f} to {last:+.2f} s, then {402 if refused else 'let through'}",
        refused and in_time(first, last),
    )
