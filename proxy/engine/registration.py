"""One REGISTER on its way: what is known of it so far, and what a step can say of it."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING

from policies.account import Limits
from policies.reasons import Reason

if TYPE_CHECKING:
    from policies.catalog import Account
    from proxy.engine.core import Core
    from proxy.engine.passing import Passing
    from proxy.sip.flow import Flow
    from proxy.sip.message import Request
    from proxy.sip.transaction import ServerTransaction


class Answer:
    """A step's verdict: this is the final response, skip the remaining steps."""

    __slots__ = ("extra", "phrase", "status")

    def __init__(self, status: int, phrase: str, extra: Sequence[str] = ()) -> None:
        self.status = status
        self.phrase = phrase
        self.extra = extra
        """Ready header lines."""


class Go(enum.Enum):
    """A step's other verdicts."""

    CONTINUE = "continue"
    NOT_OURS = "not ours"
    ASKED = "asked"


class Registration:
    """One REGISTER on its way through the steps, and the context of its RegisterAsk."""

    __slots__ = (
        "account",
        "aor",
        "contacts",
        "domain",
        "limits",
        "nc",
        "nonce",
        "now",
        "outbound",
        "passing",
        "path",
        "remove_all",
        "request",
        "request_domain",
        "source",
        "txn",
        "wall",
    )

    account: Account
    limits: Limits

    def __init__(
        self, txn: ServerTransaction, request: Request, source: Flow, now: float, wall: float
    ) -> None:
        self.txn = txn
        self.request = request
        self.source = source
        self.now = now
        self.wall = wall
        """Unix seconds."""
        self.request_domain = ""
        """The domain in the Request-URI; "" when it names us and no domain: then the user's own is meant."""
        self.domain = ""
        """The address of record's domain when it is one of ours, else the Request-URI's (our first for an address):
        whose users may answer."""
        self.aor = ""
        """The address of record in To, canonical."""
        self.nonce = ""
        self.nc = 0
        self.contacts: list[tuple[str, int, str]] = []
        """As in RegisterAsk."""
        self.remove_all = False
        self.outbound = False
        """Flows are registered (RFC 5626 §6): the answer requires `outbound`."""
        self.path: list[str] = []
        """The Path values it came with (RFC 3327): proxies between the client and us."""
        self.passing: Passing | None = None
        """Set when another registrar answers it (passing.py)."""


def refusal(core: Core, reason: Reason, limit: str, resets_in_ms: int | None) -> Answer:
    """A refusal of ours, as policies/reasons.py has it."""
    row, extra = core.refusal(reason, limit, resets_in_ms)
    return Answer(row.status, row.phrase, extra)


def warning(core: Core, words: str) -> str:
    """A Warning line for a refusal that is no reason of ours."""
    return f'Warning: 399 {core.server_name} "{words}"'
