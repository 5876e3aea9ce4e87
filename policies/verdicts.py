"""What the limiter answers: expected outcomes as values; no exception means "no".

Plain slotted classes and not frozen ones: each call makes some, and freezing costs a third of a microsecond a field.
Nobody changes one after it was made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from policies.account import Limit, Limits
from policies.options import limit_text
from policies.reasons import Reason


@dataclass(slots=True)
class Admitted:
    """All limits of the leg hold and all are taken."""

    lease: str
    """Id of the hold on the payer's limits, as it was asked for."""
    bindings: list[str] | None = None
    """The callee's live contact records, read in the same trip; None when the callee is not an account of ours."""


@dataclass(slots=True)
class Refused:
    """A limit does not hold, and nothing was taken."""

    reason: Reason
    limit: str = ""
    """The limit's value in words ("30m per 1d", "2"); "" when the reason has none."""
    resets_in_ms: int | None = None
    """Until the window of the limit ends; None when waiting does not help."""


@dataclass(slots=True)
class Unavailable:
    """The store did not answer in time or is away. `store.on_store_failure` says what that means for a call."""


@dataclass(slots=True)
class Replayed:
    """The digest's nonce count was seen before on some instance: challenge again with stale=true. Nothing was taken."""


@dataclass(slots=True)
class Settled:
    """An answer or an end was counted (or had been counted before: that changes nothing)."""

    exhausts_in_ms: int | None
    """Until the payer's `total_duration` is used up by the calls running now; None = not as things stand."""
    version: int = 0
    """Redis time in ms at which it was planned: an older plan never replaces a newer one."""


@dataclass(slots=True)
class Registered:
    """The bindings were written (or only read, for a REGISTER without Contact)."""

    bindings: list[str]
    """All live contact records of the address of record, in the limiter's format."""


@dataclass(slots=True)
class RegisterRefused:
    """A limit on registrations does not hold, and no binding was changed."""

    reason: Reason
    limit: str = ""
    resets_in_ms: int | None = None


@dataclass(slots=True)
class RegisterOutOfOrder:
    """RFC 3261 §10.3 step 7: same Call-ID and a CSeq that is not higher. No binding was changed."""


@dataclass(slots=True)
class PlaceHeld:
    """A place among the payer's active accounts is held while another registrar is asked."""

    until_ms: int
    """Redis time at which it lapses by itself; 0 = the account is active anyway and nothing was taken."""
    before_ms: int
    """What it comes back to when it is given back; 0 = nothing."""


AdmitVerdict = Admitted | Refused | Replayed | Unavailable
"""Of an admission."""

RegisterVerdict = Registered | RegisterRefused | RegisterOutOfOrder | Replayed | Unavailable
"""Of a REGISTER."""

PlaceVerdict = PlaceHeld | RegisterRefused | Unavailable
"""Of a REGISTER that another registrar will answer."""

_LIMIT_OF: Final[dict[int, Reason]] = {
    1: Reason.TOTAL_DURATION,
    2: Reason.SUCCESS_CALLS,
    3: Reason.FAIL_CALLS,
    4: Reason.LINES,
}
"""admit-8.lua's numbers; 5 and 6 are no limits."""
_REPLAYED: Final = 5
_NOT_REGISTERED: Final = 6


def admission_refused(limits: Limits, why: int, resets_in_ms: int) -> AdmitVerdict:
    """What admit-8.lua means when it refuses: its number for the reason, ms until the window ends or -1."""
    if why == _REPLAYED:
        return Replayed()
    if why == _NOT_REGISTERED:
        return Refused(Reason.NOT_REGISTERED)
    reason = _LIMIT_OF[why]
    limit: Limit | None = getattr(limits, reason.value)
    return Refused(reason, limit_text(reason.value, limit), resets_in_ms if resets_in_ms >= 0 else None)
