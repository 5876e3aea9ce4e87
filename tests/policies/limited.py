"""A limiter on a real Redis behind the fault proxy, its user, and what a test looks at."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop
from redis import Redis

from policies.account import Direction, Limits, Mode
from policies.counters import StoreCounters
from policies.heritage import Inherited
from policies.keys import mode_prefix
from policies.lease import Leg
from policies.limiter import Limiter
from policies.registrations import RegisterRequest
from policies.verdicts import AdmitVerdict, PlaceVerdict, RegisterVerdict, Unavailable
from tests.faults.proxy import FaultProxy
from tests.policies.linked import proxied, until
from tests.redis import PrivateRedis

HOUR = 3_600_000
DAY = 24 * HOUR

_serial = itertools.count(1)


def leg(
    limits: Limits,
    direction: Direction = "out",
    *,
    aor: str = "",
    nonce: str = "",
    nc: int = 0,
    lease: str = "",
) -> Leg:
    return Leg(
        lease=lease or f"lease-{next(_serial)}",
        limits=limits,
        direction=direction,
        account="alice@example.com",
        aor=aor,
        nonce=nonce,
        nc=nc,
        call=None,
    )


class Ask:
    """A RegisterRequest."""

    def __init__(
        self,
        limits: Limits,
        contacts: list[tuple[str, int, str]],
        *,
        aor: str = "a@x",
        cseq: int = 1,
        nc: int = 0,
    ) -> None:
        self.aor = self.account = aor
        self.limits = limits
        self.call_id = "call-1"
        self.cseq = cseq
        self.contacts = contacts
        self.remove_all = False
        self.nonce = "nonce" if nc else ""
        self.nc = nc


class User:
    """A LimiterUser that writes down what it is told. `admits`: lets calls through when the store is away."""

    def __init__(self, *, admits: bool = False) -> None:
        self.admits = admits
        self.verdicts: dict[str, AdmitVerdict] = {}
        self.budgets: list[float | None] = []
        self.registered: list[RegisterVerdict] = []
        self.found: list[list[str] | None] = []
        self.places: list[PlaceVerdict] = []
        self.turns: list[tuple[str, bool | None]] = []
        self.lost: list[Leg] = []
        self.reloads = 0
        self.known: dict[tuple[str, Mode], Limits] = {}
        self.inherited: list[Inherited] = []

    def on_admission(self, leg: Leg, verdict: AdmitVerdict) -> None:
        assert leg.lease not in self.verdicts, "decided twice"
        if isinstance(verdict, Unavailable) and self.admits:
            leg.unbacked = True
        self.verdicts[leg.lease] = verdict

    def on_budget(self, payer: str, mode: str, exhausts_in: float | None, version: int) -> None:
        assert (payer, mode) == ("alice", "gateway")
        self.budgets.append(exhausts_in)

    def on_lease_lost(self, leg: Leg) -> None:
        self.lost.append(leg)

    def on_reload_wanted(self) -> None:
        self.reloads += 1

    def limits_of_payer(self, payer: str, mode: Mode) -> Limits | None:
        return self.known.get((payer, mode))

    def on_inherited(self, call: Inherited) -> None:
        self.inherited.append(call)

    def on_registered(self, ask: RegisterRequest, verdict: RegisterVerdict) -> None:
        self.registered.append(verdict)

    def on_turn(self, trunk: str, ours: bool | None) -> None:
        self.turns.append((trunk, ours))

    def on_place(self, user: object, verdict: PlaceVerdict) -> None:
        self.places.append(verdict)

    def on_bindings(self, bindings: list[str] | None, user: object) -> None:
        self.found.append(bindings)


class Bench:
    """A limiter, its user, its store, and what stands between."""

    def __init__(
        self,
        limiter: Limiter,
        user: User,
        proxy: FaultProxy | None,
        counters: StoreCounters,
        admin: Redis,
    ) -> None:
        self.limiter = limiter
        self.user = user
        self._proxy = proxy
        self.counters = counters
        self.admin = admin
        self.told: list[str] = []

    @property
    def proxy(self) -> FaultProxy:
        assert self._proxy is not None, "nothing stands between"
        return self._proxy

    async def admit(self, one: Leg) -> AdmitVerdict:
        self.limiter.admit(one)
        assert one.lease not in self.user.verdicts, "answered in the same turn"
        await until(lambda: one.lease in self.user.verdicts)
        return self.user.verdicts[one.lease]

    def lines(self, mode: str = "gateway") -> dict[str, list[str]]:
        """Leases in the store by where they are, without asking a script."""
        prefix = mode_prefix("alice", mode)
        found: dict[str, list[str]] = {}
        for name in ("po", "pi", "to", "ti"):
            leases: Any = self.admin.zrange(prefix + name, 0, -1)
            if leases:
                found[name] = sorted(lease.decode() for lease in leases)
        return found

    async def away(self) -> None:
        await self.proxy.away()
        await until(lambda: not self.limiter.up)

    async def back(self) -> None:
        await self.proxy.listen()
        await until(lambda: self.limiter.up)


@asynccontextmanager
async def bench(redis: PrivateRedis, folder: Path, **options: Any) -> AsyncIterator[Bench]:
    """Behind the fault proxy. Options as of `bench_at`."""
    async with proxied(redis) as proxy:
        with redis.client() as admin:
            async with bench_at(proxy.url, admin, folder, proxy=proxy, **options) as made:
                yield made


@asynccontextmanager
async def bench_at(
    url: str,
    admin: Redis,
    folder: Path,
    *,
    proxy: FaultProxy | None = None,
    user: User | None = None,
    admits: bool = False,
    deadline_s: float = 0.5,
    lease_s: float = 30.0,
    instance: str = "00000001",
    run: str = "this run",
    spool_size_max: int = 1 << 20,
    known: dict[tuple[str, Mode], Limits] | None = None,
    up: bool = True,
) -> AsyncIterator[Bench]:
    """On a store of any kind. `up`: not before it answers."""
    user, counters, told = user or User(admits=admits), StoreCounters(), list[str]()
    user.known = known or {}
    limiter = Limiter(
        user,
        counters,
        url=url,
        instance=instance,
        run=run,
        deadline_s=deadline_s,
        lease_s=lease_s,
        contacts_max=2,
        spool_path=folder / "spool",
        spool_size_max=spool_size_max,
        tell=told.append,
    )
    limiter.start()
    made = Bench(limiter, user, proxy, counters, admin)
    made.told = told
    await until(lambda: limiter.up or not up)
    try:
        yield made
    finally:
        await limiter.close()


Case = Callable[[Bench], Coroutine[Any, Any, None]]
Play = Callable[..., None]
"""play(case, **options of bench)"""


def played(redis: PrivateRedis, folder: Path) -> Play:
    """What plays a case on a bench made with the given options."""

    def play(case: Case, **options: Any) -> None:
        async def main() -> None:
            async with bench(redis, folder, **options) as made:
                await case(made)

        uvloop.run(main())

    return play
