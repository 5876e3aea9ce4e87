"""The limiter: one leg's lease asked of the store, answered, renewed and given back, without a task or a future.

What is asked here is answered through LimiterUser, always in a later turn of the loop than the question.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from policies.account import Limits
from policies.lease import Leg, Outcome
from policies.verdicts import AdmitVerdict, RegisterVerdict


class RegisterRequest(Protocol):
    """What a REGISTER asks of the store (proxy.engine.effects.RegisterAsk has this shape)."""

    @property
    def aor(self) -> str: ...
    @property
    def account(self) -> str: ...
    @property
    def limits(self) -> Limits: ...
    @property
    def call_id(self) -> str: ...
    @property
    def cseq(self) -> int: ...
    @property
    def contacts(self) -> Sequence[tuple[str, int, str]]: ...
    @property
    def remove_all(self) -> bool: ...
    @property
    def nonce(self) -> str: ...
    @property
    def nc(self) -> int: ...


class LimiterUser(Protocol):
    """Who is told what the store said: the driver, which makes events of it."""

    def on_admission(self, leg: Leg, verdict: AdmitVerdict) -> None:
        """Answer to Limiter.admit."""

    def on_budget(self, payer: str, mode: str, exhausts_in: float | None, version: int) -> None:
        """When the payer's total_duration runs out: seconds from now, None = not as things stand.

        Told after an answer or an end and at renewals, for payers that have the limit and calls here. `version` is
        Redis time in ms; older plans than the last one told are not told.
        """

    def on_registered(self, ask: RegisterRequest, verdict: RegisterVerdict) -> None:
        """Answer to Limiter.register."""

    def on_bindings(self, bindings: list[str] | None, user: object) -> None:
        """Answer to Limiter.bindings; None = the store did not answer."""

    def on_source(self, aor: str, user: object) -> None:
        """Answer to Limiter.source; "" = nobody, or no answer."""


class Limiter:
    """Asks the store for leases and keeps them alive. All methods return at once."""

    def admit(self, leg: Leg) -> None:
        """Take every limit of the leg, or none (SPEC §3). Answer: on_admission.

        With `on_store_failure: admit` a store that is away admits: `leg.unbacked` is then set, for the leg's life.
        """
        raise NotImplementedError

    def answered(self, leg: Leg, dialog: str = "") -> None:
        """The leg got its 2xx. Never lost: while the store is away it waits in the spool. Twice changes nothing."""
        raise NotImplementedError

    def release(self, leg: Leg, outcome: Outcome) -> None:
        """Give the lease back with its outcome. Never lost. Twice changes nothing."""
        raise NotImplementedError

    def register(self, ask: RegisterRequest) -> None:
        """Query, change or remove bindings, all or nothing. Answer: on_registered."""
        raise NotImplementedError

    def bindings(self, payer: str, aor: str, user: object) -> None:
        """Live contact records of an account. Answer: on_bindings."""
        raise NotImplementedError

    def source(self, flow: str, user: object) -> None:
        """The aor registered from this flow on any instance (see `remember_source`). Answer: on_source."""
        raise NotImplementedError

    def remember_source(self, flow: str, aor: str, seconds: int) -> None:
        """`flow` is a text that names transport, address and port; 0 seconds forgets it."""
        raise NotImplementedError

    def replan(self, legs: Sequence[Leg]) -> None:
        """Their payers' limits have changed (leg.limits is the new one): on_budget follows for each payer."""
        raise NotImplementedError
