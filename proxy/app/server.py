"""A running callgate: everything made in the order in which it can fail, and ended in the reverse.

First what an operator gets wrong most often (addresses, the store), then the pure core, then what feeds it. Signals,
logging and the process itself are not here (proxy/app/serve.py), so the demonstration and tests run the same thing.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import structlog

from config.listen import HostPort, Tls
from config.load import Loaded
from config.schema import Config
from config.store_url import shown_store_url
from policies.catalog import Catalog, build
from policies.counters import StoreCounters
from policies.identity import identity
from policies.limiter import Limiter
from policies.spool import SpoolError
from proxy.app.operator import Operator
from proxy.app.reload import Reloaded, Reloads
from proxy.app.store import EmbeddedStore, StoreError
from proxy.driver import Driver, Pulse
from proxy.engine import trunks
from proxy.engine.call import CallState
from proxy.engine.engine import Engine
from proxy.engine.events import DrainStarted, Hangup, SnapshotChanged, Started, TimerFired
from proxy.engine.record import CallRecord
from proxy.engine.snapshot import Snapshot
from proxy.net.door import Door
from proxy.net.listen import Bound, ListenError, bind
from proxy.net.network import Network
from proxy.net.resolve import Resolver
from proxy.net.rtpengine import connect
from proxy.net.security import Security
from proxy.net.sink import NetCounters
from proxy.ops.cdr import members
from proxy.ops.http import HttpError, Services
from proxy.ops.lines import LineWriter
from proxy.ops.log import CallLog
from proxy.ops.metrics import Metrics

LINGER = 1.0
"""Seconds after the last call of a drain, for the answer to its BYE to pass."""

TEARDOWN_PATIENCE = 5.0
"""Seconds for the answers to our BYEs when a drain is over and calls are left; a dead phone takes longer (Timer F)."""

UNREGISTER_PATIENCE = 3.0
"""Seconds for registrars elsewhere to answer when registrations are taken back."""

STORE_PATIENCE = 5.0
"""Seconds for the last outcomes to reach the store."""

POLL = 0.05

STORE_ANSWERS = "the store answers"
"""The one good news among the limiter's lines."""

FIXED = (
    "listen",
    "advertise",
    "websocket",
    "processes",
    "store",
    "resolver",
    "metrics",
    "admin",
    "log",
    "cdr",
    "limits",
    "timers",
    "rtpengine",
)
"""Sections that are in force from start to end: sockets, files, and what is built to their size."""


class StartError(Exception):
    """callgate cannot run as it is configured. The text says what is in the way, for the operator."""


class Server:
    """One process's callgate. `start`, then `drain` (or not), then `stop`. Is the Health of its services."""

    engine: Engine
    driver: Driver
    limiter: Limiter
    metrics_of: Metrics
    operator: Operator

    def __init__(self, loaded: Loaded, path: Path, log_writer: LineWriter | None = None) -> None:
        """`path`: the file `loaded` came from, read again by `reload`. `log_writer`: None writes no line a call."""
        self.loaded = loaded
        self.path = path
        self.addresses: dict[str, tuple[str, int]] = {}
        """The first listener of each transport, as bound."""
        self.metrics_port = 0
        self.store_name = ""
        self._log_writer = log_writer
        self._log = structlog.get_logger("callgate")
        self._started = time.monotonic()
        self._store_counters = StoreCounters()
        self._net_counters = NetCounters()
        self._services = Services()
        self._bound: list[Bound] = []
        self._embedded: EmbeddedStore | None = None
        self._cdr: LineWriter | None = None
        self._writers: list[Callable[[CallRecord], None]] = []
        self._network: Network | None = None
        self._pulse: Pulse | None = None
        self._name = ""
        self._limiter_made = False
        self._draining = False
        self.reloads = Reloads(self)

    # Start and stop ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Returns once it takes calls, or will as soon as the store answers. Raises: StartError, all given back."""
        try:
            await self._start(self.loaded.config)
        except (ListenError, StoreError, HttpError, SpoolError) as error:
            await self.stop()
            raise StartError(str(error)) from None
        except BaseException:
            await self.stop()
            raise

    async def _start(self, config: Config) -> None:
        self._security = _security(config.tls, self._net_counters)
        self._bound = bind(config.listen, config.advertise)
        for bound in self._bound:
            self.addresses.setdefault(bound.local.transport, bound.sock.getsockname()[:2])
        url = config.store.url
        if url == "embedded":
            self._embedded = EmbeddedStore(config.store.data)
            await self._embedded.start()
            url = self._embedded.url
            self.store_name = f"a private one on {url}"
        else:
            self.store_name = shown_store_url(url)
        self._name = identity(config.store.spool.path)
        self._make_core(config)
        self._make_writers(config)
        self._make_limiter(config, url)
        self.operator = Operator(self.engine, self.driver, self.limiter, self.reload)
        await self._services.start_control(config.admin.socket, self.operator.requests())
        self.metrics_port = await self._services.start_metrics(config.metrics.listen, self)
        self.limiter.start()
        # Last, for from here on calls come.
        self._network = Network(
            self._bound,
            self.driver,
            self._net_counters,
            config.limits,
            self._security,
            config.websocket,
            self._door,
        )
        resolver = Resolver(
            config.resolver, {(bound.local.transport, bound.local.family) for bound in self._bound}
        )
        self.driver.attach(self.limiter, self._network, resolver)
        if config.rtpengine is not None:
            self.driver.relay = await connect(config.rtpengine, self._net_counters, self._log.warning)
        self._pulse = Pulse(
            self.driver, self._network, self.metrics_of.loop, config.limits.loop_lag_max, self._keep_time
        )
        await self._network.start()
        self.driver.on_reload = partial(self.reloads.soon, False)
        self.reloads.start()
        # The engine's first turn: registrations of our own begin.
        self.driver.feed(TimerFired())
        self.driver.feed(Started())
        self._tell(config)

    async def stop(self) -> None:
        """End everything, calls or not, and give every address back. Outcomes still under way reach the store first."""
        self.reloads.close()
        if self._pulse is not None:
            self._pulse.close()
        if self._network is not None:
            await self._network.close()
        else:
            for bound in self._bound:
                bound.sock.close()
        await self._services.close()
        if self._limiter_made:
            self.driver.close()
            try:
                async with asyncio.timeout(STORE_PATIENCE):
                    await self.limiter.close()
            except TimeoutError:
                self._log.error("the link to the store did not end in time and is cut")
        if self._embedded is not None:
            await self._embedded.stop()
        if self._cdr is not None:
            self._cdr.close()

    async def drain(self) -> None:
        """Take no new calls, and return when the running ones have ended, at the latest after `drain_timeout`.

        What runs then still is ended by us, with BYE to both sides: nobody would hold it to its limits any more.
        """
        self._draining = self.metrics_of.loop.draining = True
        self.driver.feed(DrainStarted())
        patience = self.loaded.config.timers.drain_timeout
        self._log.info("draining", calls=len(self.engine.core.calls), at_most_s=patience)
        # Taken back first, so that no call comes to a server that goes down.
        await _until(lambda: not self.engine.registrations.leaving, UNREGISTER_PATIENCE)
        if not self.engine.core.calls:
            return
        if not await self._calls_end(patience):
            self._log.warning(
                "drain_timeout is over; ending the calls that are left", calls=len(self.engine.core.calls)
            )
            self.end_calls()
            await self._calls_end(TEARDOWN_PATIENCE)
        await asyncio.sleep(LINGER)

    def end_calls(self) -> None:
        """Cut every call there is."""
        for call_id in tuple(self.engine.core.by_call_id):
            self.driver.feed(Hangup(call_id))

    async def _calls_end(self, patience: float) -> bool:
        return await _until(lambda: not self.engine.core.calls, patience)

    # Making -----------------------------------------------------------------------------------------------------------

    def _make_core(self, config: Config) -> None:
        # Without a secret of the service each start has its own, and clients are challenged anew: once.
        secret = config.auth.nonce_secret or secrets.token_hex(16)
        snapshot = Snapshot(config, build(self.loaded))
        self.engine = engine = Engine(
            snapshot,
            [bound.table for bound in self._bound],
            random.SystemRandom(),
            secrets.token_hex(4),
            secret.encode(),
            self._name,
        )
        self._keep_time()
        self.metrics_of = Metrics(
            engine.core.counters,
            engine.stack_counters,
            self._store_counters,
            self._net_counters,
            self._active,
            lambda: self.driver.failures,
            lambda: trunks.counted(engine.core),
        )
        self.metrics_of.registered_elsewhere = engine.registrations.counted
        self.metrics_of.banned = lambda: len(engine.core.guard.bans)
        self.metrics_of.unread = lambda: self._door.refused
        self.driver = Driver(
            engine, self.metrics_of.received, self.metrics_of.sent, self.metrics_of.calls, self._write_record
        )
        flood = config.guard.flood
        self._door = Door(flood.count if config.guard.enabled else 0, flood.period, self.driver.flooded)

    def _make_limiter(self, config: Config, url: str) -> None:
        store = config.store
        self.limiter = Limiter(
            self.driver,
            self._store_counters,
            url=url,
            instance=self._name,
            run=self.engine.core.instance,
            deadline_s=store.deadline,
            lease_s=store.lease,
            nonce_life_s=config.auth.nonce_life,
            contacts_max=config.limits.contacts_max,
            spool_path=store.spool.path,
            spool_size_max=store.spool.size_max,
            tell=self._tell_of_store,
        )
        self._limiter_made = True

    def _tell_of_store(self, text: str) -> None:
        tell = self._log.error if text.startswith("ALARM") else self._log.warning
        (self._log.info if text == STORE_ANSWERS else tell)(text)

    def _make_writers(self, config: Config) -> None:
        if self._log_writer is not None:
            self._writers.append(CallLog(config.log, self._log_writer).write)
        if config.cdr.file is None:
            return
        try:
            self._cdr = cdr = LineWriter(config.cdr.file)
        except OSError as error:
            raise StartError(f"cannot write the CDR file {config.cdr.file}: {error.strerror}") from None
        self._writers.append(
            lambda record: cdr.write(f"{{{members(record, self.engine.core.wall_offset, False)}}}")
        )

    def _write_record(self, record: CallRecord) -> None:
        for write in self._writers:
            write(record)

    def _keep_time(self) -> None:
        """The engine's clock is monotonic; plans and nonces go by the wall clock, which may be set while we run."""
        self.engine.core.wall_offset = time.time() - time.monotonic()

    # Health -----------------------------------------------------------------------------------------------------------

    def metrics(self) -> bytes:
        """Health."""
        self.metrics_of.loop.ready = not self.unready()
        return self.metrics_of.render()

    def unready(self) -> str:
        """Health."""
        if self._draining:
            return "draining"
        if self._network is None:
            return "starting"
        if self._store_counters.away() and self.loaded.config.store.on_store_failure == "refuse":
            return "the store does not answer"
        return ""

    def _active(self) -> Mapping[str, int]:
        held = (CallState.TRYING, CallState.ANSWERED)
        return Counter(call.record.mode for call in self.engine.calls() if call.state in held)

    def load(self) -> int:
        """Calls and transactions there are now."""
        stack = self.engine.stack_counters
        return len(self.engine.core.calls) + sum(stack.started) - sum(stack.ended)

    # Reload -----------------------------------------------------------------------------------------------------------

    async def reload(self, tell_others: bool = True) -> Reloaded:
        """Read the files again and go on with them; with the old ones when they hold a mistake."""
        return await self.reloads.now(tell_others)

    def reopen(self) -> None:
        """Reloadable: the CDR file may have been moved away (log rotation)."""
        if self._cdr is not None:
            self._cdr.reopen()

    def tell_others_to_reload(self) -> None:
        """Reloadable."""
        self.limiter.tell_others_to_reload()

    def go_on_with(self, loaded: Loaded, catalog: Catalog) -> Reloaded:
        """Reloadable: calls and all."""
        try:
            self._security.reload(loaded.config.tls)
        except OSError as error:
            return Reloaded((f"tls: {error}",))
        fixed = [name for name in FIXED if getattr(loaded.config, name) != getattr(self.loaded.config, name)]
        # What cannot change while we run stays as it is in force.
        config = loaded.config.model_copy(update={name: getattr(self.loaded.config, name) for name in FIXED})
        self.loaded = Loaded(config, loaded.plans, loaded.subscribers)
        self.driver.feed(SnapshotChanged(Snapshot(config, catalog)))
        payers = len(self.engine.core.running)
        return Reloaded((), len(loaded.plans), len(loaded.subscribers), payers, tuple(fixed))

    def _tell(self, config: Config) -> None:
        """Log where we are to be found."""
        for bound in self._bound:
            local = bound.local
            address = HostPort(*bound.sock.getsockname()[:2])
            told = f"{local.host}:{local.port}"
            self._log.info("listening", address=f"{local.transport.lower()}://{address}", told_as=told)
        self._log.info(
            "metrics", address=f"http://{HostPort(config.metrics.listen.host, self.metrics_port)}/metrics"
        )
        self._log.info("control", socket=str(config.admin.socket))
        self._log.info("store", address=self.store_name, on_store_failure=config.store.on_store_failure)


def _security(tls: Tls, counters: NetCounters) -> Security:
    try:
        return Security(tls, counters)
    except OSError as error:
        # The configuration was looked at before; the files have changed since.
        raise StartError(f"cannot use the files of `tls`: {error}") from None


async def _until(true: Callable[[], bool], patience: float) -> bool:
    deadline = time.monotonic() + patience
    while not true():
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(POLL)
    return True
