"""What surrounds the parties of tests/fuzz/parties.py: the store, the names, the operator. Moves as theirs are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.reasons import Reason
from policies.verdicts import (
    PlaceHeld,
    PlaceVerdict,
    Registered,
    RegisterOutOfOrder,
    RegisterRefused,
    RegisterVerdict,
    Replayed,
    Unavailable,
)
from proxy.engine.events import (
    BindingsFound,
    BudgetPlanned,
    DrainStarted,
    Hangup,
    MediaAnswered,
    NameFound,
    OverloadChanged,
    PlaceDecided,
    RegisterDecided,
    SnapshotChanged,
    TurnDecided,
)
from proxy.engine.finding import Server
from tests.fuzz.contacts import bindings
from tests.fuzz.service import snapshot

if TYPE_CHECKING:
    from tests.fuzz.parties import Parties


def settle_elsewhere(parties: Parties, a: int, b: int, c: int) -> None:
    """Whose turn it is to register, and whether there is a place for who registers elsewhere."""
    soup = parties.soup
    if soup.places and (b & 1 or not soup.turns):
        held = PlaceHeld(1000 * (c & 1), 0)
        verdicts: tuple[PlaceVerdict, ...] = (
            held,
            held,
            RegisterRefused(Reason.SIP_ACCOUNTS, "1"),
            Unavailable(),
        )
        verdict = verdicts[c // 2 % 4]
        if verdict is held:
            soup.lent.append(held)
        soup.handle(PlaceDecided(soup.places.pop(a % len(soup.places)).user, verdict))
    elif soup.turns:
        soup.handle(TurnDecided(soup.turns.pop(), (True, True, False, None)[c % 4]))


def settle_store(parties: Parties, a: int, b: int, c: int) -> None:
    """An answer to whatever else was asked."""
    soup = parties.soup
    if soup.registers and b & 1:
        ask = soup.registers.pop(a % len(soup.registers))
        verdicts: tuple[RegisterVerdict, ...] = (
            Registered([record for _, expires, record in ask.contacts if expires]),
            Registered(bindings(parties.flows, b)),
            RegisterRefused(Reason.SIP_ACCOUNTS, "1"),
            RegisterOutOfOrder(),
            Replayed(),
            Unavailable(),
        )
        soup.handle(RegisterDecided(ask, verdicts[c % len(verdicts)]))
    elif soup.lookups and b & 2:
        user = soup.lookups.pop(a % len(soup.lookups))
        soup.handle(BindingsFound(None if c == 0 else bindings(parties.flows, c), user))
    elif soup.media and b & 4:
        asked = soup.media.pop(a % len(soup.media))
        soup.handle(MediaAnswered(asked, None if c % 4 == 0 else b"v=0 relayed"))
    elif soup.names:
        name = soup.names.pop(a % len(soup.names))
        found = [one for i, one in enumerate(("203.0.113.5", "2001:db8::5", "192.0.2.20")) if c >> i & 1]
        servers = [
            Server(i % 2, i, name.transport or "UDP", name.port or 5060, [address])
            for i, address in enumerate(found)
        ]
        soup.handle(NameFound(name, servers, 60, not found and bool(b & 4)))


def operate(parties: Parties, a: int, b: int, c: int) -> None:
    soup = parties.soup
    ids = [*soup.core.by_call_id, "unknown"]
    match b % 8:
        case 0 | 1 | 2:
            soup.handle(Hangup(ids[a % len(ids)]))
        case 3 | 4:
            key = [*soup.core.running, ("nobody", "gateway")][a % (1 + len(soup.core.running))]
            soup.handle(BudgetPlanned(*key, (None, 0.0, 0.5, 30.0)[c % 4], c))
        case 5 | 6:
            soup.handle(SnapshotChanged(snapshot(c % 2, soup.on_store_failure)))
        case _ if c > 250:
            soup.handle(DrainStarted())
        case _:
            soup.handle(OverloadChanged(c < 30))
