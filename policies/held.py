"""What the limiter keeps of a payer and of each lease it holds, and what it sends for them."""

from __future__ import annotations

from policies import keys
from policies.account import Limits
from policies.lease import Leg


class Asker:
    """Who asks: the same for every payer of this process."""

    __slots__ = ("life", "number", "tentative_life")

    def __init__(self, instance: str, lease_ms: int) -> None:
        """`instance`: eight hexadecimal digits."""
        self.number = int(instance, 16) + 1
        """Its number in the scripts; 0 and less mean something else there."""
        self.life = keys.lease_life(lease_ms)
        self.tentative_life = keys.lease_life(lease_ms, tentative=True)


class Payer:
    """One payer in one mode, as long as it has calls here (and a while longer)."""

    __slots__ = (
        "arguments",
        "asked",
        "asker",
        "held",
        "keys",
        "limits",
        "packed_limits",
        "queued",
        "renewals",
        "state_key",
    )

    def __init__(self, limits: Limits, asker: Asker) -> None:
        self.asker = asker
        self.limits = limits
        """The newest ones an admission came with: running calls are settled by the counters in force now."""
        self.keys = keys.call_keys(limits.payer, limits.mode)
        self.state_key = keys.state_key(limits.payer, limits.mode)
        self.packed_limits = keys.limit_arguments(limits, asker.number)
        self.arguments = self.packed_limits + asker.life
        """ARGV 1 … 3 of the scripts."""
        self.held: dict[str, Held] = {}
        """By lease."""
        self.queued = False
        """Waits for its next renewal."""
        self.renewals = 0
        """Batches of leases that are to be renewed, or are under way."""
        self.asked = 0
        """A question for the moment of exhaustion is under way: 1; and another one came meanwhile: 2."""

    def change(self, limits: Limits) -> None:
        """Other limits are in force."""
        self.limits = limits
        self.packed_limits = keys.limit_arguments(limits, self.asker.number)
        self.arguments = self.packed_limits + self.asker.life


class Held:
    """A lease of ours: from the question for it until it is given back."""

    __slots__ = ("admitted_at", "answered_at", "dialog", "leg", "packed", "payer", "told")

    def __init__(self, leg: Leg, payer: Payer) -> None:
        self.leg = leg
        self.payer = payer
        self.packed = keys.bulk(leg.lease.encode()) + (
            keys.OUTGOING if leg.direction == "out" else keys.INCOMING
        )
        """ARGV 4 and 5 of the scripts on one leg."""
        self.admitted_at: float | None = None
        """Loop time at which the store's word for it came; None until then."""
        self.answered_at: float | None = None
        """Loop time."""
        self.told = True
        """The store knows of its answer, as far as there was one."""
        self.dialog = ""
        """What another instance would need to end the call; "" before its answer, and of all legs of a call but one."""

    @property
    def dialog_key(self) -> bytes:
        limits = self.payer.limits
        return keys.dialog_key(limits.payer, limits.mode, self.leg.lease)
