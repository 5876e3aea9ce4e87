"""How registrations of our own stand and what came of them: the words that metrics and operators see."""

from __future__ import annotations

import enum


class State(enum.Enum):
    """Of one registration. The value is a metric label."""

    STANDBY = "standby"  # another instance's turn, or not known yet
    REGISTERING = "registering"
    REGISTERED = "registered"
    FAILED = "failed"  # to be tried again
    UNREGISTERING = "unregistering"
    GONE = "gone"  # taken back


class Result(enum.Enum):
    """What came of a REGISTER. The value is a metric label."""

    OK = "ok"
    REJECTED = "rejected"  # wrong password, or an answer that will be the same next time
    UNREACHABLE = "unreachable"  # no answer, no way there, or a server that says it is down
