"""The collector keeps out of the way, because calls leave it nothing to find; and looks when it is quiet."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.app import collector as module
from proxy.app.collector import QUIET_MAX, Collector
from tests.app.running import run, running, until, write_files


@pytest.fixture(autouse=True)
def _python_collects_again() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


def test_a_call_leaves_no_cycle(tmp_path: Path) -> None:
    """Or memory would grow for as long as a busy callgate runs: nothing but reference counting frees its calls."""

    async def main() -> None:
        async with running(
            write_files(tmp_path, timers="{drain_timeout: 5m, t1: 50ms, t2: 100ms, t4: 100ms}")
        ) as world:

            async def admitted() -> None:
                line, _ = await world.talk()
                assert await world.alice.hang_up(line) == 200

            async def refused() -> None:
                line, _ = await world.talk()
                final, _ = await world.alice.call(world.bob.address)
                assert final.status == 486
                assert await world.alice.hang_up(line) == 200

            async def cut() -> None:
                line, theirs = await world.talk()
                world.server.operator.hangup(line.call_id)
                await line.ended
                await theirs.ended

            # Once for what is made at first use.
            for story in (admitted, refused, cut):
                await story()
            gc.collect()
            gc.disable()
            for story in (admitted, refused, cut):
                await story()
            # Until every transaction and its timers are gone too: 64*T1.
            await until(lambda: world.server.load() == 0)
            assert gc.collect() == 0

    run(main())


class Node:
    """Garbage, once it holds itself."""

    made = 0

    def __init__(self) -> None:
        self.me = self
        Node.made += 1

    def __del__(self) -> None:
        Node.made -= 1


def test_garbage_waits_for_a_quiet_moment_or_until_it_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OBJECTS_EACH", 1)
    monkeypatch.setattr(module, "UNEXPLAINED_MAX", 10_000)

    async def main() -> None:
        load = QUIET_MAX + 1
        collector = Collector(lambda: load)
        assert not gc.isenabled()

        def left() -> int:
            collector._timer.cancel()
            collector._tick()
            return Node.made

        Node()
        assert left() == 1
        for _ in range(12_000):
            Node()
        assert left() == 0
        Node()
        assert left() == 1
        # As many objects, but calls explain them.
        calls = [[] for _ in range(12_000)]  # type: ignore[var-annotated]
        load = len(calls)
        assert left() == 1
        load = QUIET_MAX
        assert left() == 0
        collector.close()
        assert gc.isenabled()

    run(main())
