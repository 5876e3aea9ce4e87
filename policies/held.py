"""What the limiter keeps of a payer and of each lease it holds, and what it sends for them."""

from __future__ import annotations

from policies import keys
from policies.account import Limits
from policies.lease import Leg


class Payer:
    """One payer in one mode, as long as it has calls here (and a while longer)."""

    __slots__ = ("arguments", "held", "keys", "limits", "queued", "renewals", "state_key")

    def __init__(self, limits: Limits, lease_ms: int) -> None:
        self.limits = limits
        """The newest ones an admission came with: running calls are settled by the counters in force now."""
        self.keys = keys.call_keys(limits.payer, limits.mode)
        self.state_key = keys.state_key(limits.payer, limits.mode)
        self.arguments = keys.limit_arguments(limits, lease_ms)
        self.held: dict[str, Held] = {}
        """By lease."""
        self.queued = False
        """Waits for its next renewal."""
        self.renewals = 0
        """Batches of leases that are to be renewed, or are under way."""

    def change(self, limits: Limits, lease_ms: int) -> None:
        """Other limits are in force."""
        self.limits = limits
        self.arguments = keys.limit_arguments(limits, lease_ms)


class Held:
    """A lease of ours: from the question for it until it is given back."""

    __slots__ = ("answered_at", "leg", "packed", "payer")

    def __init__(self, leg: Leg, payer: Payer) -> None:
        self.leg = leg
        self.payer = payer
        self.packed = keys.bulk(leg.lease.encode()) + (
            keys.OUTGOING if leg.direction == "out" else keys.INCOMING
        )
        """ARGV 4 and 5 of the scripts on one leg."""
        self.answered_at: float | None = None
        """Loop time."""
