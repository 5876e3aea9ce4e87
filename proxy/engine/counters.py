"""What the engine counts beyond the one record a call: plain integers, read at scrape by proxy/ops/metrics.py."""

from __future__ import annotations

from proxy.engine.abuse import BanCause, Dropped
from proxy.engine.reach import OutageCause
from proxy.engine.results import Result
from proxy.sip.message import ErrorKind


class EngineCounters:
    """One for each process."""

    __slots__ = (
        "auth_failures",
        "bans",
        "challenges",
        "challenges_answered",
        "crossed",
        "guard_dropped",
        "late_answers",
        "parse_errors",
        "pings_answered",
        "pings_sent",
        "registrations",
        "stray_requests",
        "teardowns_failed",
        "trunk_checks",
        "trunk_outages",
    )

    def __init__(self) -> None:
        self.challenges = 0
        """401 and 407 sent."""
        self.challenges_answered = 0
        """401 and 407 of trunks that we answered in an account's place."""
        self.auth_failures = 0
        """Wrong passwords."""
        self.bans: dict[BanCause, int] = dict.fromkeys(BanCause, 0)
        """Addresses banned."""
        self.guard_dropped: dict[Dropped, int] = dict.fromkeys(Dropped, 0)
        """Requests of strangers met with silence."""
        self.crossed = 0
        """In-dialog requests that met a call already cut."""
        self.late_answers = 0
        """2xx that came after the caller had got a final answer: acknowledged and ended by us."""
        self.parse_errors: dict[ErrorKind, int] = dict.fromkeys(ErrorKind, 0)
        """Every ParseError, answered or not."""
        self.registrations: dict[Result, int] = dict.fromkeys(Result, 0)
        """What came of REGISTERs of our own."""
        self.pings_answered = 0
        """Answers to OPTIONS that keep the mappings of NATs open."""
        self.pings_sent = 0
        self.stray_requests = 0
        """ACKs and in-dialog requests that belong to nothing of ours."""
        self.teardowns_failed = 0
        """BYEs of ours that no one answered on any path."""
        self.trunk_checks = {"good": 0, "bad": 0}
        """OPTIONS to trunks, by result."""
        self.trunk_outages: dict[OutageCause, int] = dict.fromkeys(OutageCause, 0)
        """Servers found not to answer."""
