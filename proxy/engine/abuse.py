"""The words of the guard (guard.py): why something was dropped, and bans. Values are metric labels."""

from __future__ import annotations

import enum


class Dropped(enum.Enum):
    """Why a request was met with silence after it had been parsed."""

    SCANNER = "scanner"  # its User-Agent is one of guard.scanners
    RATE = "rate"  # more than guard.unauthenticated
    CLOSED = "closed"  # its address is closed to all but those who have proved themselves there
    GUESSING = "guessing"  # a wrong password that is not answered any more


class BanCause(enum.Enum):
    """Why an address is banned."""

    BRUTE_FORCE = "brute_force"
    RATE = "rate"
    FLOOD = "flood"


class Ban:
    """One address whose datagrams and connections are dropped unread."""

    __slots__ = ("cause", "host", "until")

    def __init__(self, host: str, cause: BanCause, until: float) -> None:
        self.host = host
        self.cause = cause
        self.until = until
