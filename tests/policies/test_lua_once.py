"""However late, twice or out of order the store is told what calls did: at the end it has counted each thing once.

The truth is a list of calls with their times. The store learns of it through the prompt scripts and through
late-7.lua, from an instance that was cut off and from a spool that is replayed; leases lapse meanwhile (SPEC §5).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Literal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from policies import keys
from policies.account import Direction
from tests.policies.scripted import Outcome, Payer, limit, limits

LEASE_MS = 150
AGES_MS = 10**12
"""A window that does not end here: what belongs to which window is not the question."""
TARIFF = limits(
    total=limit("total_duration", AGES_MS - 1, AGES_MS, "both"),
    success=limit("success_calls", 10**6, AGES_MS, "both"),
    fail=limit("fail_calls", 10**6, AGES_MS, "both"),
)


@dataclass
class Truth:
    """One call."""

    direction: Direction
    unheard: bool
    answered_at: int | None = None
    ended_at: int | None = None
    outcome: Outcome | None = None

    def talk_ms(self, now: int) -> int:
        return (
            0
            if self.answered_at is None
            else (now if self.ended_at is None else self.ended_at) - self.answered_at
        )


Telling = Literal["prompt", "late", "later"]
"""How the store is told: by the prompt script, by late-7.lua at once, or not before somebody tells it again."""


class Owner:
    """An instance that knows the truth about its calls, and tells the store as well as it can."""

    def __init__(self, client: Redis) -> None:
        client.flushdb()
        self.payer = Payer(client, TARIFF, LEASE_MS)
        self.calls: dict[str, Truth] = {}

    @property
    def now(self) -> int:
        return self.payer.now

    def begin(self, direction: Direction, unheard: bool) -> None:
        lease = f"lease-{len(self.calls)}"
        if not unheard:
            assert self.payer.admit(lease, direction) == 0
        self.calls[lease] = Truth(direction, unheard)

    def answer(self, which: int, telling: Telling) -> None:
        open_ = [
            lease for lease, call in self.calls.items() if call.answered_at is None and call.outcome is None
        ]
        for lease in _pick(which, open_):
            call = self.calls[lease]
            call.answered_at = self.now
            if telling == "prompt" and not call.unheard:
                if self.payer.answered(lease, call.direction)[1] == 0:
                    self._late(lease, "lives")
            elif telling == "late":
                self._late(lease, "lives")

    def end(self, which: int, outcome: Outcome, telling: Telling) -> None:
        for lease in _pick(which, [lease for lease, call in self.calls.items() if call.outcome is None]):
            call = self.calls[lease]
            call.outcome = outcome if call.answered_at is None else "success"
            if call.outcome == "success" and call.answered_at is None:
                call.outcome = "fail"
            call.ended_at = self.now
            if telling == "prompt" and not call.unheard:
                if self.payer.ended(lease, call.outcome, call.direction)[1] == 0:
                    self._late(lease, call.outcome)
            elif telling == "late":
                self._late(lease, call.outcome)

    def tell_again(self, which: int, from_spool: bool) -> None:
        """Of any call: that it lives, that it was answered, or how it ended."""
        for lease in _pick(which, list(self.calls)):
            call = self.calls[lease]
            if from_spool and call.answered_at is not None:
                self._late(lease, "answered")
            elif call.outcome is not None:
                self._late(lease, call.outcome)
            else:
                self._late(lease, "lives")

    def renew(self, lost: set[int]) -> None:
        live = [lease for lease, call in self.calls.items() if call.outcome is None]
        kept = [lease for number, lease in enumerate(live) if number not in lost]
        outgoing = [lease for lease in kept if self.calls[lease].direction == "out"]
        incoming = [lease for lease in kept if self.calls[lease].direction == "in"]
        for lease in self.payer.renew(outgoing, incoming)[1]:
            self._late(lease, "lives")

    def pass_time(self, ms: int) -> None:
        self.payer.pass_time(ms)

    def look(self) -> None:
        """Anybody's script: lapsed leases are noticed."""
        self.payer.renew([])

    def settle(self) -> None:
        """The store is well again: everything is told once more."""
        for lease, call in self.calls.items():
            self._late(lease, call.outcome or "lives")
        self.renew(set())

    def _late(self, lease: str, what: Outcome | Literal["lives", "answered"]) -> None:
        call, now = self.calls[lease], self.now
        self.payer.late(
            lease,
            what,
            answered_ago=-1 if call.answered_at is None else now - call.answered_at,
            ended_ago=0 if call.ended_at is None else now - call.ended_at,
            unheard=call.unheard,
            direction=call.direction,
        )

    def check(self) -> None:
        client, prefix = self.payer.client, keys.mode_prefix("alice", "gateway")
        calls = self.calls.values()
        state: Any = client.get(prefix + "state")
        # Written, so brought up to the last change; the talk since then is still to come (lua/lib/payer.lua).
        _, t, _, _, talk_ms, _, failed, _, succeeded, _, _, _, _ = struct.unpack("<13d", state[:104])
        talking = sum(call.answered_at is not None and call.outcome is None for call in calls)
        assert succeeded == sum(call.answered_at is not None for call in calls)
        assert failed == sum(call.outcome == "fail" for call in calls)
        assert talk_ms + talking * (self.now - t) == sum(call.talk_ms(self.now) for call in calls)
        held = {
            name: {lease.decode() for lease in client.zrange(prefix + name, 0, -1)}  # type: ignore[union-attr]
            for name in ("po", "pi", "to", "ti")
        }
        assert held == {
            name: {
                lease
                for lease, call in self.calls.items()
                if call.outcome is None
                and name
                == ("p" if call.answered_at is None else "t") + ("o" if call.direction == "out" else "i")
            }
            for name in held
        }


def _pick(which: int, leases: list[str]) -> list[str]:
    return [leases[which % len(leases)]] if leases else []


_direction: st.SearchStrategy[Direction] = st.sampled_from(["out", "in"])
_outcome: st.SearchStrategy[Outcome] = st.sampled_from(["fail", "fail", "void"])
_telling: st.SearchStrategy[Telling] = st.sampled_from(["prompt", "late", "later"])
_which = st.integers(0, 9)

Step = tuple[Any, ...]
steps: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("begin"), _direction, st.booleans()),
    st.tuples(st.just("begin"), _direction, st.booleans()),
    st.tuples(st.just("answer"), _which, _telling),
    st.tuples(st.just("answer"), _which, _telling),
    st.tuples(st.just("end"), _which, _outcome, _telling),
    st.tuples(st.just("tell_again"), _which, st.booleans()),
    st.tuples(st.just("tell_again"), _which, st.booleans()),
    st.tuples(st.just("renew"), st.sets(_which, max_size=4)),
    st.tuples(st.just("pass_time"), st.integers(1, 100) | st.sampled_from([LEASE_MS - 1, LEASE_MS, 400])),
    st.tuples(st.just("look")),
)


@given(history=st.lists(steps, min_size=20, max_size=60))
@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_everything_is_counted_once(redis_client: Redis, history: list[Step]) -> None:
    owner = Owner(redis_client)
    owner.begin("out", unheard=False)
    for name, *arguments in history:
        getattr(owner, name)(*arguments)
    owner.settle()
    owner.check()
