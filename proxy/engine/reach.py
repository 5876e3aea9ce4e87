"""Which neighbours do not answer at present, flow by flow, whoever found out: a call, or an OPTIONS of ours.

Two kinds. A *soft* outage comes of one call that got no answer: the flow is tried last until it is over, for one lost
call proves little. A *firm* one keeps the flow out altogether: its server named a time by Retry-After, or its health
checks failed. An outage ends by its timer, or when the server is heard to be well again.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.engine.core import Core
    from proxy.sip.flow import Flow
    from proxy.sip.timers import TimerHandle

OUTAGES_MAX = 4096
"""Outages remembered; the oldest gives way. Trunks have a handful of addresses each."""
RETRY_AFTER_MAX = 300.0
"""Seconds a server can take itself out by one Retry-After. We differ: RFC 3261 §21.5.4 sets no end, but it may be a
trunk's only one, or have passed on what was said of somebody behind it. Who meant more says so to one call in this."""


class OutageCause(enum.Enum):
    """Why a flow is passed over. The value is a metric label."""

    TIMEOUT = "timeout"  # a request was never answered
    TRANSPORT = "transport"  # no connection, or ICMP said so
    UNAVAILABLE = "unavailable"  # 503
    HEALTH = "health"  # OPTIONS went unanswered, or were answered 503


class Outage:
    """One flow's."""

    __slots__ = ("cause", "firm", "flow", "handle", "since", "until")

    def __init__(self, flow: Flow, cause: OutageCause, firm: bool, since: float, until: float | None) -> None:
        self.flow = flow
        self.cause = cause
        self.firm = firm
        """Not to be used at all, not even when nothing else is left."""
        self.since = since
        self.until = until
        """None: until it is heard to be well again."""
        self.handle: TimerHandle | None = None


class Reach:
    """The outages there are. Empty nearly always: whoever asks looks at that first."""

    __slots__ = ("_core", "outages")

    def __init__(self, core: Core) -> None:
        self._core = core
        self.outages: dict[Flow, Outage] = {}

    def bad(self, flow: Flow, cause: OutageCause, seconds: float | None, firm: bool, now: float) -> None:
        """The flow is out for so long (None: until `good`). What is firm already is not made soft."""
        outages = self.outages
        until = None if seconds is None else now + seconds
        old = outages.get(flow)
        if old is None:
            self._core.counters.trunk_outages[cause] += 1
            if len(outages) >= OUTAGES_MAX:
                self._drop(outages[next(iter(outages))])
        elif old.firm and (not firm or old.until is None):
            return
        else:
            self._drop(old)
        outage = Outage(flow, cause, firm, now if old is None else old.since, until)
        if until is not None:
            outage.handle = self._core.timers.at(until, self._over, outage, 0)
        outages[flow] = outage

    def good(self, flow: Flow, asked: bool = False) -> None:
        """The flow's server answered: `asked`, to our OPTIONS. RFC 3261 §21.5.4: a Retry-After holds all the same."""
        outage = self.outages.get(flow)
        if outage is None or (outage.cause is OutageCause.UNAVAILABLE and outage.firm):
            return
        if asked or not outage.firm:
            self._drop(outage)

    def held_off(self, flow: Flow) -> bool:
        """Its server asked by Retry-After to be left alone."""
        outage = self.outages.get(flow)
        return outage is not None and outage.firm and outage.cause is OutageCause.UNAVAILABLE

    def order(self, ways: Sequence[Flow]) -> list[Flow]:
        """Those that may be used, the ones that failed of late last."""
        outages = self.outages
        good = [flow for flow in ways if flow not in outages]
        return good + [flow for flow in ways if flow in outages and not outages[flow].firm]

    def forget_checked(self) -> None:
        """Health checks begin anew: what only they would end is over."""
        for outage in [one for one in self.outages.values() if one.until is None]:
            self._drop(outage)

    def _over(self, outage: Outage, token: int, now: float) -> None:
        outage.handle = None
        if self.outages.get(outage.flow) is outage:
            del self.outages[outage.flow]

    def _drop(self, outage: Outage) -> None:
        if outage.handle is not None:
            self._core.timers.cancel(outage.handle)
        del self.outages[outage.flow]
