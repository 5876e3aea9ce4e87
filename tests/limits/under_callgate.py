"""callgate under the suite: real processes on a private Redis."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from load.processes import Processes
from proxy.app.control import ask
from tests.e2e.net import PATIENCE_S, POLL_S, Net
from tests.e2e.service import DOMAIN, PASSWORD, Callgate, Settings, Tariff, settings_of
from tests.e2e.store import Store
from tests.faults.proxy import FaultProxy
from tests.limits.system import Address, Bought, Cdr
from tests.redis import private_redis

_CALLERS, _CALLEES, _SOFTPHONES, _NOBODY = Net.TRUSTED, Net.PROVIDERS, Net.SOFTPHONE, Net.PROVIDERS + 1
T1 = "100ms"
"""A silent side is given up after 64 of these: 6.4 s."""


def _settings(net: Net, url: str, host: int, store: Settings) -> Settings:
    settings = settings_of(net, url, host)
    trusted = settings["trunks"]["trusted"]
    callee = f"sip:{net.host(_CALLEES)}:{net.sip_port}"
    nobody = f"sip:{net.host(_NOBODY)}:{net.sip_port};transport=tcp"
    settings["trunks"] = {
        "trusted": trusted,
        "callee": {"targets": [callee]},
        "nobody": {"targets": [nobody]},
        "nobody-then-callee": {"targets": [nobody, callee]},
    }
    settings["routes"] = [
        {"match": "^1", "to": "callee"},
        {"match": "^2", "to": "nobody"},
        {"match": "^3", "to": "nobody-then-callee"},
    ]
    settings["store"].update(store)
    settings["timers"] = {"t1": T1, "t2": "1s", "drain_timeout": "1s"}
    settings["auth"]["nonce_secret"] = "the same on all"
    settings["log"]["level"] = "info"
    return settings


class CallgateInstance:
    """One `callgate serve`."""

    def __init__(self, service: Callgate) -> None:
        self.service = service
        self._cdrs: list[Cdr] = []
        self._read = 0

    @property
    def address(self) -> Address:
        return self.service.address()

    async def start(self) -> None:
        self.service.launch()
        await self._until("it takes calls", self.ready)

    def kill(self) -> None:
        self.service.kill()

    def drain(self) -> None:
        self.service.terminate()

    def ready(self) -> bool:
        return self.service.ready()

    async def hang_up(self, call_id: str) -> None:
        socket = self.service.folder / "admin.sock"
        answer = await asyncio.to_thread(ask, socket, "POST", "/hangup", {"call_id": call_id})
        assert answer["calls"] == 1, f"hangup {call_id}"

    async def reload(self) -> None:
        before = self._reloads()
        self.service.reload()
        await self._until("it has read its files again", lambda: self._reloads() > before)

    async def settled(self) -> None:
        metric, breaker = self.service.metric, "callgate_redis_breaker_state"
        await self._until("the store answers", lambda: metric(breaker, state="closed") == 1)
        await self._until("all is settled", lambda: metric("callgate_spool_records") == 0)

    def cdrs(self) -> list[Cdr]:
        """What is new is read; what was read before is kept."""
        path = self.service.folder / "cdr.jsonl"
        if path.exists():
            with path.open("rb") as file:
                file.seek(self._read)
                whole = file.read().rpartition(b"\n")[0]
            self._read += len(whole) + 1 if whole else 0
            self._cdrs += [_cdr(json.loads(line)) for line in whole.splitlines()]
        return self._cdrs

    def _reloads(self) -> int:
        return sum(line["event"] == "reloaded" for line in self.service.log())

    async def _until(self, what: str, true: Any) -> None:
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while not true():
            assert asyncio.get_running_loop().time() < deadline, f"{what}: not within {PATIENCE_S:g} s"
            await asyncio.sleep(POLL_S)


def _cdr(record: Mapping[str, Any]) -> Cdr:
    return Cdr(record["call_id"], tuple(record["payers"]), record["outcome"], record["duration_s"])


class UnderCallgate:
    """Made by `under_callgate`."""

    domain, password = DOMAIN, PASSWORD

    def __init__(self, net: Net, instances: list[CallgateInstance], store: Failing) -> None:
        self.callers: Address = net.host(_CALLERS), net.sip_port
        self.callees: Address = net.host(_CALLEES), net.sip_port
        self.softphones: Address = net.host(_SOFTPHONES), net.sip_port
        self.instances = instances
        self.store = store

    async def settled(self) -> None:
        for instance in self.instances:
            await instance.settled()

    def cdrs(self) -> list[Cdr]:
        return [cdr for instance in self.instances for cdr in instance.cdrs()]

    async def change(self, limits: Mapping[str, Mapping[str, str | int]]) -> None:
        for instance in self.instances:
            service = instance.service
            for customer, theirs in limits.items():
                service.tariffs[customer] = replace(service.tariffs[customer], limits=theirs)
            service.write()
        for instance in self.instances:
            await instance.reload()

    def alarms(self) -> list[str]:
        """What none of them may have said: an exception of its own, a lost outcome."""
        lines = [line for instance in self.instances for line in instance.service.log()]
        return [str(line) for line in lines if "Traceback" in str(line) or "ALARM" in str(line)]


class Failing:
    """The store's failures by name."""

    def __init__(self, store: Store, proxy: FaultProxy | None) -> None:
        self._store = store
        self._proxy = proxy

    def hangs(self) -> None:
        self._store.fails("hangs")

    def is_gone(self) -> None:
        self._store.fails("is-gone")

    def is_back(self) -> None:
        self._store.is_back()

    def is_slow(self, seconds: float) -> None:
        assert self._proxy is not None, "this system was not made slowable"
        self._proxy.delay_s = seconds

    def is_back_empty(self) -> None:
        self._store.is_back_empty()


@contextmanager
def _slowed(socket: Path, slowable: bool) -> Iterator[FaultProxy | None]:
    """A proxy in front of the store, on a loop and thread of its own: it is there before and after the scenes."""
    if not slowable:
        yield None
        return
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    proxy = FaultProxy(socket, socket.parent / "slow.sock")
    asyncio.run_coroutine_threadsafe(proxy.listen(), loop).result()
    try:
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(proxy.away(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def under_callgate(
    net: Net,
    folder: Path,
    customers: Mapping[str, Bought],
    *,
    instances: int = 2,
    first_host: int = 1,
    lease_s: float = 10.0,
    leases_s: Mapping[int, float] = MappingProxyType({}),
    deadline: str = "5s",
    on_store_failure: str = "refuse",
    slowable: bool = False,
) -> Iterator[UnderCallgate]:
    """Instances at hosts from `first_host` on, with a store of their own. `leases_s`: of some, by their number."""
    tariffs = {name: Tariff(bought.limits, mode="gateway") for name, bought in customers.items()}
    how = {"deadline": deadline, "on_store_failure": on_store_failure}
    with private_redis() as redis, _slowed(redis.socket, slowable) as proxy, Processes() as processes:
        url = proxy.url if proxy is not None else redis.url
        made = []
        for n in range(instances):
            lease = f"{leases_s.get(n, lease_s):g}s"
            settings = _settings(net, url, first_host + n, {**how, "lease": lease})
            service = Callgate(processes, folder / f"instance{first_host + n}", settings, tariffs)
            service.launch()
            made.append(CallgateInstance(service))
        for instance in made:
            instance.service.await_ready()
        system = UnderCallgate(net, made, Failing(Store(redis), proxy))
        try:
            yield system
        finally:
            for instance in made:
                # A drain would wait for calls that a case has left behind.
                if instance.service.child is not None:
                    instance.service.running.popen.send_signal(signal.SIGKILL)
