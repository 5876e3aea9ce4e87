"""The garbage collector's part: nearly none, because nearly nothing here is garbage of its kind.

Calls and transactions are let go of by reference counting; no cycle is left by a call (a test holds that). What the
collector would do all the same is walk every held call, again and again: measured, one full collection with 20,000
calls takes 340 ms and finds nothing, and for more than half of T1 nobody would be answered. The little there is (a
scrape of /metrics may leave ten objects, a reload some more) waits for a quiet moment. Should something leave garbage
with every call after all, its number gives it away, and it is collected in time, at the price of that pause.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

PERIOD = 10.0

QUIET_MAX = 1000
"""Calls and transactions; walking them takes 20 ms at most."""

OBJECTS_EACH = 40
"""Tracked objects that one call or transaction explains, generously: a held call has 23."""

UNEXPLAINED_MAX = 500_000
"""Objects made since the last collection, still there, and not explained: some 100 MB."""


class Collector:
    """Takes the collector over from its making to `close`. `load`: how many calls and transactions there are now."""

    def __init__(self, load: Callable[[], int]) -> None:
        self._load = load
        self._loop = asyncio.get_running_loop()
        gc.collect()
        self.settle()
        gc.disable()
        self._timer = self._loop.call_later(PERIOD, self._tick)

    def settle(self) -> None:
        """What was made by now (modules, plans, subscribers) is here to stay: no collection looks at it again."""
        gc.freeze()

    def close(self) -> None:
        """Python's own ways again."""
        self._timer.cancel()
        gc.unfreeze()
        gc.enable()

    def _tick(self) -> None:
        self._timer = self._loop.call_later(PERIOD, self._tick)
        load = self._load()
        # Python counts, also while it does not collect: what was made less what was freed since the last collection.
        unexplained = gc.get_count()[0] - OBJECTS_EACH * load
        if load <= QUIET_MAX or unexplained > UNEXPLAINED_MAX:
            gc.collect()
