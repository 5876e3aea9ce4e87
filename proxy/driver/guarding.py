"""What the guard decided, done: addresses shut out and let in again, and lines that operators and fail2ban read.

The lines are part of the public face: config/fail2ban/filter.d/callgate.conf reads them, and a test holds the two
together. `address` stands before anything that a stranger may have written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from proxy.engine.effects import Shun, Suspicious, Unshun
from proxy.net.network import Network

WORDS = {
    "auth_failed": "authentication failed",
    "scanner": "scanner",
    "closed": "closed to strangers",
}


class Guarding:
    """Performs Shun, Unshun and Suspicious."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._log = structlog.get_logger("callgate.guard")

    def performers(self) -> dict[type, Callable[[Any], None]]:
        """For the driver."""
        return {Shun: self._shun, Unshun: self._unshun, Suspicious: self._suspicious}

    def _shun(self, effect: Shun) -> None:
        self._network.shun(effect.host)
        self._log.warning(
            "banned", address=effect.host, cause=effect.cause.value, seconds=round(effect.seconds)
        )

    def _unshun(self, effect: Unshun) -> None:
        self._network.unshun(effect.host)
        self._log.info("ban is over", address=effect.host)

    def _suspicious(self, effect: Suspicious) -> None:
        flow = effect.flow
        if flow is None:
            self._log.warning(WORDS[effect.kind], address=effect.named)
            return
        self._log.warning(
            WORDS[effect.kind], address=flow.host, transport=flow.transport.lower(), user=_bare(effect.named)
        )


def _bare(text: str) -> str:
    """A stranger wrote it: on one line, and nothing in it may command a terminal or pass for a field of ours."""
    shown = text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
    return shown.replace("=", "?").replace('"', "?")[:64]
