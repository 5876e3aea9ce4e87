"""Session timers (RFC 4028): asked for, filled in for a callee that has none, and a dead call ends on both sides."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.lease import Outcome
from proxy.sip.message import Request, Response
from tests.engine.world import CALLGATE, Phone, World

NUMBER = "sip:4930@example.com"
SESSIONS = CALLGATE + "session_timers: {enabled: yes, session_expires: 10m, min_se: 2m}\n"
TIMER = "Supported: timer"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, SESSIONS)


def phones(world: World) -> tuple[Phone, Phone]:
    return Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")


def up(world: World, asks: tuple[str, ...], says: tuple[str, ...]) -> tuple[Phone, Phone, Request, Response]:
    """A call with these lines in its INVITE and its 200."""
    caller, callee = phones(world)
    caller.invite(NUMBER, "c1", *asks)
    [invite] = callee.requests()
    callee.answer(invite, 200, "OK", "t1", *says)
    ok = caller.got()[-1]
    assert isinstance(ok, Response)
    caller.within("ACK", ok, 1)
    callee.got()
    return caller, callee, invite, ok


def ended_by_us(world: World, caller: Phone, callee: Phone) -> None:
    for phone in (caller, callee):
        bye = phone.requests()[0]
        assert (bye.method, bye.value("reason")) == ("BYE", 'SIP ;cause=408 ;text="session expired"')
        phone.answer(bye, 200, "OK")
    assert world.released == [("alice@example.com", Outcome.SUCCESS)]
    [record] = world.records
    assert (record.cut, record.reason) == (True, "session_expired")
    world.idle()


@pytest.mark.parametrize(
    ("asks", "expires", "min_se"),
    [
        ((), ["600"], []),  # inserted
        (("Min-SE: 900",), ["900"], ["900"]),  # never lower than Min-SE
        (
            (TIMER, "Session-Expires: 1800;refresher=uas"),
            ["600;refresher=uas"],
            [],
        ),  # lowered, refresher untouched
        ((TIMER, "x: 1800", "Min-SE: 1200"), ["1200"], ["1200"]),  # lowered no further than Min-SE
        ((TIMER, "Session-Expires: 300"), ["300"], []),  # "MUST NOT increase"
        ((TIMER, "Session-Expires: 200", "Min-SE: 250"), ["250"], ["250"]),  # MUST increase to Min-SE
        (
            ("Session-Expires: 100",),
            ["120"],
            ["120"],
        ),  # cannot be told 422: Min-SE and Session-Expires are raised
        (("Session-Expires: 100", "Min-SE: 90"), ["120"], ["120"]),
        # A Min-SE that is ours or more stays.
        (("Session-Expires: 100", "Min-SE: 200"), ["200"], ["200"]),
        (("Session-Expires: soon",), ["soon"], []),
        ((TIMER, f"Session-Expires: {'9' * 30}"), ["600"], []),
    ],
)
def test_what_is_asked_of_the_callee(
    world: World, asks: tuple[str, ...], expires: list[str], min_se: list[str]
) -> None:
    caller, callee = phones(world)
    caller.invite(NUMBER, "c1", *asks)
    [invite] = callee.requests()
    assert invite.values("session-expires") == expires
    assert invite.values("min-se") == min_se


@pytest.mark.parametrize("knows", [TIMER, "Supported: 100rel, Timer", "k: timer"])
def test_too_small_is_refused_before_anything_is_taken(world: World, knows: str) -> None:
    caller, callee = phones(world)
    world.auto = None
    caller.invite(NUMBER, "c1", knows, "Session-Expires: 119")
    [answer] = caller.got()
    assert isinstance(answer, Response)
    assert (answer.status, answer.value("min-se")) == (422, "120")
    assert not world.asked
    assert not callee.got()
    world.idle()


def test_a_callee_without_timers_is_filled_in_for(world: World) -> None:
    caller, callee, _, ok = up(world, (TIMER,), ("Require: 100rel",))
    assert ok.values("session-expires") == ["600;refresher=uac"]
    assert "timer" in ok.all_values("require")
    world.advance(599)
    assert not caller.got()
    world.advance(2)
    ended_by_us(world, caller, callee)


def test_a_refresh_keeps_the_call_and_only_a_2xx_is_one(world: World) -> None:
    caller, callee, invite, ok = up(
        world, (TIMER,), (TIMER, "Session-Expires: 200;refresher=uas", "Require: timer")
    )
    assert ok.values("session-expires") == ["200;refresher=uas"], "what the callee says stays as it is"
    world.advance(150)
    callee.back("UPDATE", invite, "t1", 1, TIMER, "Session-Expires: 200;refresher=uac")
    [update] = caller.requests()
    caller.answer(update, 200, "OK", "", "Session-Expires: 200;refresher=uac")
    callee.got()
    world.advance(150)
    caller.within("INVITE", ok, 2, TIMER, "Session-Expires: 200;refresher=uac")
    [reinvite] = callee.requests()
    callee.answer(reinvite, 491, "Request Pending")
    caller.got()
    world.advance(49)
    assert not [request for request in callee.requests() if request.method == "BYE"]
    world.advance(2)
    ended_by_us(world, caller, callee)


@pytest.mark.parametrize("status", [405, 501])
def test_a_callee_that_knows_no_update_does_not_end_a_live_call(world: World, status: int) -> None:
    """linphone 5.1 refreshes by UPDATE, whatever its callee allows."""
    caller, callee, _, ok = up(world, (TIMER,), ())
    world.advance(300)
    caller.within("UPDATE", ok, 2, TIMER, "Session-Expires: 600;refresher=uac")
    [update] = callee.requests()
    callee.answer(update, status, "No")
    assert caller.statuses() == [status]
    world.advance(2000)
    assert not caller.got()
    assert not callee.got()
    # What succeeds counts again.
    caller.within("INVITE", ok, 3, TIMER, "Session-Expires: 600;refresher=uac")
    [invite] = callee.requests()
    callee.answer(invite, 200, "OK", "t1")
    caller.got()
    caller.within("ACK", ok, 3)
    callee.got()
    world.advance(601)
    ended_by_us(world, caller, callee)


def test_a_shorter_interval_counts_at_once(world: World) -> None:
    caller, callee, _, ok = up(world, (TIMER,), (TIMER, "Session-Expires: 600;refresher=uac"))
    caller.within("UPDATE", ok, 2, TIMER, "Session-Expires: 120;refresher=uac")
    [update] = callee.requests()
    callee.answer(update, 200, "OK", "t1", "Session-Expires: 120;refresher=uac")
    caller.got()
    world.advance(121)
    ended_by_us(world, caller, callee)


def test_a_refresh_that_asks_for_too_little_is_told_so(world: World) -> None:
    caller, callee, _, ok = up(world, (TIMER,), ())
    caller.within("UPDATE", ok, 2, TIMER, "Session-Expires: 90")
    [answer] = caller.got()
    assert isinstance(answer, Response)
    assert (answer.status, answer.value("min-se")) == (422, "120")
    assert not callee.got()


def test_a_2xx_without_a_refresher_leaves_no_orphan(world: World) -> None:
    """drachtio-server #475: nobody was the refresher, nobody refreshed, and no timer ran."""
    caller, callee, _, ok = up(world, (TIMER,), ("Session-Expires: 300",))
    assert ok.values("session-expires") == ["300;refresher=uac"], "who knows timers is told to refresh"
    world.advance(301)
    ended_by_us(world, caller, callee)


def test_who_knows_no_timers_is_not_made_the_refresher(world: World) -> None:
    caller, callee, _, ok = up(world, (), (TIMER, "Session-Expires: 300"))
    assert ok.values("session-expires") == ["300;refresher=uas"]
    assert "require" not in ok.keys, "what it cannot do is not required of it"
    world.advance(301)
    ended_by_us(world, caller, callee)


def test_a_refresh_without_timers_at_either_side_ends_the_session_and_not_the_call(world: World) -> None:
    """RFC 4028 §8.2: "There is no session expiration for this session." """
    caller, callee, _, ok = up(world, (TIMER,), ())
    world.advance(300)
    caller.within("UPDATE", ok, 2)
    [update] = callee.requests()
    callee.answer(update, 200, "OK")
    [answer] = caller.got()
    assert "session-expires" not in answer.keys
    world.advance(3000)
    assert not caller.got()
    assert not callee.got()


def test_where_neither_side_knows_timers_there_is_no_end(world: World) -> None:
    caller, callee, _, ok = up(world, (), ())
    assert "session-expires" not in ok.keys
    world.advance(3000)
    assert not caller.got()
    assert not callee.got()


def test_a_call_that_ended_leaves_no_timer(world: World) -> None:
    caller, callee, _, ok = up(world, (TIMER,), ())
    caller.within("BYE", ok, 2)
    [bye] = callee.requests()
    callee.answer(bye, 200, "OK")
    caller.got()
    world.idle()
    assert len(world.engine.timers) == 0


def test_no_refresh_prolongs_the_tariff(world: World) -> None:
    caller, callee, _, ok = up(world, (TIMER,), ())
    for number in range(2, 9):
        world.advance(450)
        caller.within("UPDATE", ok, number, TIMER, "Session-Expires: 600;refresher=uac")
        [update] = callee.requests()
        callee.answer(update, 200, "OK")
        caller.got()
    world.advance(449)
    assert not caller.got()
    world.advance(2)
    bye = callee.requests()[0]
    assert bye.value("reason") == 'SIP ;cause=402 ;text="call_duration reached"'


def test_of_a_forked_call_only_the_dead_dialog_ends(world: World) -> None:
    """RFC 4028 §8.2: one expiration for each dialog."""
    caller, callee, invite, _ = up(world, (TIMER,), ("Session-Expires: 200;refresher=uac",))
    callee.answer(invite, 200, "OK", "t2", "Session-Expires: 400;refresher=uac")
    [second] = caller.got()
    assert isinstance(second, Response)
    caller.within("ACK", second, 1)
    callee.got()
    world.advance(201)
    to_callee = callee.requests()[0]
    assert (to_callee.method, to_callee.to_tag) == ("BYE", "t1")
    assert to_callee.value("reason") == 'SIP ;cause=408 ;text="session expired"'
    to_caller = caller.requests()[0]
    assert to_caller.from_tag == "t1"
    callee.answer(to_callee, 200, "OK")
    caller.answer(to_caller, 200, "OK")
    assert world.released == []
    caller.within("BYE", second, 2)
    assert world.released == [("alice@example.com", Outcome.SUCCESS)]
