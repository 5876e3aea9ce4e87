"""What an admission system must offer to be put under this suite. The cases know this and SIP, nothing else.

callers   an address of the suite's from which calls come as whom their From names, without a challenge
callees   an address of the suite's that is reached by dialling 1…; 2… leads to where nobody listens (a transport
          error), 3… to there first and to the callees next
accounts  of customers register from `softphones` with digest and are reached by dialling their name
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

Address = tuple[str, int]

CALLEE, NOBODY, NOBODY_THEN_CALLEE = "1", "2", "3"
"""What to dial."""


@dataclass(frozen=True, slots=True)
class Bought:
    """A customer's tariff: one plan, one account with the customer's name."""

    limits: Mapping[str, str | int] = field(default_factory=dict)
    """`lines: 2`, `success_calls: 5 per 1h`, `total_duration: 10s per 1h`, …"""


@dataclass(frozen=True, slots=True)
class Cdr:
    """What the system wrote down of one call."""

    call_id: str
    payers: tuple[str, ...]
    outcome: str
    """success, fail; anything else moved no counter."""
    talk_s: float


class Instance(Protocol):
    """One of several that share a store."""

    @property
    def address(self) -> Address: ...

    async def start(self) -> None:
        """Returns when it takes calls. Also after `kill`."""

    def kill(self) -> None:
        """With -9."""

    def drain(self) -> None:
        """No new calls; running ones are ended when they have had their time (a second)."""

    async def hang_up(self, call_id: str) -> None:
        """An operator ends a call."""

    def ready(self) -> bool:
        """It says that it takes calls."""


class Store(Protocol):
    """What the instances share."""

    def hangs(self) -> None:
        """It takes commands and answers none."""

    def is_gone(self) -> None:
        """Nobody listens there any more."""

    def is_back(self) -> None:
        """With what it held."""

    def is_slow(self, seconds: float) -> None:
        """Each of its answers takes so much longer; 0 = no longer."""

    def is_back_empty(self) -> None:
        """It was gone, and has lost everything."""


class System(Protocol):
    """Instances on one store."""

    @property
    def domain(self) -> str: ...
    @property
    def password(self) -> str: ...
    @property
    def callers(self) -> Address: ...
    @property
    def callees(self) -> Address: ...
    @property
    def softphones(self) -> Address: ...
    @property
    def instances(self) -> Sequence[Instance]: ...
    @property
    def store(self) -> Store: ...

    def cdrs(self) -> Sequence[Cdr]:
        """Of all instances, in no order."""

    async def settled(self) -> None:
        """Returns when the store is back and has been told all that happened while it was away."""

    async def change(self, limits: Mapping[str, Mapping[str, str | int]]) -> None:
        """Customers get other limits; returns when they are in force on every instance."""
