"""What is kept of a dialog that is watched for being alive: by session timers (session.py), by pings (ping.py).

A dialog has one only where either is configured; it ends with the call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.engine.call import CallState

if TYPE_CHECKING:
    from proxy.engine.call import Call, Dialog
    from proxy.engine.core import Core
    from proxy.sip.timers import TimerHandle


class Watch:
    """Of one confirmed dialog."""

    __slots__ = (
        "armed_at",
        "call",
        "dialog",
        "expires_at",
        "handle",
        "pinging",
        "unanswered_callee",
        "unanswered_caller",
    )

    def __init__(self, call: Call, dialog: Dialog) -> None:
        self.call: Call | None = call
        """None once it is over, for whatever timer still holds the watch."""
        self.dialog = dialog
        self.expires_at = 0.0
        """The session's expiration (RFC 4028 §8.2); 0 = it has none."""
        self.armed_at = 0.0
        self.handle: TimerHandle | None = None
        """Rings at `armed_at`, which may be before `expires_at`."""
        self.pinging = False
        self.unanswered_caller = 0
        """Pings in a row that the caller did not answer."""
        self.unanswered_callee = 0

    @property
    def live(self) -> bool:
        """There is still something to watch."""
        call = self.call
        return call is not None and call.state is CallState.ANSWERED and not self.dialog.over


def of(call: Call, dialog: Dialog) -> Watch:
    """The dialog's watch, made when it has none yet."""
    watch = dialog.watch
    if watch is None:
        watch = dialog.watch = Watch(call, dialog)
    return watch


def stop(core: Core, watch: Watch) -> None:
    """The call is over. Stopping twice changes nothing."""
    watch.call = None
    if watch.handle is not None:
        core.timers.cancel(watch.handle)
        watch.handle = None
