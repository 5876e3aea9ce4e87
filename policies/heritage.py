"""What an instance leaves when it dies: who notices, and who takes its calls up (SPEC §5).

Each instance says that it lives (lua/beat-1.lua) and keeps a list of the payers it may hold leases of. When it starts,
it looks at the list its last run has left: calls whose leases still last are its own again, leases and all. When it has
been silent for longer than any lease of it lasts, another instance goes through its list. Such calls hold no line any
more and their talk is settled; they are taken up without a lease, for one thing only: to be cut when their limits say
so.

Not here: what an instance does with a call that it takes up (proxy/engine/takeover.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, cast

from policies import keys
from policies.account import Direction, Limits, Mode
from policies.counters import StoreCounters
from policies.held import Asker, Payer
from policies.scripts import Scripts
from policies.store import NO_REPLY, Store, ignored

BEAT: Final = 0.1
"""Part of a lease between two signs of life."""
CARE: Final = 0.3
"""Part of a lease for which the dead are left to whoever found them first."""
NOTED_BATCH: Final = 1_000
"""Members of a list in one command."""


class Inherited:
    """One answered call that another run left."""

    __slots__ = ("dialog", "direction", "exhausts_in", "held", "lease", "limits")

    def __init__(
        self,
        limits: Limits,
        direction: Direction,
        lease: str,
        dialog: str,
        held: bool,
        exhausts_in: float | None,
    ) -> None:
        self.limits = limits
        """In force now for the payer of the leg that the dialog was kept with."""
        self.direction: Direction = direction
        self.lease = lease
        self.dialog = dialog
        """As it was given to Limiter.answered."""
        self.held = held
        """Its lease lasts: Limiter.hold takes it. Else the call has none and is only to be cut."""
        self.exhausts_in = exhausts_in
        """Without a lease: seconds until the payer's total_duration would be used up if such calls still drained it."""


class Heir(Protocol):
    """Who takes calls up."""

    def limits_of_payer(self, payer: str, mode: Mode) -> Limits | None:
        """What is in force for a payer id; without a plan it is NoPlan.of_calls_left. None = nobody we know."""

    def on_inherited(self, call: Inherited) -> None:
        """A call to be taken up."""


class _Dead:
    """An instance whose list is gone through."""

    __slots__ = ("again", "instance", "lasting", "left")

    def __init__(self, instance: str, again: bool) -> None:
        self.instance = instance
        self.again = again
        """It is ourselves, started anew."""
        self.left = 0
        """Payers whose answer is awaited."""
        self.lasting = False
        """Something of it could not be looked at yet."""


class Heritage:
    """One for each limiter."""

    def __init__(
        self,
        store: Store,
        scripts: Scripts,
        counters: StoreCounters,
        heir: Heir,
        asker: Asker,
        instance: str,
        run: str,
        *,
        lease_s: float,
        tell: Callable[[str], None],
    ) -> None:
        self._store = store
        self._inherit = keys.evalsha(scripts.inherit, 5)
        self._counters = counters
        self._heir = heir
        self._asker = asker
        self._instance = instance
        self._since = keys.bulk(f"{instance}{run}".encode())
        """What leases of this run begin with."""
        self._index = keys.index_key(instance)
        self._period = BEAT * lease_s
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        life_ms, care_ms = round(lease_s * 1000), round(CARE * lease_s * 1000)
        self._beat = keys.evalsha(scripts.beat, 3) + b"".join(
            (
                keys.bulk(keys.INSTANCES),
                keys.bulk(instance.encode()),
                keys.number(life_ms),
                keys.number(care_ms),
            )
        )
        self._life_ms = b"%d" % life_ms
        self._claims: dict[str, bytes] = {}
        """By lease: keys that say that a call of the dead is ours to cut."""
        self._buried: set[str] = set()
        """Instances that were told of as gone."""
        self._noted: set[bytes] = set()
        """Members of our list that this run has put there."""
        self._looked_back = False
        self._unseen: list[bytes] = []
        """Members of our last run's list whose node of a Cluster was away."""
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Signs of life from now on."""
        self._timer = self._loop.call_later(self._period, self._tick)

    def stop(self) -> None:
        """No more of them. If our list still names somebody, the next run of this instance, or another, looks at it."""
        if self._timer is not None:
            self._timer.cancel()
        if not self._noted:
            self._strike_off(self._instance)

    def note(self, payer: Payer) -> None:
        """The payer has leases here."""
        member = _member(payer.limits.mode, payer.limits.payer)
        self._noted.add(member)
        self._write(b"SADD", member)

    def left(self, mode: str, payer: str) -> None:
        """Our last run had a call of this payer that its list need not name: the store was away."""
        if not self._looked_back:
            self._write(b"SADD", _member(mode, payer))

    def forget(self, payer: Payer) -> None:
        """It has none any more."""
        member = _member(payer.limits.mode, payer.limits.payer)
        self._noted.discard(member)
        self._write(b"SREM", member)

    def over(self, call: Inherited) -> None:
        """A call that was taken up without a lease has ended, or nobody here can end it."""
        limits = call.limits
        claim = keys.heir_key(limits.payer, limits.mode, call.lease)
        self._claims.pop(call.lease, None)
        dialog = keys.dialog_key(limits.payer, limits.mode, call.lease)
        self._store.plain(b"*3\r\n" + keys.bulk(b"DEL") + dialog + keys.bulk(claim), ignored, None)

    def on_link_up(self) -> None:
        """The store answers."""
        self._say_alive()

    def look_back(self) -> None:
        """At the list of our last run, once; later at those that could not be looked at then."""
        ours = _Dead(self._instance, again=True)
        if not self._looked_back:
            self._looked_back = self._go_through(ours)
        elif self._unseen:
            unseen, self._unseen = self._unseen, []
            self._look_at(ours, unseen)

    def _write(self, command: bytes, *members: bytes) -> None:
        self._store.plain(keys.command(command, self._index, *members), ignored, None)

    def _tick(self) -> None:
        self._timer = self._loop.call_later(self._period, self._tick)
        self.look_back()
        self._say_alive()

    def _say_alive(self) -> None:
        self._store.call(self._beat, self._said, None)
        self._store.plain(keys.command(b"SCARD", self._index), self._counted, len(self._noted))
        for claim in self._claims.values():
            self._store.plain(keys.command(b"PEXPIRE", claim, self._life_ms), ignored, None)

    def _said(self, _context: Any, reply: Any) -> None:
        for instance in reply if isinstance(reply, list) else ():
            name = instance.decode()
            if name not in self._buried:
                self._buried.add(name)
                self._tell(f"the instance {name} is gone; its calls are looked after")
            self._go_through(_Dead(name, again=False))

    def _counted(self, expected: int, reply: Any) -> None:
        """Our list is too short where the store came back empty, or was not told of whom we got leases while away."""
        if reply is NO_REPLY or reply >= expected:
            return
        noted = list(self._noted)
        for first in range(0, len(noted), NOTED_BATCH):
            self._write(b"SADD", *noted[first : first + NOTED_BATCH])

    def _go_through(self, dead: _Dead) -> bool:
        """False: the store does not take the question."""
        return self._store.plain(keys.command(b"SMEMBERS", keys.index_key(dead.instance)), self._listed, dead)

    def _listed(self, dead: _Dead, reply: Any) -> None:
        if reply is NO_REPLY:
            # Others, or we ourselves, find it again when CARE is over; our own list when the store is back.
            self._looked_back = self._looked_back and not dead.again
            return
        self._look_at(dead, reply)

    def _look_at(self, dead: _Dead, members: Sequence[bytes]) -> None:
        for member in members:
            mode, _, payer = member.decode().partition(" ")
            limits = self._heir.limits_of_payer(payer, cast(Mode, mode))
            if limits is None:
                continue
            packed = b"".join(
                (
                    self._inherit,
                    keys.call_keys(payer, mode),
                    keys.limit_arguments(limits, self._asker.number),
                    self._asker.life,
                    keys.bulk(dead.instance.encode()),
                    self._since if dead.again else keys.bulk(b""),
                )
            )
            if self._store.call(packed, self._found, (dead, limits, member)):
                dead.left += 1
            else:
                self._not_seen(dead, member)
        if not dead.left:
            self._done(dead)

    def _found(self, context: tuple[_Dead, Limits, bytes], reply: Any) -> None:
        dead, limits, member = context
        dead.left -= 1
        if reply is NO_REPLY:
            self._not_seen(dead, member)
        else:
            _, exhausts_in, lapsed, lasting = reply[:4]
            self._counters.leases_lapsed += lapsed
            dead.lasting = dead.lasting or lasting > 0
            for at in range(4, len(reply), 4):
                kind, own, lease, dialog = reply[at : at + 4]
                self._counters.leases_taken_over += 1
                if kind == b"lapsed":
                    name = lease.decode()
                    self._claims[name] = keys.heir_key(limits.payer, limits.mode, name)
                self._heir.on_inherited(
                    Inherited(
                        limits,
                        "out" if own == 1 else "in",
                        lease.decode(),
                        dialog.decode("latin-1"),
                        kind == b"held",
                        exhausts_in / 1000 if exhausts_in >= 0 else None,
                    )
                )
            if dead.again and not lasting and member not in self._noted:
                self._write(b"SREM", member)
        if not dead.left:
            self._done(dead)

    def _not_seen(self, dead: _Dead, member: bytes) -> None:
        dead.lasting = True
        if dead.again:
            self._unseen.append(member)

    def _done(self, dead: _Dead) -> None:
        if dead.again or dead.lasting:
            # Our own list goes on as ours; and what still lasts of another's is looked at once more when CARE is over.
            return
        self._strike_off(dead.instance)

    def _strike_off(self, instance: str) -> None:
        self._buried.discard(instance)
        self._store.plain(keys.command(b"ZREM", keys.INSTANCES, instance.encode()), ignored, None)
        self._store.plain(keys.command(b"DEL", keys.index_key(instance)), ignored, None)


def _member(mode: str, payer: str) -> bytes:
    return f"{mode} {payer}".encode()
