"""Whether running calls are alive: the timers and answers of session.py and ping.py, and what follows from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.reasons import Reason
from proxy.engine import ping, session, teardown

if TYPE_CHECKING:
    from proxy.engine.core import Core
    from proxy.engine.ping import Ping
    from proxy.engine.watch import Watch


class Alive:
    """One for each engine."""

    __slots__ = ("_core",)

    def __init__(self, core: Core) -> None:
        self._core = core
        core.on_session = self._on_session
        core.on_ping = self._on_ping

    def _on_session(self, watch: Watch, token: int, now: float) -> None:
        if session.expired(self._core, watch, now):
            teardown.lost(self._core, watch, Reason.SESSION_EXPIRED, now)

    def _on_ping(self, watch: Watch, token: int, now: float) -> None:
        ping.due(self._core, watch, now)

    def pinged(self, user: Ping, status: int, now: float) -> None:
        """A ping's answer, 408 when there is none."""
        if status >= 200 and ping.answered(self._core, user, status):
            teardown.lost(self._core, user.watch, Reason.DIALOG_LOST, now)
