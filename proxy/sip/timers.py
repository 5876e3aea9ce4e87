"""Every deadline of the process, as data: one loop timer serves them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Handler = Callable[[Any, int, float], None]
"""Called as `handler(owner, token, now)`; whether the entry is stale is its own matter."""


class Timers:
    """Deadlines in monotonic seconds. Entries are never removed by hand: a stale one costs one call of its handler."""

    def __init__(self) -> None:
        self.earliest = float("inf")
        """Nothing is due before this. The driver re-arms when it is below what is armed; exact after `expire`."""

    def after(self, delay: float, handler: Handler, owner: object, token: int, now: float) -> None:
        """Due `delay` seconds from `now`. For the few constant delays: O(1), one FIFO lane for each (delay, handler)."""
        raise NotImplementedError

    def at(self, deadline: float, handler: Handler, owner: object, token: int) -> None:
        """Due at an arbitrary moment: O(log n)."""
        raise NotImplementedError

    def expire(self, now: float) -> None:
        """Calls the handler of each entry that is due, in the order of deadlines."""
        raise NotImplementedError

    def next_deadline(self) -> float | None:
        """The earliest deadline, None when there is none."""
        raise NotImplementedError
