"""Look-ups of names under way: each a task of its own, which is dear, but a name is asked for once a TTL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from proxy.engine.effects import AskName
from proxy.engine.events import NameFound
from proxy.net.resolve import Resolver


class Names:
    """Performs AskName."""

    def __init__(
        self, resolver: Resolver, feed: Callable[[NameFound], None], report: Callable[[AskName], None]
    ) -> None:
        """`feed` takes the answer, `report` the exception being handled."""
        self._resolver = resolver
        self._feed = feed
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def ask(self, effect: AskName) -> None:
        """The answer comes whatever happens."""
        task = self._loop.create_task(self._find(effect))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """No more answers."""
        for task in self._tasks:
            task.cancel()

    async def _find(self, effect: AskName) -> None:
        try:
            found = await self._resolver.find(effect.question)
        except Exception:
            self._report(effect)
            # Or whoever waits for the name would wait for ever.
            found = NameFound(effect.question, (), 1.0, True)
        self._feed(found)
