"""What an operator asks of the running proxy over its control socket (`callgate calls`, `hangup`, `trunks` …)."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from proxy.app.reload import Reloaded
from proxy.app.shown import shown
from proxy.driver import Driver
from proxy.engine import trunks
from proxy.engine.engine import Engine
from proxy.engine.events import Hangup


class Operator:
    """Is the Control of the services (proxy/ops/http.py)."""

    def __init__(self, engine: Engine, driver: Driver, reload: Callable[[], Awaitable[Reloaded]]) -> None:
        self._engine = engine
        self._reload = reload
        self._driver = driver
        self._log = structlog.get_logger("callgate")

    def calls(self) -> list[dict[str, Any]]:
        """Control."""
        now = time.monotonic()
        return [shown(call, now, self._engine.core.wall_offset) for call in self._engine.calls()]

    def registrations(self) -> list[dict[str, Any]]:
        """Control."""
        return self._engine.registrations.shown(time.monotonic())

    def hangup(self, call_id: str) -> int:
        """Control."""
        found = len(self._engine.core.by_call_id.get(call_id, ()))
        if found:
            self._log.info("hangup by the operator", call_id=call_id)
            self._driver.feed(Hangup(call_id))
        return found

    async def reload(self) -> Reloaded:
        """Control."""
        return await self._reload()

    def trunks(self) -> list[dict[str, Any]]:
        """Control."""
        return trunks.shown(self._engine.core, time.monotonic())
