"""What rings in the place of a call whose limit is reached is refused; test_replaces.py tells of the transfer.

The mutation fuzzer found it: the leg passed on, by the cut or by the old call's BYE, and the new call was answered on
it, to be cut at once; or, where the plan had ended, to go on without one.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.lease import Outcome
from proxy.engine.effects import CallAnswered, ReleaseLease
from proxy.sip.message import Request, Response
from tests.engine.test_replaces import NUMBER, PLANS, SUBSCRIBERS, Scene
from tests.engine.world import Phone

SAID = {
    "call_duration": ("Call duration is exceeded", "the limit on one call is 1h"),
    "total_duration": ("Total calls duration is exceeded", "the limit on talk time is 10h per 1d"),
}


class Ringing(Scene):
    """What the one outside called in the place of anna's call to carla rings at carla's, who has 20 s left."""

    def __init__(self, folder: Path, limit: str = "call_duration", hung_up: bool = False) -> None:
        """`hung_up`: anna's call to carla is over before, so the new one has its leg already."""
        super().__init__(folder)
        _, _, asking = self.consult()
        self.limit = limit
        self.world.advance(3580)
        if limit == "total_duration":
            self.world.reload(plans=PLANS.replace("call_duration: 1h", "call_duration: 2h"))
            [leg] = [leg for leg in self.lines.legs if leg.limits.payer == "carla"]
            self.world.budget(leg.limits, 20.0, 1)
        self.transfer()
        self.invite = self.one(self.carla, "INVITE")
        self.carla.answer(self.invite, 180, "Ringing", "to-new")
        if hung_up:
            self.hang_up(self.anna, asking, self.carla)
        self.outside.got()
        self.carla.got()

    def answer(self) -> None:
        self.carla.answer(self.invite, 200, "OK", "to-new")

    def for_carla(self, call_id: str = "new") -> list[Request]:
        return [request for request in self.carla.requests() if request.call_id == call_id]

    def refused(self, cause: str) -> Response:
        """The new call, for this cause; carla's line is free, given back once and as what it was."""
        [record] = [record for record in self.world.records if record.call_id == "new"]
        assert (record.cause, record.cut, record.answered_at) == (cause, True, None)
        [final] = [one for one in self.outside.got() if isinstance(one, Response)]
        assert (final.status, final.call_id) == (402, "new")
        assert [key for key in self.world.engine.core.running if key[0] == "carla"] == []
        of = [(effect.leg.limits.payer, effect.outcome) for effect in self.world.of(ReleaseLease)]
        assert [outcome for payer, outcome in of if payer == "carla"] == [Outcome.SUCCESS], "she talked on it"
        told = [effect.leg.limits.payer for effect in self.world.of(CallAnswered)]
        assert told.count("carla") == 1, "by the old call"
        return final

    def refused_at_the_limit(self) -> None:
        final = self.refused(f"{self.limit} reached")
        phrase, words = SAID[self.limit]
        assert final.reason == phrase
        assert final.value("reason") == self.reason
        assert (final.value("warning") or "").endswith(f'"{self.limit} reached: {words}"')

    @property
    def reason(self) -> str:
        return f'SIP ;cause=402 ;text="{self.limit} reached"'


@pytest.fixture(params=["call_duration", "total_duration"])
def limit(request: pytest.FixtureRequest) -> str:
    name = request.param
    assert isinstance(name, str)
    return name


@pytest.fixture(params=[False, True], ids=["borrowed", "passed on"])
def scene(request: pytest.FixtureRequest, tmp_path: Path, limit: str) -> Ringing:
    return Ringing(tmp_path, limit, request.param)


def test_while_it_rings(scene: Ringing) -> None:
    scene.world.advance(19.9)
    assert not scene.outside.got()
    scene.world.advance(0.2)
    [cancel] = scene.for_carla()
    assert (cancel.method, cancel.value("reason")) == ("CANCEL", scene.reason)
    scene.refused_at_the_limit()
    scene.carla.answer(cancel, 200, "OK", "to-new")
    scene.carla.answer(scene.invite, 487, "Request Terminated", "to-new")
    assert [request.method for request in scene.for_carla()] == ["ACK"]


def test_a_200_that_crosses_the_cancel(scene: Ringing) -> None:
    scene.world.advance(20.1)
    scene.for_carla()
    scene.refused_at_the_limit()
    scene.answer()
    ack, bye = scene.for_carla()
    assert (ack.method, bye.method, bye.value("reason")) == ("ACK", "BYE", scene.reason)
    scene.carla.answer(bye, 200, "OK")
    scene.world.advance(1)
    again = [one for one in scene.outside.got() if one.call_id == "new"]
    assert {one.status for one in again if isinstance(one, Response)} == {402}, "until it is acknowledged"


def test_a_200_of_the_same_moment_that_is_read_before_the_timer_rings(scene: Ringing) -> None:
    scene.world.now += 20.1
    scene.answer()
    ack, bye = scene.for_carla()
    assert (ack.method, bye.method, bye.value("reason")) == ("ACK", "BYE", scene.reason)
    scene.refused_at_the_limit()
    scene.world.advance(1)
    assert len([record for record in scene.world.records if record.call_id == "new"]) == 1


def test_the_old_call_is_cut_as_ever(tmp_path: Path, limit: str) -> None:
    scene = Ringing(tmp_path, limit)
    scene.world.advance(20.1)
    [to_anna] = [request for request in scene.anna.requests() if request.call_id == "asks"]
    [to_carla] = scene.for_carla("asks")
    for bye in (to_anna, to_carla):
        assert (bye.method, bye.value("reason")) == ("BYE", scene.reason)
    [record] = [record for record in scene.world.records if record.call_id == "asks"]
    assert (record.cause, record.outcome) == (f"{limit} reached", "success")


def test_an_answer_in_time_and_then_the_limit(scene: Ringing) -> None:
    scene.world.advance(19.9)
    scene.answer()
    [ok] = [one for one in scene.outside.got() if isinstance(one, Response)]
    assert ok.status == 200
    scene.outside.within("ACK", ok, 1)
    scene.carla.got()
    scene.world.advance(0.2)
    [bye] = scene.for_carla()
    assert (bye.method, bye.value("reason")) == ("BYE", scene.reason)


def test_a_limit_that_is_lowered_or_lifted_while_it_rings(tmp_path: Path) -> None:
    scene = Ringing(tmp_path, hung_up=True)
    scene.world.reload(plans=PLANS.replace("call_duration: 1h, ", ""))
    scene.world.advance(30)
    assert not scene.outside.got()
    scene.world.reload(plans=PLANS.replace("call_duration: 1h", "call_duration: 5m"))
    scene.refused("call_duration reached")


def test_its_plan(tmp_path: Path) -> None:
    scene = Ringing(tmp_path)
    head, carla, rest = SUBSCRIBERS.partition("carla:")
    scene.world.reload(subscribers=head + carla + rest.replace("since: 2026-01-01", "since: 2036-01-01", 1))
    scene.refused("no active tariff plan any more")


def test_a_limit_that_was_reached_before_says_nothing_of_the_next_window(tmp_path: Path) -> None:
    """What rang then was answered since: how much it may talk is for the store to say, which has not answered yet."""
    scene = Scene(tmp_path)
    scene.call(scene.anna, NUMBER, scene.outside, "first")
    scene.anna.invite(NUMBER, "second")
    invite = scene.one(scene.outside, "INVITE")
    scene.outside.answer(invite, 180, "Ringing", "to-second")
    [leg, _] = scene.lines.legs
    scene.world.budget(leg.limits, 5.0, 1)
    scene.world.advance(5.1)
    assert [record.cause for record in scene.world.records] == ["total_duration reached"]
    scene.outside.answer(invite, 200, "OK", "to-second")
    scene.outside.got()
    anton = Phone(scene.world, "192.0.2.10", "anton")
    anton.invite(NUMBER, "new", "Replaces: second;to-tag=to-second;from-tag=f-second")
    scene.outside.answer(scene.one(scene.outside, "INVITE"), 200, "OK", "to-new")
    last = anton.got()[-1]
    assert isinstance(last, Response)
    assert (last.status, last.call_id) == (200, "new")


def test_one_line_is_not_lent_on_and_on(tmp_path: Path) -> None:
    """A caller that named its own last call each time had any number of them on one line, and one drain."""
    scene = Scene(tmp_path)
    scene.call(scene.anna, NUMBER, scene.outside, "held")
    scene.call(scene.anna, NUMBER, scene.outside, "a")
    scene.call(scene.anna, NUMBER, scene.outside, "b", "Replaces: a;to-tag=to-a;from-tag=f-a")
    scene.anna.invite(NUMBER, "c", "Replaces: b;to-tag=to-b;from-tag=f-b")
    assert scene.anna.statuses() == [100, 486]
    # When the one before has ended it is a transfer like any other.
    scene.world.advance(4.1)
    scene.outside.got()
    scene.anna.got()
    scene.call(scene.anna, NUMBER, scene.outside, "d", "Replaces: b;to-tag=to-b;from-tag=f-b")
    assert scene.lines.held("anna") == 2
