"""Overload begins at either mark, and ends only after a calm that lasts."""

from __future__ import annotations

from typing import cast

from proxy.driver import Driver, Pulse
from proxy.driver.pulse import CALM_TICKS, FILL_MAX
from proxy.engine.events import Event, OverloadChanged
from proxy.net.network import Network
from proxy.ops.counters import LoopCounters
from tests.net.tools import Net, run

LAG_MAX = 0.5


class Ear:
    """A driver that only listens."""

    def __init__(self) -> None:
        self.heard: list[bool] = []

    def feed(self, event: Event) -> None:
        assert isinstance(event, OverloadChanged)
        self.heard.append(event.on)


class Room:
    def __init__(self, network: Network | None = None) -> None:
        self.ear, self.counters = Ear(), LoopCounters()
        self.time = 100.0
        self.ticks = 0
        self.pulse = Pulse(
            cast(Driver, self.ear),
            cast(Network, network),
            self.counters,
            LAG_MAX,
            self.tick,
            lambda: self.time,
        )
        self.pulse._timer.cancel()

    def tick(self) -> None:
        self.ticks += 1


def test_either_mark_begins_it_once() -> None:
    async def main() -> None:
        for lag, fill in ((LAG_MAX * 1.1, 0.0), (0.0, FILL_MAX * 1.1)):
            room = Room()
            room.pulse.judge(LAG_MAX, FILL_MAX)
            assert room.ear.heard == []
            room.pulse.judge(lag, fill)
            room.pulse.judge(lag, fill)
            assert room.ear.heard == [True]
            assert room.counters.overloaded

    run(main())


def test_it_ends_after_a_calm_without_a_break() -> None:
    async def main() -> None:
        room = Room()
        room.pulse.judge(1.0, 1.0)
        for _ in range(CALM_TICKS - 1):
            room.pulse.judge(0.0, 0.0)
        # Under the mark but not under half of it: it may come back any moment.
        room.pulse.judge(LAG_MAX * 0.7, 0.0)
        for _ in range(CALM_TICKS - 1):
            room.pulse.judge(0.0, 0.0)
        assert room.ear.heard == [True]
        room.pulse.judge(0.0, 0.0)
        assert room.ear.heard == [True, False]
        assert not room.counters.overloaded

    run(main())


def test_a_late_tick_is_lag_and_lost_datagrams_are_shown() -> None:
    async def main() -> None:
        async with Net(("UDP", "127.0.0.1")) as net:
            net.network.counters.dropped_out = 3
            net.network.counters.dropped_in = 4
            room = Room(net.network)
            room.time += 0.1 + 2 * LAG_MAX
            room.pulse._tick()
            assert room.ear.heard == [True]
            assert abs(room.counters.lag.total - 2 * LAG_MAX) < 1e-9
            assert room.counters.dropped == 7
            assert room.ticks == 1
            room.pulse.close()

    run(main())
