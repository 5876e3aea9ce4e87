"""Who is told what the store said: the driver, which makes events of it."""

from __future__ import annotations

from typing import Protocol

from policies.heritage import Heir
from policies.lease import Leg
from policies.registrations import RegistrationsUser
from policies.verdicts import AdmitVerdict, PlaceVerdict


class LimiterUser(RegistrationsUser, Heir, Protocol):
    """What the limiter calls, always in a later turn of the loop than the question."""

    def on_admission(self, leg: Leg, verdict: AdmitVerdict) -> None:
        """Answer to Limiter.admit. If the leg is let through though the verdict is Unavailable, set leg.unbacked
        before this returns: it is then held like any other, and brought into the store when that is back."""

    def on_budget(self, payer: str, mode: str, exhausts_in: float | None, version: int) -> None:
        """When the payer's total_duration runs out: seconds from now, None = not as things stand.

        Told after an answer or an end and at renewals, for payers that have the limit and calls here. `version` is
        Redis time in ms.
        """

    def on_lease_lost(self, leg: Leg) -> None:
        """An operator has cleared the lease; its call is to end."""

    def on_turn(self, trunk: str, ours: bool | None) -> None:
        """Answer to Turns.ask."""

    def on_place(self, user: object, verdict: PlaceVerdict) -> None:
        """Answer to Places.hold."""

    def on_reload_wanted(self) -> None:
        """Another instance has read its files again, and says that we should."""
