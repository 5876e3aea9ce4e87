"""The files are read again while calls run: on SIGHUP, on `callgate reload`, or because another instance did.

With a mistake in them everything stays as it is. Who reads them by order of its own operator tells the other instances
of the service, and they read theirs; who was told tells nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import structlog

from config.load import ConfigErrors, Loaded, load
from policies.catalog import Catalog, build

AT_ONCE_MAX: Final = 2
"""One reads, and one waits to read what has changed since the first began; more would read the same again."""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """How it went."""

    problems: tuple[str, ...] = ()
    """Each mistake as `file:line: path: what is wrong`; then nothing has changed."""
    plans: int = 0
    subscribers: int = 0
    payers: int = 0
    """Payers with calls here, whose limits are looked at anew."""
    restart_only: tuple[str, ...] = ()
    """Sections that have changed and are in force with a restart only."""


class Reloadable(Protocol):
    """What is needed of a Server."""

    @property
    def path(self) -> Path: ...

    def reopen(self) -> None:
        """Open files anew that others may have moved away."""

    def go_on_with(self, loaded: Loaded, catalog: Catalog) -> Reloaded:
        """Use this from now on."""

    def tell_others_to_reload(self) -> None:
        """The other instances of the service."""


class Reloads:
    """One for each Server."""

    def __init__(self, server: Reloadable) -> None:
        self.on_done: Callable[[], None] = lambda: None
        """Called after each that succeeded."""
        self._server = server
        self._started = asyncio.Event()
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[Reloaded]] = set()
        self._log = structlog.get_logger("callgate")

    def start(self) -> None:
        """The server runs; what was asked for before is done now."""
        self._started.set()

    def soon(self, tell_others: bool) -> None:
        """By a signal or another instance's word: nobody waits for the result but the log."""
        if len(self._tasks) < AT_ONCE_MAX:
            task = asyncio.get_running_loop().create_task(self.now(tell_others))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def now(self, tell_others: bool) -> Reloaded:
        """Read the files and go on with them, or keep the old ones; one after the other."""
        await self._started.wait()
        async with self._turn:
            found = await self._reload()
        for problem in found.problems:
            self._log.error("not reloaded", problem=problem)
        if found.problems:
            return found
        if found.restart_only:
            self._log.warning(
                "these settings change with a restart only", settings=", ".join(found.restart_only)
            )
        self._log.info("reloaded", plans=found.plans, subscribers=found.subscribers, payers=found.payers)
        if tell_others:
            self._server.tell_others_to_reload()
        self.on_done()
        return found

    async def _reload(self) -> Reloaded:
        self._server.reopen()
        try:
            # Off the loop: a hundred thousand accounts take seconds to read.
            loaded, catalog = await asyncio.get_running_loop().run_in_executor(None, _read, self._server.path)
        except ConfigErrors as errors:
            return Reloaded(tuple(map(str, errors.problems)))
        return self._server.go_on_with(loaded, catalog)

    def close(self) -> None:
        """What waits is given up."""
        for task in self._tasks:
            task.cancel()


def _read(path: Path) -> tuple[Loaded, Catalog]:
    loaded = load(path)
    return loaded, build(loaded)
