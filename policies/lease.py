"""One leg of a call as limits see it: who pays, what holds, and the lease's identity. Shared by engine and limiter."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from policies.account import Direction, Limits


class Outcome(enum.Enum):
    """How an admitted attempt ended (SPEC §3)."""

    SUCCESS = "success"
    """Answered with 2xx, now over."""
    FAIL = "fail"
    """Any other end: final error, timeout, the caller's CANCEL."""
    VOID = "void"
    """Given back as if it never was: another leg of the same call was refused, or the call never left us."""


class Leg:
    """One side of a call, charged to one payer. Mutable in `answered`, `released` (both one-way) and `call`."""

    __slots__ = (
        "account",
        "answered",
        "answered_at",
        "aor",
        "call",
        "direction",
        "lease",
        "limits",
        "nc",
        "nonce",
        "before",
        "released",
        "tentative",
        "unbacked",
    )

    def __init__(
        self,
        *,
        lease: str,
        limits: Limits,
        direction: Direction,
        account: str,
        aor: str,
        nonce: str,
        nc: int,
        call: object,
        tentative: bool = False,
        before: Leg | None = None,
    ) -> None:
        self.lease = lease
        """Lease id, unique for ever: random, made by the engine."""
        self.limits = limits
        self.direction: Direction = direction
        self.account = account
        """user@domain of our account on this side."""
        self.aor = aor
        """Callee's leg only: whose bindings the admission brings back in the same trip; "" otherwise."""
        self.nonce = nonce
        self.nc = nc
        """Caller's digest, checked for replay in the same trip; "" and 0 where there is none."""
        self.call = call
        """The engine's call; opaque to policies."""
        self.tentative = tentative
        """Another leg of its call is asked for next; until that one is taken, too, one that lapses was never taken."""
        self.before = before
        """The tentative leg that this one makes certain."""
        self.answered = False
        self.answered_at = 0.0
        """Engine time: call_duration runs from here, whichever call holds the leg by now."""
        self.released = False
        self.unbacked = False
        """Admitted while the store was away (on_store_failure: admit): to be asserted when it is back."""
