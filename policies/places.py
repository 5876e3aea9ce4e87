"""Places among `sip_accounts`, held while another registrar is asked (lua/hold-1.lua)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from policies import keys
from policies.account import Limits
from policies.options import limit_text
from policies.reasons import Reason
from policies.scripts import Scripts
from policies.store import NO_REPLY, Store, ignored
from policies.verdicts import PlaceHeld, PlaceVerdict, RegisterRefused, Unavailable

_ARGUMENTS: Final = 4


class Places:
    """Asks for places and gives them back."""

    def __init__(self, link: Store, scripts: Scripts, told: Callable[[object, PlaceVerdict], None]) -> None:
        """`told(user, verdict)` answers each `hold`, in a later turn of the loop."""
        self._link = link
        self._head = keys.evalsha(scripts.hold, _ARGUMENTS)
        self._told = told
        self._loop = asyncio.get_running_loop()

    def hold(self, account: str, limits: Limits, hold_s: float, user: object) -> None:
        """Take a place for the account for so long, if there is one."""
        most = limits.sip_accounts.value if limits.sip_accounts is not None else 0
        packed = self._packed(account, limits, most, round(hold_s * 1000), 0)
        asked = (limits, user)
        if not self._link.call(packed, self._decided, asked):
            self._loop.call_soon(self._decided, asked, NO_REPLY)

    def give_back(self, account: str, limits: Limits, place: PlaceHeld) -> None:
        """Whether it gets there or not: the place lapses by itself soon."""
        packed = self._packed(account, limits, -1, place.until_ms, place.before_ms)
        self._link.call(packed, ignored, None)

    def _packed(self, account: str, limits: Limits, most: int, ends: int, before: int) -> bytes:
        return b"".join(
            (
                self._head,
                keys.accounts_key(limits.payer, limits.mode),
                keys.number(most),
                keys.bulk(account.encode()),
                keys.number(ends),
                keys.number(before),
            )
        )

    def _decided(self, asked: tuple[Limits, object], reply: Any) -> None:
        limits, user = asked
        verdict: PlaceVerdict
        if reply is NO_REPLY:
            verdict = Unavailable()
        elif reply[0] < 0:
            verdict = RegisterRefused(Reason.SIP_ACCOUNTS, limit_text("sip_accounts", limits.sip_accounts))
        else:
            verdict = PlaceHeld(*reply)
        self._told(user, verdict)
