"""What the store says of payers, for a command that runs beside callgate or without it. It changes nothing there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from config.schema import Store as StoreSettings
from policies import keys
from policies.account import Limits
from policies.catalog import Account
from policies.counters import StoreCounters
from policies.held import Asker
from policies.payers import Payers, Usage
from policies.scripts import shipped_scripts
from policies.store import Store, StoreSilent, reply_of
from policies.stores import store_of
from proxy.app.store import EmbeddedStore

PATIENCE_S: Final = 2.0
"""For the store to answer at all."""
OTHER_COUNTERS: Final = (
    "its counters in the store are of other activations: callgate has not read these files yet, or nothing was asked "
    "of them since a plan started or ended"
)


class _Listener:
    """Is told how the link stands."""

    def __init__(self) -> None:
        self.up = asyncio.Event()
        self.trouble = "it does not answer"

    def on_link_up(self) -> None:
        self.up.set()

    def on_link_down(self, why: str) -> None:
        self.trouble = why

    def on_link_error(self, text: str) -> None:
        self.trouble = text


@dataclass(frozen=True, slots=True)
class Seen:
    """What the store said."""

    usages: Mapping[tuple[str, str], Usage | str]
    """By (payer, mode): its usage, or why it is not known."""
    contacts: int | None = None
    """Where the callee is registered now; None = not known."""


async def look(settings: StoreSettings, wanted: Sequence[Limits], callee: Account | None) -> Seen:
    """What these payers have used, and whether an account of ours that is called is registered."""
    if not wanted:
        return Seen({})
    url = EmbeddedStore(settings.data).url if settings.url == "embedded" else settings.url
    scripts, listener = shipped_scripts(), _Listener()
    link = store_of(url, scripts, StoreCounters(), listener, deadline_s=settings.deadline)
    payers = Payers(link, scripts, Asker("00000000", round(settings.lease * 1000)))
    link.start()
    try:
        async with asyncio.timeout(PATIENCE_S):
            await listener.up.wait()
        found: dict[tuple[str, str], Usage | str] = {
            (one.payer, one.mode): await _usage(link, payers, one) for one in wanted
        }
        return Seen(found, await _contacts(link, keys.Heads(scripts), callee) if callee is not None else None)
    except TimeoutError:
        why = f"the store cannot be asked: {listener.trouble}"
        return Seen({(one.payer, one.mode): why for one in wanted})
    finally:
        await link.close()


async def _usage(store: Store, payers: Payers, limits: Limits) -> Usage | str:
    command = b"*2\r\n" + keys.bulk(b"GET") + keys.state_key(limits.payer, limits.mode)
    try:
        state = await reply_of(store.plain, command)
        if state is not None and state[keys.STATE_BYTES :] != keys.counter_names(limits):
            # To ask the script all the same would put them in force.
            return OTHER_COUNTERS
        return await payers.usage(limits)
    except StoreSilent:
        return "the store does not answer"


async def _contacts(store: Store, heads: keys.Heads, callee: Account) -> int | None:
    command = heads.bindings + keys.bindings_key(callee.subscriber, callee.aor)
    try:
        return len(await reply_of(store.call, command))
    except StoreSilent:
        return None
