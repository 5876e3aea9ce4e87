"""The limiter: one leg's lease asked of the store, answered, renewed and given back, without a task or a future.

What is asked here is answered through LimiterUser, in a later turn of the loop than the question. An answer or an end
is never lost: it reaches the store through its script; or, when the store did not know the lease (it had lapsed, or
the call was admitted while the store was away), through late-8.lua; or through the spool, when the store is away.

Not here: which limits are in force (resolve.py), and what a call does when the store is away (the engine decides).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from policies import keys
from policies.account import Limits
from policies.counters import StoreCounters
from policies.held import Asker, Held, Payer
from policies.heritage import Heritage, Inherited
from policies.lease import Leg, Outcome
from policies.limiteruser import LimiterUser
from policies.notices import Notices
from policies.payers import Payers
from policies.places import Places
from policies.registrations import RegisterRequest, Registrations, texts
from policies.renewal import Renewal
from policies.scripts import Scripts, shipped_scripts
from policies.settlement import Settlement
from policies.spool import Spool
from policies.store import NO_REPLY, ignored
from policies.stores import store_of
from policies.turns import Turns
from policies.verdicts import Admitted, Unavailable, admission_refused

PAYERS_MAX: Final = 20_000
"""Payers remembered without a call of theirs being up, some 1 kB each: then all such are forgotten."""

ERROR_PAUSE_S: Final = 10.0
"""The same error of the store is told once in so long."""

_BINDINGS: Final = keys.bulk(b"aor")
_NONCE: Final = keys.bulk(b"nonce")

_OUTCOMES: Final = {outcome: keys.bulk(outcome.value.encode()) for outcome in Outcome}
_SUCCESS: Final = Outcome.SUCCESS
_SUCCESS_PACKED: Final = _OUTCOMES[Outcome.SUCCESS]


class Limiter:
    """Asks the store for leases and keeps them alive. All methods but `close` return at once."""

    def __init__(
        self,
        user: LimiterUser,
        counters: StoreCounters,
        *,
        url: str,
        instance: str,
        run: str,
        deadline_s: float = 0.2,
        lease_s: float = 30.0,
        nonce_life_s: float = 300.0,
        contacts_max: int = 10,
        spool_path: Path,
        spool_size_max: int = 64 * 1024 * 1024,
        tell: Callable[[str], None] = lambda text: None,
        scripts: Scripts | None = None,
    ) -> None:
        """`url`: redis://, rediss:// or unix://. `instance`: our name among all instances (identity.py), the same
        at every start; `run`: another one at each. Leases begin with both. `tell`: a line for the log when the store
        comes, goes or errs.

        Raises: ValueError for a URL that is none, spool.SpoolError. Needs a running loop; `start` connects.
        """
        scripts = scripts or shipped_scripts()
        self._user = user
        self._counters = counters
        self._tell = tell
        self._heads = keys.Heads(scripts)
        self._asker = Asker(instance, round(lease_s * 1000))
        self._nonce_life = keys.number(round(nonce_life_s * 1000))
        self._loop = asyncio.get_running_loop()
        self._link = store_of(url, scripts, counters, self, deadline_s=deadline_s)
        self._spool = Spool(spool_path, spool_size_max, counters)
        self.turns = Turns(self._link, scripts, user.on_turn)
        self.places = Places(self._link, scripts, user.on_place)
        self._heritage = Heritage(
            self._link, scripts, counters, user, self._asker, instance, run, lease_s=lease_s, tell=tell
        )
        self._settlement = Settlement(
            self._link,
            self._spool,
            self._heads,
            counters,
            self._planned,
            self._lost,
            tell,
            # Of a call that our last run left the spool may know more than the store.
            left=self._heritage.left,
            passed=self._heritage.look_back,
        )
        self._renewal = Renewal(
            self._link,
            scripts,
            counters,
            self._settlement,
            self._planned,
            self._heritage.forget,
            lease_s=lease_s,
        )
        self.payers = Payers(self._link, scripts, self._asker)
        self._notices = Notices(url, self._noticed)
        self._registrations = Registrations(
            self._link, scripts, self._heads, user, nonce_life=self._nonce_life, contacts_max=contacts_max
        )
        self._untold: dict[str, Held] = {}
        """By lease: legs whose answer the store did not take in its turn."""
        self._last_error = ("", 0.0)
        """What it was, and until when it is not told again."""
        self._payers: dict[tuple[str, str], Payer] = {}
        self._payers_max = PAYERS_MAX

    @property
    def up(self) -> bool:
        """The store answers."""
        return self._link.up

    def start(self) -> None:
        """Connect, and renew from now on."""
        self._link.start()
        self._renewal.start()
        self._notices.start()
        self._heritage.start()

    async def close(self) -> None:
        """Outcomes that are under way reach the store, or the spool. Leases that are left lapse."""
        self._renewal.stop()
        self._heritage.stop()
        await self._notices.close()
        await self._link.close()
        self._spool.close()

    # Calls

    def admit(self, leg: Leg) -> None:
        """Take every limit of the leg, or none (SPEC §3). Answer: on_admission."""
        payer = self._payer(leg.limits)
        held = Held(leg, payer)
        if leg.nonce:
            head, extra = self._heads.admit_digest, keys.nonce_key(leg.limits.payer, leg.nonce)
            tail = _NONCE + keys.number(leg.nc) + self._nonce_life
        elif leg.aor:
            head, extra = self._heads.admit_callee, keys.bindings_key(leg.limits.payer, leg.aor)
            tail = _BINDINGS
        else:
            head, extra = self._heads.admit, payer.state_key
            tail = b""
        arguments = payer.packed_limits + self._asker.tentative_life if leg.tentative else payer.arguments
        packed = b"".join((head, payer.keys, extra, arguments, held.packed, tail))
        if not self._link.call(packed, self._admitted, held, self._admitted_late):
            self._loop.call_soon(self._undecided, held)

    def answered(self, leg: Leg, dialog: str = "") -> None:
        """The leg got its 2xx. Never lost: while the store is away it waits in the spool. Twice changes nothing.

        `dialog` is what another instance would need to end the call; of all legs of a call one has it.
        """
        held = self._held(leg)
        if held is None:
            return
        if held.answered_at is None:
            held.answered_at = self._loop.time()
        elif not dialog or dialog == held.dialog:
            return
        # Answered before, with another dialog: another call goes on with the lease.
        held.dialog = dialog
        payer = held.payer
        packed = b"".join(
            (
                self._heads.answered,
                payer.keys,
                held.dialog_key,
                payer.arguments,
                held.packed,
                keys.bulk(dialog.encode("latin-1")),
            )
        )
        if leg.unbacked or not self._link.call(packed, self._answer_counted, held):
            self._untold_yet(held)
            self._settlement.bring(held)

    def release(self, leg: Leg, outcome: Outcome) -> None:
        """Give the lease back with its outcome. Never lost. Twice changes nothing."""
        held = self._held(leg)
        if held is None:
            return
        payer = held.payer
        del payer.held[leg.lease]
        if not held.told:
            self._untold.pop(leg.lease, None)
        ended_at = self._loop.time()
        # Hashing a member of an Enum costs more than the rest of this, so the usual one goes without.
        last = _SUCCESS_PACKED if outcome is _SUCCESS else _OUTCOMES[outcome]
        packed = b"".join(
            (self._heads.ended, payer.keys, held.dialog_key, payer.arguments, held.packed, last)
        )
        over = (held, outcome, ended_at)
        if leg.unbacked or not self._link.call(packed, self._end_counted, over):
            self._settlement.bring(held, outcome, ended_at)

    def hold(self, leg: Leg, answered_ago: float, dialog: str) -> None:
        """Take up an answered leg of a call that an earlier run of this instance left, its lease with it."""
        answered_at = self._loop.time() - answered_ago
        held = Held(leg, self._payer(leg.limits))
        held.answered_at = answered_at
        held.dialog = dialog
        self._hold(held)
        held.admitted_at = answered_at
        self._renewal.renew_soon(held)

    def change(self, limits: Limits) -> None:
        """Other limits are in force for a payer with calls here. At once its budget is planned anew: on_budget."""
        self._renewal.plan_anew(self._payer(limits))

    def dialog_over(self, call: Inherited) -> None:
        """A call that was taken up without a lease has ended."""
        self._heritage.over(call)

    def _payer(self, limits: Limits) -> Payer:
        key = (limits.payer, limits.mode)
        payer = self._payers.get(key)
        if payer is None:
            if len(self._payers) >= self._payers_max:
                self._payers = {key: payer for key, payer in self._payers.items() if payer.held}
                self._payers_max = max(PAYERS_MAX, 2 * len(self._payers))
            payer = self._payers[key] = Payer(limits, self._asker)
        elif payer.limits is not limits and payer.limits != limits:
            payer.change(limits)
        return payer

    def _held(self, leg: Leg) -> Held | None:
        """None: never admitted, or given back before."""
        payer = self._payers.get((leg.limits.payer, leg.limits.mode))
        return payer.held.get(leg.lease) if payer is not None else None

    def _hold(self, held: Held) -> None:
        # Asked for anew, for the payer may have been forgotten while the question was under way.
        held.payer = self._payer(held.leg.limits)
        held.payer.held[held.leg.lease] = held
        held.admitted_at = self._loop.time()
        if not held.payer.queued:
            self._renewal.queue(held.payer)
            self._heritage.note(held.payer)
        before = held.leg.before
        if before is not None and (first := self._held(before)) is not None:
            self._renewal.renew_soon(first)

    def _admitted(self, held: Held, reply: Any) -> None:
        if reply is NO_REPLY:
            self._undecided(held)
            return
        leg = held.leg
        if type(reply) is int:
            self._counters.leases_lapsed += reply
            self._hold(held)
            self._user.on_admission(leg, Admitted(leg.lease))
        elif reply[0] == 0:
            self._counters.leases_lapsed += reply[1]
            self._hold(held)
            self._user.on_admission(leg, Admitted(leg.lease, texts(reply[2:])))
        else:
            self._counters.leases_lapsed += reply[2]
            self._user.on_admission(leg, admission_refused(leg.limits, reply[0], reply[1]))

    def _undecided(self, held: Held) -> None:
        leg, waiting = held.leg, held.payer.held
        # Held while the user makes up its mind, for it may let the call through and end it before it returns.
        waiting[leg.lease] = held
        self._user.on_admission(leg, Unavailable())
        if waiting.pop(leg.lease, None) is not None and leg.unbacked:
            self._hold(held)
            self._renewal.renew_soon(held)

    def _admitted_late(self, held: Held, reply: Any) -> None:
        """What was decided, or was not, after Unavailable was told: a lease that nobody wants is given back."""
        if held.leg.unbacked:
            return
        taken = type(reply) is int or (type(reply) is list and reply[0] == 0)
        if taken or reply is NO_REPLY:
            self._settlement.bring(held, Outcome.VOID, self._loop.time())

    def _answer_counted(self, held: Held, reply: Any) -> None:
        if reply is NO_REPLY:
            if held.leg.lease in held.payer.held:
                self._untold_yet(held)
            self._settlement.write_down(held)
            return
        self._counters.leases_lapsed += reply[3]
        if reply[2] == 0:
            self._settlement.bring(held)
        self._settlement.counted(held)
        self._planned(held.payer, reply)

    def _end_counted(self, over: tuple[Held, Outcome, float], reply: Any) -> None:
        if reply is NO_REPLY:
            self._settlement.write_down(*over)
            return
        self._counters.leases_lapsed += reply[3]
        if reply[2] == 0:
            self._settlement.bring(*over)
        self._settlement.counted(*over)
        self._planned(over[0].payer, reply)

    def _untold_yet(self, held: Held) -> None:
        """Its answer goes by the spool, for a later run of ours; others are told when the store is back."""
        held.told = False
        self._untold[held.leg.lease] = held

    def _planned(self, payer: Payer, reply: Sequence[int]) -> None:
        """reply: {now, ms until total_duration is used up or -1, …}."""
        if payer.limits.total_duration is None or not payer.held:
            return
        exhausts_in = reply[1] / 1000 if reply[1] >= 0 else None
        self._user.on_budget(payer.limits.payer, payer.limits.mode, exhausts_in, reply[0])

    # Other instances

    def _noticed(self, notice: str) -> None:
        """See keys.NOTICES."""
        kind, origin, key = notice.split(" ", 2)
        if origin == str(self._asker.number):
            return
        if kind == "reload":
            self._user.on_reload_wanted()
            return
        payer = self._payers.get(keys.payer_of(key))
        if payer is None or not payer.held:
            return
        if kind == "plan":
            self._renewal.ask(payer)
        else:
            self._renewal.renew_all(payer)

    def tell_others_to_reload(self) -> None:
        """Every other instance reads its files again, if the store can be reached."""
        notice = f"reload {self._asker.number} -".encode()
        self._link.plain(keys.command(b"PUBLISH", keys.NOTICES.encode(), notice), ignored, None)

    def _lost(self, held: Held) -> None:
        held.payer.held.pop(held.leg.lease, None)
        self._user.on_lease_lost(held.leg)

    # Accounts

    def register(self, ask: RegisterRequest) -> None:
        """See Registrations.register."""
        self._registrations.register(ask)

    def bindings(self, payer: str, aor: str, user: object) -> None:
        """See Registrations.bindings."""
        self._registrations.bindings(payer, aor, user)

    # User of the link

    def on_link_up(self) -> None:
        self._tell("the store answers")
        self._renewal.catch_up()
        self._settlement.on_link_up()
        untold, self._untold = self._untold, {}
        for held in untold.values():
            if not held.told:
                self._untold_yet(held)
                self._settlement.bring(held)
        self._heritage.on_link_up()

    def on_link_down(self, why: str) -> None:
        self._tell(f"the store is away: {why}")

    def on_link_error(self, text: str) -> None:
        # A store in trouble errs at every command; its words are the same but for a key or a number.
        kind, now = text[:24], self._loop.time()
        if kind != self._last_error[0] or now >= self._last_error[1]:
            self._last_error = (kind, now + ERROR_PAUSE_S)
            self._tell(f"the store: {text}")
