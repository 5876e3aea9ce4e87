"""What is known of one call when it is over (or was refused): the one record behind CDR line, log line and metrics."""

from __future__ import annotations

from typing import Literal

Decision = Literal["admitted", "refused", "none"]
"""none: it ended before anybody was asked (challenge, 404, malformed)."""
OutcomeLabel = Literal["success", "fail", "refused", "rejected"]
"""success: answered with 2xx. fail: any other end after admission. refused: by a limit or policy of ours.
rejected: by routing or syntax before admission (404, 480, 483 …)."""


class CallRecord:
    """One INVITE transaction's story. Times are engine seconds (monotonic); the driver turns them into wall clock."""

    __slots__ = (
        "answered_at",
        "call_id",
        "callee",
        "caller",
        "cause",
        "cut",
        "decision",
        "direction",
        "ended_at",
        "ended_by",
        "from_tag",
        "mode",
        "outcome",
        "payers",
        "reason",
        "setup_delay",
        "started_at",
        "status",
        "trunk",
    )

    def __init__(self, call_id: str, from_tag: str, caller: str, callee: str, started_at: float) -> None:
        self.call_id = call_id
        self.from_tag = from_tag
        self.caller = caller
        """user@domain of the account, or the From user of an outside caller."""
        self.callee = callee
        """user@domain of the account, or the dialled Request-URI's user part."""
        self.started_at = started_at
        self.answered_at: float | None = None
        self.ended_at: float = started_at
        self.payers: list[str] = []
        self.mode = ""
        """Mode of the first leg: softphone | gateway | ""."""
        self.direction = ""
        self.trunk = ""
        self.decision: Decision = "none"
        self.reason = ""
        """policies.reasons.Reason value when a limit or policy refused or cut it; else ""."""
        self.cut = False
        self.outcome: OutcomeLabel = "rejected"
        self.status = 0
        """Final status sent to the caller."""
        self.cause = ""
        """Plain words: what ended it."""
        self.ended_by: Literal["caller", "callee", "callgate", ""] = ""
        self.setup_delay: float | None = None
        """Seconds from INVITE in to INVITE out (first branch), as the engine saw it."""
