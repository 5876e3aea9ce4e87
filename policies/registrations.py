"""Registrations in the store: bindings of an address of record changed by one script, which holds sip_accounts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Protocol

from policies import keys
from policies.account import Limits
from policies.options import limit_text
from policies.reasons import Reason
from policies.scripts import Scripts
from policies.store import NO_REPLY, Store
from policies.verdicts import (
    Registered,
    RegisterOutOfOrder,
    RegisterRefused,
    RegisterVerdict,
    Replayed,
    Unavailable,
)

ACCOUNTS_FULL: Final = 1
REPLAYED: Final = 2
OUT_OF_ORDER: Final = 3
"""register-3.lua's numbers."""


class RegisterRequest(Protocol):
    """What a REGISTER asks of the store (proxy.engine.effects.RegisterAsk has this shape)."""

    @property
    def aor(self) -> str: ...
    @property
    def account(self) -> str: ...
    @property
    def limits(self) -> Limits: ...
    @property
    def call_id(self) -> str: ...
    @property
    def cseq(self) -> int: ...
    @property
    def contacts(self) -> Sequence[tuple[str, int, str]]: ...
    @property
    def remove_all(self) -> bool: ...
    @property
    def nonce(self) -> str: ...
    @property
    def nc(self) -> int: ...


class RegistrationsUser(Protocol):
    """Who is told what the store said."""

    def on_registered(self, ask: RegisterRequest, verdict: RegisterVerdict) -> None:
        """Answer to Registrations.register."""

    def on_bindings(self, bindings: list[str] | None, user: object) -> None:
        """Answer to Registrations.bindings; None = the store did not answer."""


class Registrations:
    """One for each limiter. Both methods return at once; the answer comes in a later turn of the loop."""

    def __init__(
        self,
        store: Store,
        scripts: Scripts,
        heads: keys.Heads,
        user: RegistrationsUser,
        *,
        nonce_life: bytes,
        contacts_max: int,
    ) -> None:
        self._store = store
        self._script = scripts.register
        self._head = heads.bindings
        self._user = user
        self._nonce_life = nonce_life
        self._contacts_max = contacts_max
        self._loop = asyncio.get_running_loop()

    def register(self, ask: RegisterRequest) -> None:
        """Query, change or remove bindings, all or nothing. Answer: on_registered."""
        payer, mode = ask.limits.payer, ask.limits.mode
        accounts_max = ask.limits.sip_accounts.value if ask.limits.sip_accounts is not None else 0
        parts = [
            keys.evalsha(self._script, 8 + 3 * len(ask.contacts)),
            keys.accounts_key(payer, mode),
            keys.bindings_key(payer, ask.aor),
            keys.nonce_key(payer, ask.nonce),
            keys.number(accounts_max),
            keys.bulk(ask.account.encode()),
            keys.bulk(ask.call_id.encode("latin-1")),
            keys.number(ask.cseq),
            keys.number(ask.nc if ask.nonce else 0),
            self._nonce_life,
            keys.number(self._contacts_max),
            keys.number(int(ask.remove_all)),
        ]
        for key, expires_s, record in ask.contacts:
            parts.append(keys.bulk(key.encode("latin-1")))
            parts.append(keys.number(expires_s * 1000))
            parts.append(keys.bulk(record.encode("latin-1")))
        if not self._store.call(b"".join(parts), self._registered, ask):
            self._loop.call_soon(self._registered, ask, NO_REPLY)

    def _registered(self, ask: RegisterRequest, reply: Any) -> None:
        verdict: RegisterVerdict
        if reply is NO_REPLY:
            verdict = Unavailable()
        elif reply[0] == 0:
            verdict = Registered(texts(reply[1:]))
        elif reply[0] == ACCOUNTS_FULL:
            verdict = RegisterRefused(
                Reason.SIP_ACCOUNTS, limit_text("sip_accounts", ask.limits.sip_accounts)
            )
        elif reply[0] == REPLAYED:
            verdict = Replayed()
        elif reply[0] == OUT_OF_ORDER:
            verdict = RegisterOutOfOrder()
        else:
            verdict = RegisterRefused(Reason.CONTACTS, str(self._contacts_max))
        self._user.on_registered(ask, verdict)

    def bindings(self, payer: str, aor: str, user: object) -> None:
        """Live contact records of an account. Answer: on_bindings."""
        packed = self._head + keys.bindings_key(payer, aor)
        if not self._store.call(packed, self._bindings_found, user):
            self._loop.call_soon(self._bindings_found, user, NO_REPLY)

    def _bindings_found(self, user: object, reply: Any) -> None:
        self._user.on_bindings(None if reply is NO_REPLY else texts(reply), user)


def texts(records: Sequence[bytes]) -> list[str]:
    """Binding records as they came from the store."""
    return [record.decode("latin-1") for record in records]
