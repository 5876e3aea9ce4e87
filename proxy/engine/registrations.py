"""callgate as a registering client (RFC 3261 §10.2): accounts with `register:` are kept registered at their trunk.

Of several instances one has the turn for a trunk (a lease in the store, asked for again in time) and registers all of
its accounts; the others stand by. What has been registered is refreshed well before it expires, what failed is tried
again after a wait that doubles (RFC 5626 §4.5), and a drain takes the registrations back. While the store is away
whoever has the turn keeps it: nobody else can get it.

Not here: calls that come to such a registration (facts.py), challenges to those that go there (credentials.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from proxy.engine.attempt import Attempt, Registration, granted_by, outcome_of, send, targets_of
from proxy.engine.effects import AskTurn, GiveTurn
from proxy.engine.reach import OutageCause
from proxy.engine.results import Result, State
from proxy.sip.headers import parse_retry_after

if TYPE_CHECKING:
    from proxy.engine.core import Core
    from proxy.engine.events import TurnDecided
    from proxy.sip.flow import Flow
    from proxy.sip.message import Response
    from proxy.sip.timers import TimerHandle

BACKOFF = 30.0
BACKOFF_MAX = 1800.0
"""RFC 5626 §4.5: base-time and max-time of the wait after failures, in seconds."""
EARLY_MIN, EARLY_MAX = 0.75, 0.9
"""A refresh begins somewhere between these parts of the interval, so that a thousand accounts do not come at once."""
PER_SECOND = 50.0
"""Accounts that begin to register in one second."""
TURNS_IN_A_LIFE = 3
"""How often the turn is asked for within its life: one answer may be lost."""


class Turn:
    """One trunk's."""

    __slots__ = ("handle", "members", "ours", "trunk")

    def __init__(self, trunk: str) -> None:
        self.trunk = trunk
        self.ours = False
        self.members: dict[str, Registration] = {}
        """By user name there."""
        self.handle: TimerHandle | None = None


class Registrations:
    """All of it; one for each engine."""

    __slots__ = ("_core", "_leaving", "_turns")

    def __init__(self, core: Core) -> None:
        self._core = core
        self._turns: dict[str, Turn] = {}
        self._leaving: set[Registration] = set()
        """Taken back, and no answer yet."""

    # What there is to register ----------------------------------------------------------------------------------------

    def configure(self, now: float) -> None:
        """The accounts of the snapshot: new ones begin, those that are gone are taken back, changed ones both."""
        core = self._core
        if core.draining:
            return
        wanted = core.snapshot.catalog.registered
        for trunk in [name for name in self._turns if name not in wanted]:
            turn = self._turns.pop(trunk)
            self._leave(turn, now)
        for trunk, accounts in wanted.items():
            turn = self._turns.get(trunk) or self._turns.setdefault(trunk, Turn(trunk))
            for name, old in list(turn.members.items()):
                account = accounts.get(name)
                if account is not None and account.register == old.account.register:
                    old.account = account
                    continue
                del turn.members[name]
                self._take_back(old, now)
            for name, account in accounts.items():
                if name not in turn.members:
                    ids = core.ids
                    turn.members[name] = Registration(account, ids.call_id(), ids.tag())
            if turn.ours:
                self._begin(turn, now)
            elif turn.handle is None:
                turn.handle = core.timers.at(now, self._ask, turn, 0)

    def drain(self, now: float) -> None:
        """Take everything back, and let another instance have its turn."""
        for turn in self._turns.values():
            self._leave(turn, now)
        self._turns.clear()

    def connections(self, now: float) -> set[Flow]:
        """The connections that an account of ours is registered over: calls to it may come by them."""
        members = [
            one for turn in self._turns.values() for one in turn.members.values() if one.expires_at > now
        ]
        return {one.home for one in members if one.home is not None and one.home.reliable}

    @property
    def leaving(self) -> int:
        """Registrations that are being taken back."""
        return len(self._leaving)

    def _leave(self, turn: Turn, now: float) -> None:
        core = self._core
        if turn.handle is not None:
            core.timers.cancel(turn.handle)
            turn.handle = None
        for registration in turn.members.values():
            self._take_back(registration, now)
        if turn.ours:
            core.out.append(GiveTurn(turn.trunk))

    # Turns ------------------------------------------------------------------------------------------------------------

    def _ask(self, turn: Turn, token: int, now: float) -> None:
        core = self._core
        life = core.snapshot.config.store.lease
        core.out.append(AskTurn(turn.trunk, life))
        turn.handle = core.timers.at(now + life / TURNS_IN_A_LIFE, self._ask, turn, 0)

    def turn_decided(self, event: TurnDecided, now: float) -> None:
        """events.TurnDecided."""
        turn = self._turns.get(event.trunk)
        if turn is None or event.ours is None:
            if turn is None and event.ours:
                # Drained, or no longer configured, while it was asked.
                self._core.out.append(GiveTurn(event.trunk))
            return
        if event.ours and not turn.ours:
            turn.ours = True
            self._begin(turn, now)
        elif not event.ours and turn.ours:
            # Another instance has it: we were away for longer than the turn lasts. It registers them anew.
            turn.ours = False
            for registration in turn.members.values():
                self._silence(registration)
                registration.state = State.STANDBY
                registration.expires_at = 0.0
                registration.home = None

    def _begin(self, turn: Turn, now: float) -> None:
        rng = self._core.rng
        leaving = {(old.registering.trunk, old.registering.username) for old in self._leaving}
        waiting = [
            one
            for name, one in turn.members.items()
            if one.state is State.STANDBY and one.attempt is None and (turn.trunk, name) not in leaving
        ]
        for registration in waiting:
            registration.state = State.REGISTERING
            self._wait(registration, rng.random() * (len(waiting) - 1) / PER_SECOND, now)

    # One registration -------------------------------------------------------------------------------------------------

    def _wait(self, registration: Registration, seconds: float, now: float) -> None:
        registration.handle = self._core.timers.at(now + seconds, self._due, registration, 0)

    def _due(self, registration: Registration, token: int, now: float) -> None:
        registration.handle = None
        self._go(registration, registration.expires, now)

    def _go(self, registration: Registration, expires: int, now: float) -> None:
        """To each of the servers, until one answers."""
        registration.targets, registration.unsure = targets_of(self._core, registration), False
        self._send(registration, Attempt(expires), now)

    def _send(self, registration: Registration, attempt: Attempt, now: float) -> None:
        registration.attempt = attempt
        attempt.user = registration
        send(self._core, registration, attempt, partial(self._unsent, attempt), now)

    def _unsent(self, attempt: Attempt, now: float) -> None:
        """No flow leads there. Told by the timer, so that nothing fails while it is still being started."""
        self._core.timers.after(0.0, self._no_way, attempt, 0, now)

    def _no_way(self, attempt: Attempt, token: int, now: float) -> None:
        self.failed(attempt, 503, now)

    def on_response(self, attempt: Attempt, response: Response, flow: Flow, now: float) -> None:
        """A response to a REGISTER of ours."""
        registration = attempt.user
        if response.status < 200 or not isinstance(registration, Registration):
            return
        if registration.attempt is not attempt:
            return
        registration.status, registration.reason = response.status, response.reason
        following, result = outcome_of(self._core, registration, attempt, response, flow)
        if self._unwanted(registration, attempt):
            if following is None:
                self._core.counters.registrations[result] += 1
            self._answered_late(registration, attempt, result, now)
        elif following is not None:
            self._send(registration, following, now)
        elif result is Result.OK:
            self._registered(registration, attempt, response, now)
        else:
            self._not_registered(registration, attempt, result, response, now)

    def failed(self, attempt: Attempt, status: int, now: float) -> None:
        """No answer came, or it could not be sent."""
        registration = attempt.user
        if isinstance(registration, Registration) and registration.attempt is attempt:
            trunk = self._core.snapshot.catalog.trunks.get(registration.registering.trunk)
            if attempt.flow is not None and trunk is not None and trunk.block:
                # Or each refresh would wait for the same dead server.
                cause = OutageCause.TIMEOUT if status == 408 else OutageCause.TRANSPORT
                self._core.reach.bad(attempt.flow, cause, trunk.block, False, now)
            registration.status, registration.reason = (
                status,
                "no answer" if status == 408 else "no way there",
            )
            if self._unwanted(registration, attempt):
                self._core.counters.registrations[Result.UNREACHABLE] += 1
                self._answered_late(registration, attempt, Result.UNREACHABLE, now)
            else:
                self._not_registered(registration, attempt, Result.UNREACHABLE, None, now)

    def _registered(
        self, registration: Registration, attempt: Attempt, response: Response, now: float
    ) -> None:
        self._core.counters.registrations[Result.OK] += 1
        if attempt.flow is not None:
            self._core.reach.good(attempt.flow)
        registration.attempt = None
        registration.failures = 0
        if not attempt.expires:
            self._over(registration, now)
            return
        registration.home, registration.home_target = attempt.flow, attempt.target
        # RFC 3261 §10.2.4: the interval is the registrar's to say.
        seconds = granted_by(self._core, registration, attempt, response)
        if not seconds:
            # It says 200 and lists us as gone.
            self._retry(registration, None, now)
            return
        registration.state = State.REGISTERED
        registration.expires_at = now + seconds
        part = EARLY_MIN + (EARLY_MAX - EARLY_MIN) * self._core.rng.random()
        self._wait(registration, seconds * part, now)

    def _not_registered(
        self,
        registration: Registration,
        attempt: Attempt,
        result: Result,
        response: Response | None,
        now: float,
    ) -> None:
        if result is Result.UNREACHABLE:
            registration.unsure = registration.unsure or attempt.flow is not None
            if attempt.flow is registration.home:
                registration.home = None
            if attempt.ways:
                # RFC 3263 §4.3: the next server behind the same name.
                again = Attempt(attempt.expires, attempt.ways[0])
                again.target, again.ways = attempt.target, attempt.ways[1:]
                self._send(registration, again, now)
                return
            registration.targets = registration.targets[1:]
            if registration.targets:
                # The next of its servers, as for a call.
                self._send(registration, Attempt(attempt.expires), now)
                return
        self._core.counters.registrations[result] += 1
        registration.attempt = None
        if not attempt.expires:
            self._over(registration, now)
            return
        self._retry(registration, response, now)

    def _retry(self, registration: Registration, response: Response | None, now: float) -> None:
        """RFC 5626 §4.5: W = min(max-time, base-time * 2^failures), and of that something between half and all."""
        registration.state = State.FAILED
        longest = min(BACKOFF_MAX, BACKOFF * 2.0 ** min(registration.failures, 10))
        registration.failures += 1
        wait = longest * (0.5 + 0.5 * self._core.rng.random())
        asked = parse_retry_after(response.value("retry-after") or "") if response is not None else None
        if asked is not None:
            # RFC 3261 §20.33, bounded: nobody takes an account away for ever.
            wait = max(wait, min(BACKOFF_MAX, float(asked)))
        self._wait(registration, wait, now)

    # Taking back ------------------------------------------------------------------------------------------------------

    def _silence(self, registration: Registration) -> bool:
        """Nothing more of it leaves. Returns whether a REGISTER is under way.

        RFC 3261 §10.2: "UAs MUST NOT send a new registration … until they have received a final response from the
        registrar for the previous one or the previous REGISTER request has timed out."
        """
        if registration.handle is not None:
            self._core.timers.cancel(registration.handle)
            registration.handle = None
        if registration.attempt is not None and registration.attempt.flow is None:
            # Its name is still being looked up.
            registration.attempt = None
        return registration.attempt is not None

    def _take_back(self, registration: Registration, now: float) -> None:
        """RFC 3261 §10.2.2, where there is something to take back: it is registered, or may just be."""
        unsure = registration.attempt is not None and registration.unsure
        if not self._silence(registration):
            self._unregister(registration, unsure, now)
            return
        registration.state = State.UNREGISTERING
        self._leaving.add(registration)

    def _unwanted(self, registration: Registration, attempt: Attempt) -> bool:
        """To be taken back, or another instance's."""
        return attempt.expires > 0 and registration.state in (State.UNREGISTERING, State.STANDBY)

    def _answered_late(
        self, registration: Registration, attempt: Attempt, result: Result, now: float
    ) -> None:
        """A REGISTER that is not wanted any more has its final response, or has timed out."""
        registration.attempt = None
        if registration.state is State.STANDBY:
            self._begin_next(registration, now)
            return
        if result is Result.OK:
            registration.home, registration.home_target = attempt.flow, attempt.target
        self._unregister(registration, result is not Result.REJECTED or registration.unsure, now)

    def _unregister(self, registration: Registration, unsure: bool, now: float) -> None:
        """`unsure`: it may be registered, whatever `expires_at` says."""
        if not unsure and registration.expires_at <= now:
            self._over(registration, now)
            return
        registration.state = State.UNREGISTERING
        self._leaving.add(registration)
        self._go(registration, 0, now)

    def _over(self, registration: Registration, now: float) -> None:
        registration.state = State.GONE
        registration.expires_at = 0.0
        self._leaving.discard(registration)
        self._begin_next(registration, now)

    def _begin_next(self, before: Registration, now: float) -> None:
        """What waited for `before`, the same account's, may register now: nothing that comes late undoes it."""
        turn = self._turns.get(before.registering.trunk)
        if turn is None or not turn.ours:
            return
        registration = turn.members.get(before.registering.username)
        if registration is not None and registration.state is State.STANDBY:
            registration.state = State.REGISTERING
            self._wait(registration, 0.0, now)

    # What operators see -----------------------------------------------------------------------------------------------

    def counted(self) -> Mapping[State, int]:
        """How many registrations are in each state."""
        numbers = dict.fromkeys(State, 0)
        for registration in self._all():
            numbers[registration.state] += 1
        return numbers

    def shown(self, now: float) -> list[dict[str, Any]]:
        """Every registration, for an operator's eyes."""
        return [
            {
                "account": one.account.aor,
                "trunk": one.registering.trunk,
                "address": f"{one.registering.username}@{one.registering.domain}",
                "state": one.state.value,
                "expires_in_s": max(0, round(one.expires_at - now)) if one.expires_at else None,
                "status": one.status or None,
                "reason": one.reason,
                "failures": one.failures,
            }
            for one in self._all()
        ]

    def _all(self) -> list[Registration]:
        members = [one for turn in self._turns.values() for one in turn.members.values()]
        return [*members, *self._leaving]
