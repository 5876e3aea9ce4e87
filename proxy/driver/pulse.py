"""Ten times a second: how late the loop is, how full the sockets are, and whether that is overload.

Lag alone would not see it: a loop that is never late but always busy lets the kernel's receive buffer fill, and what
waits there waits as long. So overload is either mark crossed, and it ends when both have been under half of it for
a while (a gate that swings at each tick would refuse and admit in turns).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from proxy.driver.driver import Driver
from proxy.engine.events import OverloadChanged
from proxy.net.network import Network
from proxy.ops.counters import LoopCounters

PERIOD = 0.1

FILL_MAX = 0.5
"""Share of a receive buffer. Half of 8 MB is some 2,000 messages, 50 ms of work: far from T1 (500 ms), after which
callers begin to retransmit and make it worse."""

CALM_TICKS = 10
"""Ticks in a row under half of both marks that end an overload."""


class Pulse:
    """Starts with its making, on the running loop."""

    def __init__(
        self,
        driver: Driver,
        network: Network,
        counters: LoopCounters,
        lag_max: float,
        each_tick: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._driver = driver
        self._network = network
        self._counters = counters
        self._lag_max = lag_max
        self._each_tick = each_tick
        self._clock = clock
        self._calm = 0
        self._log = structlog.get_logger("callgate.driver")
        self._loop = asyncio.get_running_loop()
        self._expected = clock() + PERIOD
        self._timer = self._loop.call_later(PERIOD, self._tick)

    def close(self) -> None:
        self._timer.cancel()

    def _tick(self) -> None:
        now = self._clock()
        lag = max(0.0, now - self._expected)
        self._expected = now + PERIOD
        self._timer = self._loop.call_later(PERIOD, self._tick)
        self._counters.lag.observe(lag)
        fill = self._network.fill()
        self._counters.dropped = self._network.counters.dropped
        self._each_tick()
        self.judge(lag, fill)

    def judge(self, lag: float, fill: float) -> None:
        """Tell the engine when overload begins or ends. `lag` in seconds, `fill` 0 … 1."""
        counters = self._counters
        if lag > self._lag_max or fill > FILL_MAX:
            self._calm = 0
            if not counters.overloaded:
                counters.overloaded = True
                self._log.warning("overload begins", lag_ms=round(lag * 1000), buffer_fill=round(fill, 2))
                self._driver.feed(OverloadChanged(True))
        elif counters.overloaded:
            calm = lag < self._lag_max / 2 and fill < FILL_MAX / 2
            self._calm = self._calm + 1 if calm else 0
            if self._calm >= CALM_TICKS:
                counters.overloaded = False
                self._log.warning("overload is over")
                self._driver.feed(OverloadChanged(False))
