"""What the link to the store counts, and the histogram that every layer measures time with.

The histogram lives here because this is the rightmost layer that measures anything. Read at scrape by
proxy/ops/metrics.py; nothing here knows Prometheus.
"""

from __future__ import annotations

import enum
from bisect import bisect_left


class Histogram:
    """Counts of values in fixed buckets: one bisect and one addition for each value (about 0.15 µs)."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        """Upper bounds, ascending, inclusive; what is beyond the last one has a bucket of its own."""
        self.counts: list[int] = [0] * (len(bounds) + 1)
        """Values in each bucket, not cumulated."""
        self.total: float = 0.0
        """The sum of all values."""

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class BreakerState(enum.Enum):
    """Closed: commands pass. Open: none is tried. Half open: one is, to see. The value is a metric label."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class StoreError(enum.Enum):
    """Why a command to the store brought no answer. The value is a metric label."""

    DEADLINE = "deadline"
    CONNECTION = "connection"
    REPLY = "reply"  # an error reply: a script failed, read-only replica, out of memory
    BREAKER = "breaker"  # not even tried


# 50 µs is a Redis on a unix socket; 500 ms is beyond every sensible deadline.
ROUND_TRIP_BOUNDS_S = (50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 0.1, 0.2, 0.5)


class StoreCounters:
    """One for each process, bumped by the link and the limiter."""

    __slots__ = (
        "breaker",
        "errors",
        "leases_lapsed",
        "leases_renewed",
        "leases_taken_over",
        "nodes",
        "round_trip",
        "spool_bytes",
        "spool_bytes_max",
        "spool_dropped",
        "spool_records",
    )

    def __init__(self) -> None:
        self.round_trip = Histogram(ROUND_TRIP_BOUNDS_S)
        """Seconds from the turn a command was queued in to its reply."""
        self.errors: dict[StoreError, int] = dict.fromkeys(StoreError, 0)
        self.breaker = BreakerState.CLOSED
        """Of the one link there is; of a Cluster that is not known yet."""
        self.nodes: list[StoreCounters] = []
        """Of a Cluster's links, for their breakers: all else is counted here."""
        self.leases_renewed: int = 0
        self.leases_lapsed: int = 0
        """Leases found expired and settled by a script of ours."""
        self.leases_taken_over: int = 0
        self.spool_records: int = 0
        """Outcomes that wait on disk for the store to come back."""
        self.spool_bytes: int = 0
        self.spool_bytes_max: int = 0
        """Bytes at which the spool is full; 0 = no spool."""
        self.spool_dropped: int = 0
        """Outcomes lost because the spool was full: an alarm."""

    def of_node(self) -> StoreCounters:
        """For one link of several: a breaker of its own, all else counted here."""
        node = StoreCounters()
        node.round_trip, node.errors = self.round_trip, self.errors
        self.nodes.append(node)
        return node

    def breakers(self) -> list[BreakerState]:
        """One for each link."""
        return [node.breaker for node in self.nodes] or [self.breaker]

    def away(self) -> bool:
        """No link takes commands. One that does may serve a part of the payers only."""
        return all(state is not BreakerState.CLOSED for state in self.breakers())
