"""What a dead instance left, what others are told, what an operator sees and clears: inherit, release, usage, beat."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from policies.keys import NOTICES
from tests.policies.scripted import LEASE_MS, START_MS, Payer, limit, limits
from tests.policies.test_lua_late import BUDGET, DAY, used_ms

ME, OTHER = "aaaaaaaa", "bbbbbbbb"


def talks(payer: Payer, lease: str, dialog: str = "text") -> None:
    assert payer.admit(lease) == 0
    assert payer.answered(lease, dialog=dialog)[1] == 1


class TestStartedAgain:
    def test_calls_that_last_are_its_own_and_attempts_have_failed(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(lines=9, fail=limit("fail_calls", 9, DAY)))
        talks(payer, ME + "1", "first")
        talks(payer, OTHER + "1")
        payer.admit(ME + "2")
        payer.pass_time(LEASE_MS - 1)
        assert payer.inherit(ME, again=True).calls == [("held", "out", ME + "1", "first")]
        assert payer.lines() == 2
        assert payer.usage()["fail"][1] == 1
        # It is the same again should it die once more.
        assert payer.inherit(ME, again=True).calls == [("held", "out", ME + "1", "first")]

    def test_what_it_has_taken_since_is_left_alone(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(lines=9, fail=limit("fail_calls", 9, DAY)))
        before, now = ME + "run1-", ME + "run2-"
        talks(payer, before + "1", "first")
        talks(payer, now + "1", "second")
        payer.admit(before + "2")
        payer.admit(now + "2")
        found = payer.inherit(ME, again=True, since="run2-")
        assert (found.calls, found.lasting) == ([("held", "out", before + "1", "first")], 1)
        assert payer.lines() == 3
        assert payer.usage()["fail"][1] == 1

    def test_a_call_that_is_over_left_no_dialog(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits())
        talks(payer, ME + "1")
        payer.ended(ME + "1", "success")
        assert payer.inherit(ME, again=True).calls == []
        assert redis_client.keys("cg:{*:d:*") == []

    def test_the_call_that_goes_on_with_a_lease_is_the_one_that_is_left(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(lines=1, success=limit("success_calls", 1, DAY)))
        talks(payer, ME + "1", "first")
        # A transfer: the same lease, another call. It is counted once.
        _, counted = payer.answered(ME + "1", dialog="second")
        assert counted == 1
        assert payer.usage()["success"][1] == 1
        assert payer.inherit(ME, again=True).calls == [("held", "out", ME + "1", "second")]

    def test_a_leg_whose_dialog_stands_with_the_other_is_not_told(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits())
        talks(payer, ME + "1", "")
        found = payer.inherit(ME, again=True)
        assert (found.calls, found.lasting) == ([], 1)


class TestDead:
    def test_nothing_is_taken_up_before_its_lease_has_lapsed(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, BUDGET)
        talks(payer, ME + "1")
        payer.pass_time(LEASE_MS - 1)
        found = payer.inherit(ME, again=False)
        assert (found.calls, found.lasting) == ([], 1)

    def test_its_lines_are_free_its_talk_is_settled_and_one_heir_gets_its_calls(
        self, redis_client: Redis
    ) -> None:
        payer = Payer(redis_client, BUDGET)
        talks(payer, ME + "1", "one")
        talks(payer, ME + "2", "two")
        payer.pass_time(LEASE_MS + 3_000)
        found = payer.inherit(ME, again=False)
        assert sorted(found.calls) == [("lapsed", "out", ME + "1", "one"), ("lapsed", "out", ME + "2", "two")]
        # Two calls go on draining what 60 of 100 s are gone of: as planned, from the lease's end on.
        assert found.exhausts_in == (100_000 - 2 * LEASE_MS) // 2
        assert (payer.lines(), used_ms(payer)) == (0, 2 * LEASE_MS)
        assert payer.inherit(ME, again=False).calls == []

    def test_what_its_spool_tells_later_is_still_believed(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, BUDGET)
        talks(payer, ME + "1")
        payer.pass_time(LEASE_MS)
        payer.inherit(ME, again=False)
        payer.late(
            ME + "1", "success", answered_ago=LEASE_MS, ended_ago=LEASE_MS - 7_000, admitted_ago=LEASE_MS
        )
        assert used_ms(payer) == 7_000


class TestRelease:
    def test_one_is_settled_and_cannot_be_taken_anew(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, BUDGET)
        talks(payer, "a")
        talks(payer, "b")
        payer.pass_time(5_000)
        assert payer.release("a") == ["a"]
        payer.pass_time(5_000)
        assert used_ms(payer) == 15_000
        assert payer.renew(["a", "b"])[1] == ["a"]
        assert payer.late("a", "lives", answered_ago=10_000, admitted_ago=10_000)[1] == 0
        assert payer.release("a") == []

    def test_all_of_them_and_attempts_leave_no_trace(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(lines=3, fail=limit("fail_calls", 3, DAY)))
        talks(payer, "a")
        payer.admit("b")
        payer.admit("c", "in")
        assert sorted(payer.release("")) == ["a", "b", "c"]
        assert (payer.lines(), payer.usage()["fail"][1]) == (0, 0)

    def test_not_more_at_once_than_asked_for(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits())
        for number in range(5):
            payer.admit(str(number))
        assert [len(payer.release("", most=2)) for _ in range(4)] == [2, 2, 1, 0]


class TestUsage:
    def test_windows_and_calls(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, BUDGET)
        talks(payer, "a")
        payer.pass_time(1_000)
        payer.admit("b", "in")
        payer.ended("b", "fail", "in")
        payer.admit("c", "in")
        assert payer.usage() == {
            "total": (START_MS, 1_000),
            "fail": (0, 0),
            "success": (START_MS, 1),
            "counts": (0, 1, 1, 0),
            "calls": [(3, "c", payer.now + LEASE_MS), (4, "a", START_MS + LEASE_MS)],
        }
        payer.ended("a", "success")
        payer.pass_time(DAY)
        assert payer.usage()["total"] == (0, 0)


class TestNotices:
    @pytest.fixture
    def heard(self, redis_client: Redis) -> Iterator[list[str]]:
        """What was published; filled by asking for it."""
        with redis_client.pubsub(ignore_subscribe_messages=True) as pubsub:  # type: ignore[no-untyped-call]
            pubsub.subscribe(NOTICES)
            pubsub.get_message(timeout=1)

            class Heard(list[str]):
                def __iter__(self) -> Iterator[str]:
                    while (message := pubsub.get_message(timeout=0.05)) is not None:
                        self.append(message["data"].decode().split(" ")[0])
                    return super().__iter__()

            yield Heard()

    def test_nobody_is_told_while_one_instance_has_all_calls(
        self, redis_client: Redis, heard: list[str]
    ) -> None:
        payer = Payer(redis_client, BUDGET)
        talks(payer, "a")
        talks(payer, "b")
        payer.ended("a", "success")
        assert list(heard) == []

    def test_others_are_told_when_several_drain_one_budget(
        self, redis_client: Redis, heard: list[str]
    ) -> None:
        payer = Payer(redis_client, limits(total=BUDGET.total_duration))
        talks(payer, "a")
        payer.instance = 2
        talks(payer, "b")
        assert list(heard) == ["plan"]
        payer.ended("b", "success")
        assert list(heard) == ["plan", "plan"]
        payer.ended("a", "success")
        assert len(list(heard)) == 2  # nobody is left to plan
        talks(payer, "c")
        talks(payer, "d")
        assert len(list(heard)) == 2

    def test_a_release_is_told_to_all(self, redis_client: Redis, heard: list[str]) -> None:
        payer = Payer(redis_client, limits())
        talks(payer, "a")
        payer.release("a")
        assert list(heard) == ["released"]


def test_who_stops_saying_that_it_lives_is_given_to_one_at_a_time(redis_client: Redis) -> None:
    payer = Payer(redis_client, limits())
    assert payer.beat(ME) == []
    assert payer.beat(OTHER) == []
    payer.pass_time(LEASE_MS - 1)
    assert payer.beat(OTHER) == []
    payer.pass_time(1)
    assert payer.beat(OTHER) == [ME]
    assert payer.beat("cccccccc") == []
    payer.pass_time(LEASE_MS - 1)
    assert payer.beat("cccccccc") == [ME]
    payer.pass_time(1)
    assert payer.beat("cccccccc") == [OTHER]


def test_after_an_outage_longer_than_a_lease_the_living_do_not_bury_each_other(redis_client: Redis) -> None:
    """Each had fallen silent for want of a store, and the first to be back took up the calls of the others."""
    payer = Payer(redis_client, limits())
    for instance in (ME, OTHER):
        payer.beat(instance)
    payer.pass_time(10 * LEASE_MS)
    newcomer = "cccccccc"
    assert payer.beat(newcomer) == []
    assert payer.beat(OTHER) == []
    # Who was dead in truth is found one life later.
    payer.pass_time(LEASE_MS - 1)
    assert payer.beat(OTHER) == []
    assert payer.beat(newcomer) == []
    payer.pass_time(1)
    assert payer.beat(newcomer) == [ME]
