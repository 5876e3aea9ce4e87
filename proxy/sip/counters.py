"""What the SIP stack counts: plain integers, bumped where it happens, read at scrape by proxy/ops/metrics.py.

Closed lists only: what is not in one of them is counted under OTHER, so no peer can make a new series.
"""

from __future__ import annotations

import enum

from proxy.sip.message import ErrorKind

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


class Machine(enum.IntEnum):
    """The four transaction machines (RFC 3261 §17); the value is an index, the name a metric label."""

    CLIENT_INVITE = 0
    CLIENT_OTHER = 1
    SERVER_INVITE = 2
    SERVER_OTHER = 3


class SipCounters:
    """One for each process. Whoever has the event at hand bumps the slot; nothing here calls anything.

    On the hot path write `counters.requests_in[method if method in counters.requests_in else OTHER] += 1`
    and `counters.responses_in[status // 100] += 1`; retransmissions are not counted a second time there.
    """

    __slots__ = (
        "parse_errors",
        "requests_in",
        "requests_out",
        "responses_in",
        "responses_out",
        "retransmissions_in",
        "retransmissions_out",
        "timeouts",
        "transactions_ended",
        "transactions_started",
    )

    def __init__(self) -> None:
        self.requests_in: dict[str, int] = dict.fromkeys(METHODS, 0)
        self.requests_out: dict[str, int] = dict.fromkeys(METHODS, 0)
        self.responses_in: list[int] = [0] * 7
        """Indexed by status // 100; slot 0 is never used."""
        self.responses_out: list[int] = [0] * 7
        self.retransmissions_in: int = 0
        """Absorbed by a transaction, requests and responses."""
        self.retransmissions_out: int = 0
        """Sent again by a timer or in answer to a retransmission."""
        self.transactions_started: list[int] = [0] * 4
        """Indexed by Machine."""
        self.transactions_ended: list[int] = [0] * 4
        """Indexed by Machine; started - ended are alive."""
        self.timeouts: list[int] = [0] * 4
        """Timer B, F or H fired, indexed by Machine."""
        self.parse_errors: dict[ErrorKind, int] = dict.fromkeys(ErrorKind, 0)
