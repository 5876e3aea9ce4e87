"""The highest rate a peer takes with no failed call and no retransmission, found by steps."""

from __future__ import annotations

from collections.abc import Callable

from load.bench import bench
from load.peers import Peer

GROWTH = 1.25
PRECISION = 1.04  # the search ends when the lowest bad rate is at most this far above the highest good one
TRIES = 2  # a machine that stumbles once does not spoil a rate; a rate that is too high fails every time
RATE_MIN = 1.0
RATE_MAX = 20_000.0


def highest(
    peer: Peer, payers: int, start: float, seconds: float, say: Callable[[str], None], workers: int = 1
) -> float:
    """The highest good rate, calls a second; each rate is offered for `seconds`.

    Every try has a fresh peer, so that what one rate left behind does not burden the next.
    """

    def good(rate: float) -> bool:
        for _ in range(TRIES):
            with bench(peer, payers, workers) as up:
                wrong = up.try_rate(rate, seconds)
            say(f"{peer.name} {rate:.0f}/s: {wrong or 'good'}")
            if not wrong:
                return True
        return False

    return search(good, start)


def search(good: Callable[[float], bool], start: float) -> float:
    """The highest good rate within PRECISION: up from `start` by GROWTH (down, when it is not good), then halving the
    gap. 0 when none is good.
    """
    low, high = _bracket(good, start)
    while low and high / low > PRECISION:
        middle = (low * high) ** 0.5
        if good(middle):
            low = middle
        else:
            high = middle
    return low


def _bracket(good: Callable[[float], bool], start: float) -> tuple[float, float]:
    """(a good rate, the lowest known bad one above it)."""
    rate = start
    if good(rate):
        while rate < RATE_MAX and good(rate * GROWTH):
            rate *= GROWTH
        return rate, rate * GROWTH
    while rate > RATE_MIN:
        rate /= GROWTH
        if good(rate):
            return rate, rate * GROWTH
    return 0.0, start
