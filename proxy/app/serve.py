"""`callgate serve`: the process around a Server: logs, signals, the collector's settings, the exit code."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import structlog
import uvloop

from config.load import Loaded
from proxy.app.server import Server
from proxy.ops.lines import LineWriter
from proxy.ops.log import configure

STDERR = 2


def serve(loaded: Loaded, path: Path) -> None:
    """Run until SIGTERM or SIGINT, and drain. Raises: StartError.

    A second signal ends a drain at once. SIGHUP reads the files again.
    """
    writer = LineWriter(STDERR)
    try:
        configure(loaded.config.log, writer)
        uvloop.run(_serve(Server(loaded, path, writer)))
    finally:
        writer.close()


async def _serve(server: Server) -> None:
    loop = asyncio.get_running_loop()
    log = structlog.get_logger("callgate")
    stopping = asyncio.Event()
    hurry = asyncio.Event()
    reloading: set[asyncio.Task[bool]] = set()

    def on_stop() -> None:
        if stopping.is_set():
            hurry.set()
        stopping.set()

    def on_reload() -> None:
        if reloading or stopping.is_set():
            return
        task = loop.create_task(server.reload())
        reloading.add(task)
        task.add_done_callback(reloading.discard)

    # Before the start, so that a signal during it is neither lost nor deadly.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_stop)
    loop.add_signal_handler(signal.SIGHUP, on_reload)
    await server.start()
    try:
        _settle_collector()
        log.info("callgate runs", config=str(server.path))
        await stopping.wait()
        await _until_either(server.drain(), hurry.wait())
    finally:
        await server.stop()
    log.info("callgate has ended")


async def _until_either(one: Coroutine[Any, Any, object], other: Coroutine[Any, Any, object]) -> None:
    tasks = {asyncio.ensure_future(one), asyncio.ensure_future(other)}
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    for task in done:
        task.result()


def _settle_collector() -> None:
    """What was made by now (modules, plans, subscribers) stays; the collector need not look at it again.

    Calls and transactions are let go of by reference counting: no cycle is built on the way of a call. So collections
    find next to nothing, yet each full one walks every held call: 20,000 of them take 100 ms, an age for callers.
    Hence rarely: a young collection after 50,000 objects more than were freed, not 700.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
