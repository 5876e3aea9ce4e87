"""Calls of many payers on a limiter, and what each payer has had: to be compared with what the store has counted."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import replace

from policies.account import Limits
from policies.lease import Leg, Outcome
from policies.payers import Usage
from policies.store import StoreSilent
from policies.verdicts import Admitted, Unavailable
from tests.policies.limited import DAY, Bench, User, leg
from tests.policies.scripted import limit, limits


class Deaf(User):
    """Of many payers, whose budgets are not the point."""

    def on_budget(self, payer: str, mode: str, exhausts_in: float | None, version: int) -> None: ...


def payer_named(name: str, lines: int = 1000) -> Limits:
    """Counts everything and refuses nothing."""
    counted = limits(
        lines=lines,
        success=limit("success_calls", 1_000_000, DAY),
        fail=limit("fail_calls", 1_000_000, DAY),
        total=limit("total_duration", DAY, DAY, "both"),
    )
    return replace(counted, payer=name)


class Busy:
    """Calls that come and go, until they are told to stop."""

    def __init__(self, bench: Bench, names: list[str], seed: int = 1) -> None:
        self.bench = bench
        self.payers = {name: payer_named(name) for name in names}
        self.answered: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.unavailable: Counter[str] = Counter()
        self.admitted: Counter[str] = Counter()
        self.live: dict[str, list[Leg]] = {name: [] for name in names}
        """Answered calls that are held."""
        self._random = random.Random(seed)
        self._going = True
        self._tasks = [asyncio.create_task(self._calls(name)) for name in names]

    async def _calls(self, name: str) -> None:
        while self._going:
            await self.one(name)
            await asyncio.sleep(0.001)

    async def one(self, name: str) -> None:
        """A call that is answered and ends, or is held, or fails."""
        limiter, one = self.bench.limiter, leg(self.payers[name])
        verdict = await self.bench.admit(one)
        if isinstance(verdict, Unavailable):
            self.unavailable[name] += 1
            return
        assert isinstance(verdict, Admitted), verdict
        self.admitted[name] += 1
        what = self._random.choice(("fails", "ends", "ends", "is held"))
        if what == "fails":
            limiter.release(one, Outcome.FAIL)
            self.failed[name] += 1
            return
        limiter.answered(one)
        self.answered[name] += 1
        self.live[name].append(one)
        if what == "ends" or len(self.live[name]) > 20:
            self.end_one(name)

    def end_one(self, name: str) -> None:
        """The oldest call that is up."""
        self.bench.limiter.release(self.live[name].pop(0), Outcome.SUCCESS)

    async def stop(self) -> None:
        """No new calls."""
        self._going = False
        await asyncio.gather(*self._tasks)

    async def usage(self, name: str) -> Usage | None:
        """None: the store does not answer."""
        try:
            return await self.bench.limiter.payers.usage(self.payers[name])
        except StoreSilent:
            return None

    async def is_counted(self, name: str) -> bool:
        """What the store has counted is what there was, and nothing else is held."""
        usage = await self.usage(name)
        return (
            usage is not None
            and usage.success_calls.used == self.answered[name]
            and usage.fail_calls.used == self.failed[name]
            and sorted(lease.lease for lease in usage.leases) == sorted(one.lease for one in self.live[name])
        )

    async def all_counted(self, names: list[str]) -> None:
        """Waits until that is so."""
        for name in names:
            async with asyncio.timeout(20):
                while not await self.is_counted(name):
                    await asyncio.sleep(0.01)
