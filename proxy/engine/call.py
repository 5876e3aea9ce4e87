"""A call: one admitted INVITE, the leases its legs hold, and the dialogs that came of it.

Theory: the *transactions* of a call live in forward.Context and are gone 32 s after its answer; what stays for the
length of the call is this, so it is small. One INVITE may end in several dialogs (forked 2xx, RFC 3261 §13.2.2.4):
the call is counted once and every dialog of it is ended.
"""

from __future__ import annotations

import enum
from math import inf
from typing import TYPE_CHECKING

from policies.lease import Leg
from policies.reasons import Reason
from proxy.engine.record import CallRecord
from proxy.sip.flow import Flow

if TYPE_CHECKING:
    from policies.account import Limits
    from policies.catalog import Account, Trunk
    from policies.heritage import Inherited
    from proxy.engine.cseq import Passage
    from proxy.engine.flowtoken import Edge
    from proxy.engine.forward import Context
    from proxy.engine.media import Media
    from proxy.engine.watch import Watch
    from proxy.sip.stack import ServerTransaction
    from proxy.sip.timers import TimerHandle


class CallState(enum.IntEnum):
    """Where a call stands. It only ever moves down this list (ADMITTING may jump to ENDED)."""

    ADMITTING = 0  # the limiter is being asked
    TRYING = 1  # admitted; no 2xx yet
    ANSWERED = 2  # a 2xx went up
    CUTTING = 3  # over for limits and records; our BYEs are under way
    ENDED = 4  # over


class Permit:
    """Proof that every leg of a call was admitted: forward_call takes one, and only admission makes one."""

    __slots__ = ("legs",)

    def __init__(self, legs: tuple[Leg, ...]) -> None:
        self.legs = legs


class Peer:
    """One end of a dialog as we must know it to send it a request of our own (RFC 3261 §12.1)."""

    __slots__ = ("cseq", "flow", "line", "routes", "tag", "target", "trunk", "follow_flow")

    def __init__(
        self, flow: Flow, tag: str, line: str, target: str, routes: tuple[str, ...], trunk: Trunk | None
    ) -> None:
        self.flow = flow
        """The way its messages come."""
        self.tag = tag
        self.line = line
        """Its From or To value, with the tag: the To of what we send it, the From of what we send for it."""
        self.target = target
        """Its Contact value as it was written: the remote target, parsed only when needed."""
        self.routes = routes
        """Route values from us to it, in order; () nearly always."""
        self.cseq = 0
        """The highest CSeq number it has sent."""
        self.trunk = trunk
        """None: one of our accounts, reached over its flow whatever its Contact says (it may be behind NAT)."""
        self.follow_flow = trunk is None


class Dialog:
    """A 2xx (or, still early, a provisional with a To tag) of one call: the callee's half; the caller's is shared."""

    __slots__ = ("acked", "callee", "confirmed", "down", "over", "up", "watch")

    def __init__(self, callee: Peer) -> None:
        self.callee = callee
        self.confirmed = False
        self.acked = False
        """The ACK for its 2xx has passed."""
        self.over = False
        """A BYE passed, or its end was answered with 481 or 408."""
        self.down: Passage | None = None
        self.up: Passage | None = None
        """Set where we raise CSeq numbers: `down` of what the caller sends, `up` of what the callee does (cseq.py)."""
        self.watch: Watch | None = None
        """Set where session timers or pings are on (watch.py)."""


class Call:
    """One dialog-forming INVITE of somebody we know, from admission to the end of its last dialog."""

    __slots__ = (
        "byes",
        "call_id",
        "callee_account",
        "caller",
        "caller_account",
        "caller_trunk",
        "cancelled",
        "context",
        "cut_reason",
        "deadline",
        "dialogs",
        "edge",
        "handover",
        "heir_of",
        "leg_index",
        "orphan",
        "legs",
        "media",
        "record",
        "route_trunk",
        "state",
        "taken_up",
        "token",
        "txn",
    )

    def __init__(
        self, token: str, call_id: str, caller: Peer, record: CallRecord, txn: ServerTransaction | None
    ) -> None:
        self.token = token
        """Names the call in our Record-Route and in its lease ids."""
        self.call_id = call_id
        self.caller = caller
        self.record = record
        self.txn: ServerTransaction | None = txn
        """The INVITE's server transaction, until a final answer was given to it. None: taken up from the store."""
        self.context: Context | None = None
        self.caller_account: Account | None = None
        self.caller_trunk: Trunk | None = None
        self.callee_account: Account | None = None
        self.route_trunk: Trunk | None = None
        self.edge: Edge | None = None
        """The flow to the callee, where the INVITE said that itself."""
        self.state = CallState.ADMITTING
        self.legs: tuple[Leg, ...] = ()
        self.leg_index = 0
        """The leg being asked for while ADMITTING; the legs before it are taken."""
        self.cancelled = False
        """The caller's CANCEL came while the limiter was being asked."""
        self.taken_up = False
        """From the store: what was learned of its ends after the answer is not known."""
        self.orphan: Inherited | None = None
        """Taken up without a lease, when another process had died; to be cut and nothing else."""
        self.cut_reason: Reason | None = None
        self.dialogs: list[Dialog] = []
        self.deadline: TimerHandle | None = None
        """call_duration's end; before the answer where a leg of it was answered in another call (replaces.py)."""
        self.media: Media | None = None
        """Set where its media go through rtpengine (media.py)."""
        self.handover: Handover | None = None
        """Set on both calls while one takes the other's place (replaces.py)."""
        self.heir_of: Call | None = None
        """The call whose legs it has, for as long as that may still run."""
        self.byes = 0
        """BYEs of ours under way."""

    def dialog(self, tag: str) -> Dialog | None:
        """The dialog with this callee tag."""
        for dialog in self.dialogs:
            if dialog.callee.tag == tag:
                return dialog
        return None

    def has_lost(self, dialog: Dialog) -> bool:
        """The dialog is over, or was early and its branch failed: what waited meanwhile goes out in it no more."""
        return self.state >= CallState.CUTTING or dialog.over or dialog not in self.dialogs


class Handover:
    """One call's legs, lent to the call that takes its place and handed to it at its answer (replaces.py)."""

    __slots__ = ("donor", "done", "heir", "legs")

    def __init__(self, donor: Call, heir: Call, legs: tuple[Leg, ...]) -> None:
        self.donor = donor
        self.heir = heir
        self.legs = legs
        self.done = False
        """The heir was answered: what is left of the donor is to end."""


class Running:
    """One payer's legs in one mode on this instance, from the question for their leases until these are given back."""

    __slots__ = ("exhaustion", "exhausts_at", "legs", "limits", "version")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        """In force for all of them."""
        self.legs: dict[str, Leg] = {}
        """By lease."""
        self.exhaustion: TimerHandle | None = None
        """Rings when the answered ones have used their total_duration up."""
        self.exhausts_at = inf
        """When that is; past while a late timer has not rung yet."""
        self.version = 0
        """Of the plan that `exhaustion` is of: Redis time in ms."""
