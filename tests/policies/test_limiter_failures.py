"""The limiter when the store fails: nothing leaks, nothing is lost, nothing is counted twice (SPEC §5)."""

from __future__ import annotations

from pathlib import Path

import pytest
import uvloop
from redis import Redis

from policies.keys import mode_prefix
from policies.lease import Leg, Outcome
from policies.link import MISSES_MAX
from policies.reasons import Reason
from policies.verdicts import Admitted, AdmitVerdict, Refused, Unavailable
from tests.policies.limited import DAY, Ask, Bench, Play, User, bench, leg
from tests.policies.linked import until
from tests.policies.scripted import limit, limits
from tests.redis import PrivateRedis


class TestStoreAway:
    def test_nothing_is_admitted_and_nobody_waits(self, play: Play) -> None:
        async def case(b: Bench) -> None:
            await b.away()
            assert await b.admit(leg(limits())) == Unavailable()
            b.limiter.register(Ask(limits(), []))
            b.limiter.bindings("alice", "a@x", None)
            await until(lambda: len(b.user.registered) + len(b.user.found) == 2)
            assert (b.user.registered, b.user.found) == ([Unavailable()], [None])
            await b.back()
            assert isinstance(await b.admit(leg(limits())), Admitted)
            assert any("away" in text for text in b.told)

        play(case)

    def test_what_calls_did_meanwhile_is_settled_when_it_is_back(self, play: Play) -> None:
        async def case(b: Bench) -> None:
            payer = limits(success=limit("success_calls", 3, DAY), fail=limit("fail_calls", 2, DAY))
            succeeds, fails, goes_on = leg(payer), leg(payer), leg(payer, "in")
            for one in (succeeds, fails, goes_on):
                await b.admit(one)
            await b.away()
            b.limiter.answered(succeeds)
            b.limiter.answered(goes_on)
            b.limiter.release(succeeds, Outcome.SUCCESS)
            b.limiter.release(fails, Outcome.FAIL)
            assert b.counters.spool_records == 4
            await b.back()
            await until(lambda: b.counters.spool_records == 0)
            assert b.lines() == {"ti": [goes_on.lease]}
            assert isinstance(await b.admit(leg(payer)), Admitted)
            refused = await b.admit(leg(payer))
            assert isinstance(refused, Refused)
            assert refused.reason is Reason.FAIL_CALLS  # one failed, one pending

        play(case)

    def test_calls_let_through_meanwhile_are_brought_in(self, play: Play) -> None:
        async def case(b: Bench) -> None:
            payer = limits(
                lines=2, success=limit("success_calls", 9, DAY), total=limit("total_duration", DAY // 2, DAY)
            )
            await b.away()
            rings, talks, is_over = leg(payer), leg(payer), leg(payer)
            for one in (rings, talks, is_over):
                assert await b.admit(one) == Unavailable()
            for one in (talks, is_over):
                b.limiter.answered(one)
            b.limiter.release(is_over, Outcome.SUCCESS)
            await b.back()
            await until(lambda: b.lines() == {"po": [rings.lease], "to": [talks.lease]})
            await until(lambda: b.counters.spool_records == 0)
            assert b.lines() == {"po": [rings.lease], "to": [talks.lease]}
            refused = await b.admit(leg(payer))
            assert isinstance(refused, Refused)
            assert refused.reason is Reason.LINES
            b.limiter.release(rings, Outcome.FAIL)
            b.limiter.release(talks, Outcome.SUCCESS)
            await until(lambda: b.lines() == {})

        play(case, admits=True)

    def test_a_store_that_comes_back_empty_learns_at_once_who_holds_what(self, play: Play) -> None:
        """Kamailio ndb_redis #1125: counters are invalid after a reconnect, so they were flushed.

        Leases of a minute: no renewal would have come so soon."""

        async def case(b: Bench) -> None:
            payer = limits(lines=2, total=limit("total_duration", DAY // 2, DAY))
            talks, rings = leg(payer), leg(payer)
            for one in (talks, rings):
                await b.admit(one)
            b.limiter.answered(talks, "dialog")
            await until(lambda: b.lines() == {"po": [rings.lease], "to": [talks.lease]})
            await b.away()
            b.admin.flushall()
            await b.back()
            await until(lambda: b.lines() == {"po": [rings.lease], "to": [talks.lease]})
            refused = await b.admit(leg(payer))
            assert isinstance(refused, Refused)
            assert refused.reason is Reason.LINES
            assert b.admin.get(f"{mode_prefix('alice', 'gateway')}d:{talks.lease}") == b"dialog"

        play(case, lease_s=60)

    def test_a_call_let_through_may_end_before_its_user_returns(self, play: Play) -> None:
        async def case(b: Bench) -> None:
            def end_at_once(one: Leg, verdict: AdmitVerdict) -> None:
                one.unbacked = True
                b.limiter.release(one, Outcome.FAIL)
                b.user.verdicts[one.lease] = verdict

            b.user.on_admission = end_at_once  # type: ignore[method-assign, assignment]
            payer = limits(fail=limit("fail_calls", 1, DAY))
            await b.away()
            await b.admit(leg(payer))
            assert b.counters.spool_records == 1
            b.user.on_admission = User.on_admission.__get__(b.user)  # type: ignore[method-assign]
            await b.back()
            await until(lambda: b.counters.spool_records == 0)
            refused = await b.admit(leg(payer))
            assert isinstance(refused, Refused)
            assert refused.reason is Reason.FAIL_CALLS

        play(case)

    def test_a_store_that_is_full_admits_nobody_and_takes_what_ends(self, play: Play) -> None:
        async def case(b: Bench) -> None:
            payer = limits(fail=limit("fail_calls", 2, DAY))
            one = leg(payer)
            await b.admit(one)
            b.admin.config_set("maxmemory", 1)
            try:
                assert [await b.admit(leg(payer)) for _ in range(5)] == [Unavailable()] * 5
                b.limiter.release(one, Outcome.FAIL)  # frees memory first, so Redis lets it
                await until(lambda: b.lines() == {})
            finally:
                b.admin.config_set("maxmemory", 0)
            assert len([text for text in b.told if "OOM" in text]) == 1
            assert isinstance(await b.admit(leg(payer)), Admitted)
            refused = await b.admit(leg(payer))
            assert isinstance(refused, Refused)
            assert refused.reason is Reason.FAIL_CALLS

        play(case)

    def test_a_full_spool_is_an_alarm(self, play: Play) -> None:
        async def case(b: Bench) -> None:
            legs = [leg(limits()) for _ in range(4)]
            for one in legs:
                await b.admit(one)
            await b.away()
            for one in legs:
                b.limiter.release(one, Outcome.FAIL)
            kept, lost = b.counters.spool_records, b.counters.spool_dropped
            assert kept > 0
            assert lost > 0
            assert kept + lost == 4
            assert b.counters.spool_bytes <= b.counters.spool_bytes_max == 1_000
            assert any("ALARM" in text for text in b.told)
            await b.back()
            await until(lambda: b.counters.spool_records == 0)

        play(case, spool_size_max=1_000)

    def test_outcomes_survive_the_death_of_the_process(
        self, redis_server: PrivateRedis, redis_client: Redis, tmp_path: Path
    ) -> None:
        payer = limits(fail=limit("fail_calls", 1, DAY))

        async def first_life() -> None:
            async with bench(redis_server, tmp_path) as b:
                one = leg(payer)
                await b.admit(one)
                await b.away()
                b.limiter.release(one, Outcome.FAIL)

        async def second_life() -> None:
            async with bench(redis_server, tmp_path) as b:
                await until(lambda: b.counters.spool_records == 0)
                assert b.lines() == {}
                refused = await b.admit(leg(payer))
                assert isinstance(refused, Refused)
                assert refused.reason is Reason.FAIL_CALLS

        uvloop.run(first_life())
        uvloop.run(second_life())


class TestDoubt:
    """The store may have carried out what it did not answer in time."""

    def test_an_admission_that_came_too_late_is_given_back(self, play: Play) -> None:
        async def case(b: Bench) -> None:
            payer = limits(lines=1, fail=limit("fail_calls", 1, DAY))
            b.proxy.replies.close()
            one = leg(payer)
            assert await b.admit(one) == Unavailable()
            assert b.lines() == {"po": [one.lease]}  # carried out: this would be the leak
            b.proxy.replies.open()
            await until(lambda: b.lines() == {})
            assert isinstance(await b.admit(leg(payer)), Admitted)

        play(case, deadline_s=0.4)

    def test_an_admission_whose_answer_never_comes_is_given_back(self, play: Play) -> None:
        async def case(b: Bench) -> None:
            payer = limits(lines=1, fail=limit("fail_calls", 1, DAY))
            b.proxy.replies.close()
            one = leg(payer)
            b.limiter.admit(one)
            await until(lambda: b.lines() == {"po": [one.lease]})
            b.proxy.cut()
            b.proxy.replies.open()
            await until(lambda: one.lease in b.user.verdicts)
            assert b.user.verdicts[one.lease] == Unavailable()
            assert b.lines() == {"po": [one.lease]}
            await until(lambda: b.lines() == {})
            assert isinstance(await b.admit(leg(payer)), Admitted)

        play(case, deadline_s=5.0)

    def test_a_late_refusal_takes_nothing_back(self, play: Play) -> None:
        async def case(b: Bench) -> None:
            first = leg(limits(lines=1))
            await b.admit(first)
            b.proxy.replies.close()
            assert await b.admit(leg(first.limits)) == Unavailable()
            b.proxy.replies.open()
            refused = await b.admit(leg(first.limits))
            assert isinstance(refused, Refused)
            assert b.lines() == {"po": [first.lease]}

        play(case, deadline_s=0.4)

    def test_one_that_was_let_through_keeps_the_lease_it_got_after_all(self, play: Play) -> None:
        async def case(b: Bench) -> None:
            b.proxy.replies.close()
            one = leg(limits(lines=1))
            assert await b.admit(one) == Unavailable()
            b.proxy.replies.open()
            await until(lambda: b.counters.leases_renewed > 0)
            assert b.lines() == {"po": [one.lease]}
            b.limiter.release(one, Outcome.FAIL)
            await until(lambda: b.lines() == {})

        play(case, deadline_s=0.4, lease_s=2.0, admits=True)

    @pytest.mark.parametrize("lost", ["command", "reply"])
    def test_an_end_is_counted_once_whether_it_was_carried_out_or_not(self, play: Play, lost: str) -> None:
        async def case(b: Bench) -> None:
            payer = limits(fail=limit("fail_calls", 2, DAY))
            one = leg(payer)
            await b.admit(one)
            gate = b.proxy.commands if lost == "command" else b.proxy.replies
            gate.close()
            b.limiter.release(one, Outcome.FAIL)
            await gate.held.wait()
            b.proxy.cut()
            gate.open()
            await until(lambda: b.counters.spool_records == 1)
            await until(lambda: b.counters.spool_records == 0)
            assert b.lines() == {}
            assert isinstance(await b.admit(leg(payer)), Admitted)
            refused = await b.admit(leg(payer))
            assert isinstance(refused, Refused)
            assert refused.reason is Reason.FAIL_CALLS  # one failed and one pending, of two

        play(case, deadline_s=5.0)

    def test_a_call_that_is_over_does_not_come_back_with_the_store(self, play: Play) -> None:
        """Its answer and its end were both under way when the store hung; then it was said to live, and held a line for
        another lease."""

        async def case(b: Bench) -> None:
            payer = limits(lines=1, total=limit("total_duration", DAY // 2, DAY))
            one = leg(payer)
            await b.admit(one)
            b.proxy.commands.close()
            b.limiter.answered(one, "dialog")
            b.limiter.release(one, Outcome.SUCCESS)
            await until(lambda: b.counters.spool_records == 2)
            for _ in range(MISSES_MAX):
                b.limiter.bindings("alice", "a@x", None)
            await until(lambda: not b.limiter.up)
            b.proxy.commands.open()
            await until(lambda: b.limiter.up and b.counters.spool_records == 0)
            assert isinstance(await b.admit(leg(payer)), Admitted)

        play(case, deadline_s=0.4)

    def test_an_answer_and_an_end_that_time_out_are_carried_out_in_the_end(self, play: Play) -> None:
        async def case(b: Bench) -> None:
            payer = limits(success=limit("success_calls", 2, DAY))
            one = leg(payer)
            await b.admit(one)
            b.proxy.commands.close()
            b.limiter.answered(one)
            b.limiter.release(one, Outcome.SUCCESS)
            await until(lambda: b.counters.spool_records == 2)
            b.proxy.commands.open()
            await until(lambda: b.counters.spool_records == 0)
            assert b.lines() == {}
            assert isinstance(await b.admit(leg(payer)), Admitted)
            refused = await b.admit(leg(payer))
            assert isinstance(refused, Refused)
            assert refused.reason is Reason.SUCCESS_CALLS

        play(case, deadline_s=0.4)
