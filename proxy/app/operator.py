"""What an operator can ask of a running callgate over the control socket: one row a request."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from ipaddress import ip_address, ip_network
from typing import Any

import structlog

from policies.account import Limits, Mode, NoPlan
from policies.catalog import Catalog
from policies.limiter import Limiter
from policies.payers import Usage
from policies.resolve import Explanation, explain, owner_and_member, resolve_payer
from policies.store import StoreSilent
from proxy.app.reload import Reloaded
from proxy.app.shown import call_shown, limits_shown, usage_shown
from proxy.driver import Driver
from proxy.engine import trunks
from proxy.engine.call import Call
from proxy.engine.engine import Engine
from proxy.engine.events import Hangup, Unban
from proxy.ops.http import BadRequest, Requests

MODES: tuple[Mode, ...] = ("softphone", "gateway")


class Operator:
    """One for each Server."""

    def __init__(
        self, engine: Engine, driver: Driver, limiter: Limiter, reload: Callable[[], Awaitable[Reloaded]]
    ) -> None:
        self._engine = engine
        self._driver = driver
        self._limiter = limiter
        self._reload = reload
        self._log = structlog.get_logger("callgate")

    def requests(self) -> Requests:
        """The table."""
        return {
            ("GET", "/calls"): self._calls,
            ("POST", "/hangup"): self._hangup,
            ("POST", "/reload"): self._reloaded,
            ("GET", "/registrations"): self._registrations,
            ("GET", "/trunks"): self._trunks,
            ("GET", "/bans"): self._bans,
            ("POST", "/unban"): self._unban,
            ("GET", "/payer"): self._payer,
            ("POST", "/release"): self._release,
        }

    def calls(self) -> list[dict[str, Any]]:
        """Live calls, oldest first."""
        now = time.monotonic()
        return [call_shown(call, now, self._engine.core.wall_offset) for call in self._engine.calls()]

    def hangup(self, call_id: str) -> int:
        """Cut every call with this Call-ID; how many there were."""
        found = len(self._engine.core.by_call_id.get(call_id, ()))
        if found:
            self._log.info("hangup by the operator", call_id=call_id)
            self._driver.feed(Hangup(call_id))
        return found

    async def _calls(self, _: Mapping[str, Any]) -> list[dict[str, Any]]:
        return self.calls()

    async def _hangup(self, body: Mapping[str, Any]) -> dict[str, int]:
        return {"calls": self.hangup(str(body["call_id"]))}

    async def _registrations(self, _: Mapping[str, Any]) -> list[dict[str, Any]]:
        return self._engine.registrations.shown(time.monotonic())

    async def _bans(self, _: Mapping[str, Any]) -> list[dict[str, Any]]:
        return self._engine.core.guard.shown(time.monotonic())

    async def _unban(self, body: Mapping[str, Any]) -> dict[str, int]:
        address = _canonical(str(body["address"]))
        guard, now = self._engine.core.guard, time.monotonic()
        before = len(guard.shown(now))
        self._driver.feed(Unban(address))
        self._log.info("unban by the operator", address=address or "all")
        return {"bans": before - len(guard.shown(now))}

    async def _trunks(self, _: Mapping[str, Any]) -> list[dict[str, Any]]:
        return trunks.shown(self._engine.core, time.monotonic())

    async def _reloaded(self, _: Mapping[str, Any]) -> dict[str, Any]:
        found = await self._reload()
        return {"reloaded": not found.problems, **asdict(found)}

    async def _payer(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """What a payer may, has used, and does now; by mode."""
        payer = str(body["payer"])
        now = time.time()
        catalog = self._catalog
        owner, member = owner_and_member(payer)
        if owner not in catalog.subscribers:
            raise BadRequest(f"there is no payer {payer}")
        shown: dict[str, Any] = {"payer": payer, "modes": {}}
        for mode in MODES:
            found = explain(catalog, owner, mode, now, member)
            shown["modes"][mode] = await self._shown(found, resolve_payer(catalog, payer, mode, now))
        return shown

    async def _shown(self, found: Explanation, limits: Limits | NoPlan) -> dict[str, Any]:
        shown = limits_shown(found)
        if isinstance(limits, NoPlan):
            return shown
        try:
            usage = await self._limiter.payers.usage(limits)
        except StoreSilent:
            return {**shown, "usage": None, "why": "the store does not answer"}
        return {**shown, "usage": usage_shown(limits, usage, self._by_lease(usage))}

    def _by_lease(self, usage: Usage) -> Mapping[str, Call]:
        """The calls among these that this instance carries."""
        ours = {leg.lease: call for call in self._engine.calls() for leg in call.legs}
        return {one.lease: ours[one.lease] for one in usage.leases if one.lease in ours}

    async def _release(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Clear one lease of a payer, or all: `call` is a lease as /payer shows it, or a Call-ID that runs here."""
        payer, call = str(body["payer"]), str(body.get("call", ""))
        if not call and body.get("all") is not True:
            raise BadRequest("name a call, or say all")
        modes = [mode for mode in MODES if mode == body.get("mode", mode)]
        leases = self._leases_of(call) if call else [""]
        released: list[str] = []
        for mode in modes:
            limits = resolve_payer(self._catalog, payer, mode, time.time())
            if isinstance(limits, Limits):
                released += await self._released(limits, leases)
        return {"released": released}

    def _leases_of(self, call: str) -> list[str]:
        calls = self._engine.core.by_call_id.get(call, ())
        return [leg.lease for one in calls for leg in one.legs] or [call]

    async def _released(self, limits: Limits, leases: list[str]) -> list[str]:
        try:
            return [one for lease in leases for one in await self._limiter.payers.release(limits, lease)]
        except StoreSilent:
            raise BadRequest("the store does not answer; nothing more was released") from None

    @property
    def _catalog(self) -> Catalog:
        return self._engine.core.snapshot.catalog


def _canonical(text: str) -> str:
    """An address or network, in whatever way it is written, as the guard writes it."""
    try:
        return str(ip_network(text) if "/" in text else ip_address(text))
    except ValueError:
        return text
