"""How long running calls live: their limit, their sessions and dialogs (session.py, ping.py), replaces.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.reasons import Reason
from proxy.engine import ping, session, teardown

if TYPE_CHECKING:
    from proxy.engine.call import Call, Dialog, Handover
    from proxy.engine.core import Core
    from proxy.engine.ping import Ping
    from proxy.engine.watch import Watch


class Alive:
    """One for each engine."""

    __slots__ = ("_core",)

    def __init__(self, core: Core) -> None:
        self._core = core
        core.on_call_duration = self._on_call_duration
        core.on_orphan_due = self._on_orphan_due
        core.on_ack_overdue = self._on_ack_overdue
        core.on_session = self._on_session
        core.on_ping = self._on_ping
        core.on_replaced = self._on_replaced

    def _on_call_duration(self, call: Call, token: int, now: float) -> None:
        call.deadline = None
        teardown.cut(self._core, call, Reason.CALL_DURATION, now)

    def _on_orphan_due(self, due: tuple[Call, Reason], token: int, now: float) -> None:
        call, reason = due
        call.deadline = None
        teardown.cut(self._core, call, reason, now)

    def _on_ack_overdue(self, wait: tuple[Call, Dialog], token: int, now: float) -> None:
        teardown.ack_overdue(self._core, wait[0], wait[1], now)

    def _on_session(self, watch: Watch, token: int, now: float) -> None:
        if session.expired(self._core, watch, now):
            teardown.lost(self._core, watch, Reason.SESSION_EXPIRED, now)

    def _on_ping(self, watch: Watch, token: int, now: float) -> None:
        ping.due(self._core, watch, now)

    def _on_replaced(self, handover: Handover, token: int, now: float) -> None:
        # Cutting what has ended by itself, as it should have, changes nothing.
        handover.heir.heir_of = None
        teardown.cut(self._core, handover.donor, Reason.REPLACED, now)

    def pinged(self, user: Ping, status: int, now: float) -> None:
        """A ping's answer, 408 when there is none."""
        if status >= 200 and ping.answered(self._core, user, status):
            teardown.lost(self._core, user.watch, Reason.DIALOG_LOST, now)
