"""Turns among instances: which of them registers the accounts of a trunk (lua/turn-1.lua)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from policies import keys
from policies.scripts import Scripts
from policies.store import NO_REPLY, Store, ignored

_ARGUMENTS: Final = 2


class Turns:
    """Asks for turns and gives them away."""

    def __init__(self, link: Store, scripts: Scripts, told: Callable[[str, bool | None], None]) -> None:
        """`told(trunk, ours)` answers each `ask`, in a later turn of the loop; None = the store did not answer."""
        self._link = link
        self._head = keys.evalsha(scripts.turn, _ARGUMENTS)
        self._told = told
        self._loop = asyncio.get_running_loop()

    def ask(self, trunk: str, instance: str, life_s: float) -> None:
        """Is it this instance's turn, from now on for so long?"""
        if not self._link.call(self._packed(trunk, instance, round(life_s * 1000)), self._decided, trunk):
            self._loop.call_soon(self._decided, trunk, NO_REPLY)

    def give(self, trunk: str, instance: str) -> None:
        """Let another one have it. What does not reach the store lapses by itself."""
        self._link.call(self._packed(trunk, instance, 0), ignored, None)

    def _packed(self, trunk: str, instance: str, life_ms: int) -> bytes:
        return b"".join(
            (self._head, keys.turn_key(trunk), keys.bulk(instance.encode()), keys.number(life_ms))
        )

    def _decided(self, trunk: str, reply: Any) -> None:
        self._told(trunk, None if reply is NO_REPLY else reply == 1)
