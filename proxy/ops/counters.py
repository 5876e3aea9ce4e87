"""What the driver counts: traffic by the bytes, calls by their records, and the state of its own loop.

Plain integers, read at scrape by metrics.py. The stack, the engine and the store link have counters of their own
(proxy/sip/transaction.py, proxy/engine/counters.py, policies/counters.py), for they cannot see this layer.
"""

from __future__ import annotations

import enum
from typing import Final, assert_never, get_args

from policies.account import Mode
from policies.counters import Histogram
from policies.reasons import Reason
from policies.verdicts import (
    Registered,
    RegisterOutOfOrder,
    RegisterRefused,
    RegisterVerdict,
    Replayed,
    Unavailable,
)
from proxy.engine.record import CallRecord, OutcomeLabel

MODES: tuple[str, ...] = (*get_args(Mode), "")
"""A call's mode is its first leg's; one that ended before anybody was known to pay for it has the mode ""."""
OUTCOMES: tuple[str, ...] = get_args(OutcomeLabel)

_S: Final = ord("S")
_SLASH: Final = ord("/")
OTHER = "other"
METHODS = (
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "REGISTER",
    "OPTIONS",
    "PRACK",
    "UPDATE",
    "INFO",
    "REFER",
    "NOTIFY",
    "SUBSCRIBE",
    "MESSAGE",
    "PUBLISH",
    OTHER,
)

# The budget is 5 ms at p99 and then 2 ms; beyond 1 s a caller's INVITE has been retransmitted already.
SETUP_DELAY_BOUNDS_S = (0.25e-3, 0.5e-3, 1e-3, 2e-3, 3e-3, 5e-3, 10e-3, 20e-3, 50e-3, 0.1, 0.2, 0.5, 1.0)
# A turn of 1 ms is a busy loop; at 100 ms callers notice and the overload gate should have shut.
LOOP_LAG_BOUNDS_S = (0.1e-3, 0.2e-3, 0.5e-3, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 0.1, 0.2, 0.5, 1.0)


class Traffic:
    """Messages of one direction, retransmissions included, told apart by their first three octets.

    That is no parsing: a method nobody knows that begins like a known one counts as that one. It costs 0.2 µs a
    message, where cutting out the word would cost 0.5.
    """

    __slots__ = ("heads", "statuses")

    def __init__(self) -> None:
        self.heads: dict[bytes, int] = dict.fromkeys((method[:3].encode("ascii") for method in METHODS), 0)
        """Requests by the first three octets of the method."""
        self.statuses: list[int] = [0] * 256
        """Responses by the octet that is the first digit of the status."""

    def count(self, data: bytes) -> None:
        """One message's bytes, whole or only its beginning. Never raises."""
        # "SIP/", which no method holds. RFC 3261 §7.2: "SIP/2.0", one space, the status code.
        if len(data) > 8 and data[3] == _SLASH and data[0] == _S:
            self.statuses[data[8]] += 1
            return
        head = data[:3]
        self.heads[head if head in self.heads else b"oth"] += 1

    def requests(self) -> dict[str, int]:
        """Requests by method, each of METHODS."""
        return {method: self.heads[method[:3].encode("ascii")] for method in METHODS}

    def responses(self) -> dict[str, int]:
        """Responses by class, "1xx" to "6xx"; what claims another class is left out, the parser counts it."""
        return {f"{digit}xx": self.statuses[48 + digit] for digit in range(1, 7)}


class RegisterResult(enum.Enum):
    """What became of a REGISTER that had the right credentials. The value is a metric label."""

    ACCEPTED = "accepted"  # bindings written, refreshed, removed or read
    REFUSED = "refused"  # by a limit
    OUT_OF_ORDER = "out_of_order"  # RFC 3261 §10.3 step 7
    REPLAYED = "replayed"  # a nonce count seen before: challenged again
    UNAVAILABLE = "unavailable"  # the store did not answer


class CallCounters:
    """Calls and registrations. `decided` after each verdict on a call, `over` with its record."""

    __slots__ = (
        "admitted",
        "admitted_unchecked",
        "cuts",
        "outcomes",
        "refused",
        "registrations",
        "setup_delay",
    )

    def __init__(self) -> None:
        self.admitted: dict[str, int] = dict.fromkeys(MODES, 0)
        self.admitted_unchecked: dict[str, int] = dict.fromkeys(MODES, 0)
        """Let through by `on_store_failure: admit` while nobody could check."""
        self.refused: dict[tuple[str, str], int] = {(why.value, mode): 0 for why in Reason for mode in MODES}
        self.outcomes: dict[tuple[str, str], int] = {(end, mode): 0 for end in OUTCOMES for mode in MODES}
        self.cuts: dict[str, int] = {why.value: 0 for why in Reason}
        self.registrations: dict[RegisterResult, int] = dict.fromkeys(RegisterResult, 0)
        self.setup_delay = Histogram(SETUP_DELAY_BOUNDS_S)

    def decided(self, record: CallRecord, unchecked: bool) -> None:
        """After the engine took a verdict on a leg: the call counts once it is admitted, that is at its last leg.

        `unchecked`: a leg of it is not backed by the store. Refusals are counted by `over`, which follows at once.
        """
        if record.decision != "admitted":
            return
        if unchecked:
            self.admitted_unchecked[record.mode] += 1
        else:
            self.admitted[record.mode] += 1
        if record.setup_delay is not None:
            self.setup_delay.observe(record.setup_delay)

    def over(self, record: CallRecord) -> None:
        """The call's one record: it is over, or it never began."""
        self.outcomes[record.outcome, record.mode] += 1
        if record.cut:
            self.cuts[record.reason] += 1
        elif record.decision == "refused":
            self.refused[record.reason, record.mode] += 1

    def registered(self, verdict: RegisterVerdict) -> None:
        """The limiter's answer to a REGISTER."""
        match verdict:
            case Registered():
                result = RegisterResult.ACCEPTED
            case RegisterRefused():
                result = RegisterResult.REFUSED
            case RegisterOutOfOrder():
                result = RegisterResult.OUT_OF_ORDER
            case Replayed():
                result = RegisterResult.REPLAYED
            case Unavailable():
                result = RegisterResult.UNAVAILABLE
            case _:
                assert_never(verdict)
        self.registrations[result] += 1


class LoopCounters:
    """The driver's own loop."""

    __slots__ = ("draining", "dropped", "lag", "overloaded", "ready")

    def __init__(self) -> None:
        self.lag = Histogram(LOOP_LAG_BOUNDS_S)
        """Seconds by which the loop was late for its own timer."""
        self.overloaded = False
        self.ready = False
        self.draining = False
        self.dropped: int = 0
        """Messages thrown away because a bounded queue was full."""
