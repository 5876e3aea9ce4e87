"""A payer's calls and usage as the store has them, for people: shown, and cleared (`callgate payer`, `release`).

On the link that calls use, so that what is shown was true between two calls; but by futures, for here one waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from policies import keys
from policies.account import Direction, Limits
from policies.held import Asker
from policies.scripts import Scripts
from policies.store import Store, reply_of

CALLS_SHOWN_MAX: Final = 1000
RELEASE_BATCH: Final = 250
"""Leases cleared by one script: a ms of the store's time."""

_KINDS: Final[dict[int, tuple[Direction, bool]]] = {
    2: ("out", False),
    3: ("in", False),
    4: ("out", True),
    5: ("in", True),
}
"""usage-7.lua's numbers: direction, and whether it talks."""


@dataclass(frozen=True, slots=True)
class Window:
    """One counter."""

    used: int
    """Milliseconds of talk, or calls."""
    opened_ms: int | None
    """Redis time; None = no window is open."""


@dataclass(frozen=True, slots=True)
class LiveLease:
    """One leg that holds a lease."""

    lease: str
    direction: Direction
    talks: bool
    expires_in_ms: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one payer in one mode, at one moment."""

    now_ms: int
    """Redis time."""
    exhausts_in_ms: int | None
    """Until total_duration is used up by the calls that run; None = not as things stand."""
    total_duration: Window
    fail_calls: Window
    success_calls: Window
    calls: int
    """How many hold a lease, and so a line."""
    leases: tuple[LiveLease, ...]
    """The first CALLS_SHOWN_MAX of them."""


class Payers:
    """One for each limiter."""

    def __init__(self, store: Store, scripts: Scripts, asker: Asker) -> None:
        self._store = store
        self._scripts = scripts
        self._asker = asker

    async def usage(self, limits: Limits) -> Usage:
        """What the payer has used and what it holds. Raises: StoreSilent."""
        reply = await self._ask(limits, keys.evalsha(self._scripts.usage, 4), keys.number(CALLS_SHOWN_MAX))
        now = reply[0]
        total, fail, success = (Window(reply[at + 1], reply[at] or None) for at in (3, 5, 7))
        leases = []
        for key, lease, until in zip(reply[13::3], reply[14::3], reply[15::3], strict=True):
            direction, talks = _KINDS[key]
            leases.append(LiveLease(lease.decode(), direction, talks, until - now))
        exhausts_in = reply[1] if reply[1] >= 0 else None
        return Usage(now, exhausts_in, total, fail, success, sum(reply[9:13]), tuple(leases))

    async def release(self, limits: Limits, lease: str = "") -> list[str]:
        """Clear one lease, or all of the payer's. Who holds one ends its call. Raises: StoreSilent, what was cleared
        by then stays so."""
        released: list[str] = []
        head = keys.evalsha(self._scripts.release, 5)
        while True:
            tail = keys.number(RELEASE_BATCH) + keys.bulk(lease.encode())
            batch = (await self._ask(limits, head, tail))[3:]
            released += [one.decode() for one in batch]
            if lease or len(batch) < RELEASE_BATCH:
                return released

    async def _ask(self, limits: Limits, head: bytes, tail: bytes) -> Any:
        arguments = keys.limit_arguments(limits, self._asker.number) + self._asker.life
        packed = b"".join((head, keys.call_keys(limits.payer, limits.mode), arguments, tail))
        return await reply_of(self._store.call, packed)
