"""The reference model: SPEC §3 for one payer in one mode, written to be obviously right and not to be fast.

Time is walked in pieces during which nothing changes, windows one by one, and what will happen is found by letting
it happen to a copy. Names and replies are those of tests.policies.scripted.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

from policies.account import Direction, Limit, Limits
from tests.policies.scripted import Outcome

TOTAL, SUCCESS, FAIL, LINES = 1, 2, 3, 4


@dataclass
class Window:
    """Usage of one counter: ms of talk, or outcomes."""

    start: int | None = None
    used: int = 0

    def open_at(self, at: int, period: int) -> None:
        if self.start is None or at >= self.start + period:
            self.start, self.used = at, 0

    def used_at(self, at: int, period: int) -> int:
        return self.used if self.start is not None and at < self.start + period else 0

    def ends_in(self, at: int, period: int) -> int:
        assert self.start is not None
        return self.start + period - at


@dataclass
class Call:
    direction: Direction
    talking: bool
    expires: int
    tentative: bool = False
    """Its call waits for another leg: if it lapses it was never taken."""


@dataclass
class Model:
    limits: Limits
    now: int
    lease_ms: int
    calls: dict[str, Call] = field(default_factory=dict)
    windows: dict[str, Window] = field(default_factory=dict)
    settled: int = 0
    """Talk has gone to its windows up to this moment."""
    lapsed: dict[str, Call] = field(default_factory=dict)
    """Calls that talked and whose lease was not renewed."""
    draining: Limit | None = None
    """The total_duration that talk goes to: a script learns of other limits when it is run with them."""

    # What a script sees

    def begin(self) -> None:
        """Every script starts so: lapsed leases are noticed, limits that changed come in force, talk is settled."""
        if self.draining != self.limits.total_duration:
            self._settle(min([self.now, *(call.expires for call in self.calls.values())]))
            self.draining = self.limits.total_duration
        for lease, call in sorted(self.calls.items(), key=lambda item: item[1].expires):
            if call.expires <= self.now:
                self._settle(call.expires)
                del self.calls[lease]
                if call.talking:
                    self.lapsed[lease] = call
                elif not call.tentative:
                    self._touch(self.limits.fail_calls, call.direction, call.expires)
        self._settle(self.now)

    def pending(self, limit: Limit) -> int:
        return sum(not call.talking and limit.applies(call.direction) for call in self.calls.values())

    def talking(self, limit: Limit) -> int:
        return sum(call.talking and limit.applies(call.direction) for call in self.calls.values())

    # Scripts

    def admit(self, lease: str, direction: Direction, *, tentative: bool = False) -> int | tuple[int, int]:
        self.begin()
        limits = self.limits
        total = limits.total_duration
        if total is not None and total.applies(direction):
            window = self._window(total)
            if window.used_at(self.now, total.period_ms) >= total.value:
                return TOTAL, window.ends_in(self.now, total.period_ms)
        for why, limit in ((SUCCESS, limits.success_calls), (FAIL, limits.fail_calls)):
            if limit is not None and limit.applies(direction):
                window = self._window(limit)
                used = window.used_at(self.now, limit.period_ms)
                if used >= limit.value:
                    return why, window.ends_in(self.now, limit.period_ms)
                if used + self.pending(limit) >= limit.value:
                    return why, -1
        if limits.lines is not None and len(self.calls) >= limits.lines.value:
            return LINES, -1
        # Half a ms more, and so noticed in the next one.
        self.calls[lease] = Call(direction, False, self.now + self.lease_ms + tentative, tentative)
        return 0

    def answered(self, lease: str) -> tuple[int, int]:
        self.begin()
        call = self.calls.get(lease)
        if call is not None and not call.talking:
            call.talking, call.expires = True, self.now + self.lease_ms
            self._touch(self.limits.success_calls, call.direction, self.now)
            total = self.limits.total_duration
            if total is not None and total.applies(call.direction):
                self._window(total).open_at(self.now, total.period_ms)
        return self.exhausts_in(), int(call is not None)

    def ended(self, lease: str, outcome: Outcome) -> tuple[int, int]:
        self.begin()
        call = self.calls.get(lease)
        if call is None or (not call.talking and outcome == "success"):
            return self.exhausts_in(), 0
        del self.calls[lease]
        if not call.talking and outcome == "fail":
            self._touch(self.limits.fail_calls, call.direction, self.now)
        return self.exhausts_in(), 1

    def renew(self, leases: Sequence[str]) -> tuple[int, list[str]]:
        # Its leases first: one that lapsed, but that nobody noticed, lives on.
        for lease in leases:
            if lease in self.calls:
                self.calls[lease].expires = self.now + self.lease_ms
                self.calls[lease].tentative = False
        self.begin()
        return self.exhausts_in(), [lease for lease in leases if lease not in self.calls]

    def inherit(self, prefix: str, *, again: bool) -> tuple[int, set[tuple[str, str]]]:
        """Started again: attempts have failed, and what lasts is its own. Both: what lapsed, to one heir at a time."""
        self.begin()
        its = {lease: call for lease, call in self.calls.items() if lease.startswith(prefix)}
        found = {("held", lease) for lease, call in its.items() if again and call.talking}
        lasting = len(found) if again else len(its)
        for lease, call in its.items():
            if again and not call.talking:
                del self.calls[lease]
                self._touch(self.limits.fail_calls, call.direction, self.now)
        orphans = [lease for lease in self.lapsed if lease.startswith(prefix)]
        return lasting + len(orphans), found | {("lapsed", lease) for lease in orphans}

    def exhausts_in(self) -> int:
        """Lets time pass for a copy until the budget is used up: at most the rest of this window and the next one."""
        total = self.limits.total_duration
        if total is None or not self.talking(total):
            return -1
        running = self.talking(total)
        future = copy.deepcopy(self)
        for _ in range(2):
            window = future._window(total)
            assert window.start is not None
            end = window.start + total.period_ms
            left = max(0, -(-(total.value - window.used) // running))
            if future.now + left < end:
                return future.now + left - self.now
            future.now = end
            future._settle(end)
        return -1

    # Time

    def _settle(self, until: int) -> None:
        total = self.draining
        if total is not None:
            running = self.talking(total)
            window = self._window(total)
            while running and self.settled <= until:
                window.open_at(self.settled, total.period_ms)
                assert window.start is not None
                upto = min(until, window.start + total.period_ms)
                window.used += running * (upto - self.settled)
                if upto == self.settled:
                    break
                self.settled = upto
        self.settled = max(self.settled, until)

    def _touch(self, limit: Limit | None, direction: Direction, at: int) -> None:
        if limit is not None and limit.applies(direction):
            window = self._window(limit)
            window.open_at(at, limit.period_ms)
            window.used += 1

    def _window(self, limit: Limit) -> Window:
        return self.windows.setdefault(limit.counter, Window())
