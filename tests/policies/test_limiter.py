"""The limiter on a real Redis: verdicts, budgets, registrations, renewal."""

from __future__ import annotations

import asyncio
from typing import Any

from redis import Redis

from policies.keys import mode_prefix
from policies.lease import Outcome
from policies.reasons import Reason
from policies.verdicts import Admitted, Refused, Registered, RegisterOutOfOrder, RegisterRefused, Replayed
from tests.policies.limited import DAY, HOUR, Ask, Bench, Play, leg
from tests.policies.linked import until
from tests.policies.scripted import limit, limits


class TestVerdicts:
    def test_a_call_from_admission_to_its_end(self, play: Play) -> None:
        async def case(b: Bench) -> None:
            one = leg(limits(lines=1, total=limit("total_duration", 60_000, DAY, "both")))
            assert await b.admit(one) == Admitted(one.lease)
            assert b.lines() == {"po": [one.lease]}
            b.limiter.answered(one)
            await until(lambda: len(b.user.budgets) == 1)
            assert b.user.budgets == [60.0]
            assert b.lines() == {"to": [one.lease]}
            assert await b.admit(leg(one.limits)) == Refused(Reason.LINES, "1")
            b.limiter.release(one, Outcome.SUCCESS)
            assert isinstance(await b.admit(leg(one.limits)), Admitted)
            assert b.counters.spool_records == 0

        play(case)

    def test_a_refusal_says_which_limit_its_value_and_when_it_resets(self, play: Play) -> None:
        async def case(b: Bench) -> None:
            payer = limits(fail=limit("fail_calls", 1, HOUR), success=limit("success_calls", 1, 2 * HOUR))
            failing = leg(payer)
            await b.admit(failing)
            assert await b.admit(leg(payer)) == Refused(Reason.SUCCESS_CALLS, "1 per 2h")
            b.limiter.release(failing, Outcome.FAIL)
            refused = await b.admit(leg(payer))
            assert isinstance(refused, Refused)
            assert (refused.reason, refused.limit) == (Reason.FAIL_CALLS, "1 per 1h")
            assert refused.resets_in_ms is not None
            assert HOUR - 5_000 < refused.resets_in_ms <= HOUR

        play(case)

    def test_total_duration_used_up(self, play: Play) -> None:
        async def case(b: Bench) -> None:
            payer = limits(total=limit("total_duration", 1, DAY, "both"))
            one = leg(payer)
            await b.admit(one)
            b.limiter.answered(one)
            await until(lambda: b.user.budgets == [0.001])
            await asyncio.sleep(0.002)
            refused = await b.admit(leg(payer))
            assert isinstance(refused, Refused)
            assert (refused.reason, refused.limit) == (Reason.TOTAL_DURATION, "1ms per 1d")

        play(case)

    def test_replayed_nonce_count(self, play: Play) -> None:
        async def case(b: Bench) -> None:
            assert isinstance(await b.admit(leg(limits(), nonce="n", nc=1)), Admitted)
            assert await b.admit(leg(limits(), nonce="n", nc=1)) == Replayed()

        play(case)

    def test_the_callees_contacts_come_with_admission(self, play: Play) -> None:
        async def case(b: Bench) -> None:
            assert await b.admit(leg(limits(), "in", aor="a@x")) == Refused(Reason.NOT_REGISTERED)
            b.limiter.register(Ask(limits(), [("k", 60, "dësk\nphone")]))
            one = leg(limits(), "in", aor="a@x")
            assert await b.admit(one) == Admitted(one.lease, ["dësk\nphone"])
            assert b.lines() == {"pi": [one.lease]}
            b.limiter.bindings("alice", "a@x", None)
            b.limiter.bindings("alice", "nobody@x", None)
            await until(lambda: len(b.user.found) == 2)
            assert b.user.found == [["dësk\nphone"], []]

        play(case)

    def test_registrations(self, play: Play) -> None:
        async def case(b: Bench) -> None:
            payer = limits(accounts=1)
            for ask in (
                Ask(payer, [("k", 60, "one")], cseq=2, nc=1),
                Ask(payer, [("k", 60, "one")], cseq=3, nc=1),
                Ask(payer, [("k", 60, "one")], cseq=2),
                Ask(payer, [("k", 60, "one")], aor="b@x"),
                Ask(payer, [("k2", 60, "two"), ("k3", 60, "three")], cseq=4),
                Ask(payer, [("k", 0, "")], cseq=5),
            ):
                b.limiter.register(ask)
            await until(lambda: len(b.user.registered) == 6)
            assert b.user.registered == [
                Registered(["one"]),
                Replayed(),
                RegisterOutOfOrder(),
                RegisterRefused(Reason.SIP_ACCOUNTS, "1"),
                RegisterRefused(Reason.CONTACTS, "2"),
                Registered([]),
            ]

        play(case)

    def test_what_is_told_twice_is_done_once(self, play: Play) -> None:
        async def case(b: Bench) -> None:
            payer = limits(success=limit("success_calls", 2, DAY), fail=limit("fail_calls", 1, DAY))
            one = leg(payer)
            await b.admit(one)
            b.limiter.answered(one)
            b.limiter.answered(one)
            b.limiter.release(one, Outcome.SUCCESS)
            b.limiter.release(one, Outcome.SUCCESS)
            b.limiter.release(one, Outcome.FAIL)
            b.limiter.answered(one)
            assert isinstance(await b.admit(leg(payer)), Admitted)
            assert b.counters.spool_records == 0

        play(case)

    def test_other_calls_of_the_payer_are_told_when_one_ends(self, play: Play) -> None:
        async def case(b: Bench) -> None:
            payer = limits(total=limit("total_duration", DAY // 2, DAY, "both"))
            legs = [leg(payer) for _ in range(3)]
            for one in legs:
                await b.admit(one)
                b.limiter.answered(one)
            await until(lambda: len(b.user.budgets) == 3)
            b.limiter.release(legs[0], Outcome.SUCCESS)
            await until(lambda: len(b.user.budgets) == 4)
            hours = [round(seconds / 3600, 1) for seconds in b.user.budgets if seconds is not None]
            assert hours == [12.0, 6.0, 4.0, 6.0]
            for one in legs[1:]:
                b.limiter.release(one, Outcome.SUCCESS)
            await until(lambda: b.lines() == {})
            assert len(b.user.budgets) == 4  # nobody is left to be told

        play(case)


class TestRenewal:
    def test_leases_live_as_long_as_their_calls(self, play: Play, redis_client: Redis) -> None:
        async def case(b: Bench) -> None:
            payer = limits(lines=500)
            legs = [leg(payer, "out" if number % 2 else "in") for number in range(300)]
            for one in legs:
                b.limiter.admit(one)
            await until(lambda: len(b.user.verdicts) == 300)
            for one in legs[:100]:
                b.limiter.answered(one)
            await until(lambda: b.counters.leases_renewed >= 900)
            assert sum(map(len, b.lines().values())) == 300
            assert b.counters.leases_lapsed == 0
            # 300 leases of one payer go in batches of 128.
            calls: Any = redis_client.info("commandstats")
            assert calls["cmdstat_evalsha"]["calls"] < 300 + 100 + 60

        redis_client.config_resetstat()
        play(case, lease_s=1.0)

    def test_a_lease_the_store_has_lost_is_brought_in_again(self, play: Play) -> None:
        async def case(b: Bench) -> None:
            talking, ringing = leg(limits()), leg(limits(), "in")
            for one in (talking, ringing):
                await b.admit(one)
            b.limiter.answered(talking)
            await until(lambda: b.lines() == {"to": [talking.lease], "pi": [ringing.lease]})
            for name in ("to", "pi"):
                b.admin.delete(mode_prefix("alice", "gateway") + name)
            talking.unbacked = ringing.unbacked = (
                True  # the store has never heard of them, as far as it knows
            )
            await until(lambda: b.lines() == {"to": [talking.lease], "pi": [ringing.lease]})

        play(case, lease_s=1.0)
