"""`callgate serve`: the process around a Server: logs, signals, the garbage collector."""

from __future__ import annotations

import asyncio
import resource
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import structlog
import uvloop

from config.load import Loaded
from proxy.app.collector import Collector
from proxy.app.server import Server
from proxy.ops.lines import LineWriter
from proxy.ops.log import configure

STDERR = 2
DESCRIPTORS_ELSE = 200
"""File descriptors for what is no connection of a client or neighbour: sockets, the store, logs, monitoring."""


def serve(loaded: Loaded, path: Path) -> None:
    """Run until SIGTERM or SIGINT, and drain. Raises: StartError.

    A second signal ends a drain at once. SIGHUP reads the files again.
    """
    writer = LineWriter(STDERR)
    try:
        configure(loaded.config.log, writer)
        _raise_descriptors(loaded.config.limits.connections_max + DESCRIPTORS_ELSE)
        uvloop.run(_serve(Server(loaded, path, writer)))
    finally:
        writer.close()


def _raise_descriptors(wanted: int) -> None:
    """Shells and systemd give a process 1,024 of them; beyond that connections break without a word."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < wanted:
        structlog.get_logger("callgate").warning(
            "too few file descriptors for limits.connections_max", wanted=wanted, limit=most
        )


async def _serve(server: Server) -> None:
    loop = asyncio.get_running_loop()
    log = structlog.get_logger("callgate")
    stopping = asyncio.Event()
    hurry = asyncio.Event()

    def on_stop() -> None:
        if stopping.is_set():
            hurry.set()
        stopping.set()

    def on_reload() -> None:
        if not stopping.is_set():
            server.reloads.soon(tell_others=True)

    # Before the start, so that a signal during it is neither lost nor deadly.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_stop)
    loop.add_signal_handler(signal.SIGHUP, on_reload)
    await server.start()
    collector = Collector(server.load)
    server.reloads.on_done = collector.settle
    try:
        log.info("callgate runs", config=str(server.path))
        await stopping.wait()
        await _until_either(server.drain(), hurry.wait())
    finally:
        collector.close()
        await server.stop()
    log.info("callgate has ended")


async def _until_either(one: Coroutine[Any, Any, object], other: Coroutine[Any, Any, object]) -> None:
    tasks = {asyncio.ensure_future(one), asyncio.ensure_future(other)}
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    for task in done:
        task.result()
