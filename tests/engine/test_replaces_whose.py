"""Whose leg an INVITE with Replaces may take, and whose not: else it were a call at somebody else's cost (SPEC §3)."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.heritage import Inherited
from policies.lease import Outcome
from policies.reasons import Reason
from policies.verdicts import Refused
from proxy.engine.effects import AskBindings, CallAnswered
from proxy.engine.events import BindingsFound, CallInherited
from proxy.sip.message import Request, Response
from tests.engine.test_replaces import CARLA, NUMBER, PLANS, SUBSCRIBERS, Scene
from tests.engine.world import Phone, bound

BOTH_MODES = PLANS.replace("  two: {categories: {", "  two: {categories: {softphone: {call_duration: 1h}, ")
MORE = (
    SUBSCRIBERS.replace(
        "{user: anton, password: s, mode: gateway}",
        "{user: anton, password: s, mode: gateway}, {user: ada, password: s, mode: softphone}",
    ).replace(
        "{user: carla, password: s, mode: gateway}",
        "{user: carla, password: s, mode: gateway}, {user: carol, password: s, mode: gateway}",
    )
    + """  eve:
    accounts: [{user: eve, password: s, mode: gateway}]
    activations: [{plan: two, since: 2026-01-01}]
"""
)
REPLACES = "Replaces: asks;to-tag=to-asks;from-tag=f-asks"


class Stage(Scene):
    """anna has called carla; somebody wants to take a place in that call."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.world.reload(plans=BOTH_MODES, subscribers=MORE)
        self.asked, _ = self.call(self.anna, CARLA, self.carla, "asks")
        self.before = len(self.lines.legs)

    def takes(self, user: str, uri: str = CARLA, line: str = REPLACES) -> Phone:
        phone = Phone(self.world, "192.0.2.10", user)
        looked_up = len(self.world.of(AskBindings))
        phone.invite(uri, "new", line)
        found = self.world.of(AskBindings)
        if len(found) > looked_up:
            self.world.handle(BindingsFound(bound(("192.0.2.40", "1000")), found[-1].user))
        return phone

    @property
    def new_legs(self) -> list[tuple[str, str]]:
        """(account, mode) of each leg that was asked for since."""
        return [(leg.account, leg.limits.mode) for leg in self.lines.legs[self.before :]]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_another_subscriber_pays_for_himself(stage: Stage) -> None:
    """eve takes anna's place: carla's leg goes on, eve's is her own."""
    eve = stage.takes("eve")
    assert stage.new_legs == [("eve@example.com", "gateway")]
    # It is certain at once: no other leg of the call is asked for after it.
    leg = stage.lines.legs[-1]
    assert (leg.tentative, leg.before) == (False, None)
    stage.carla.answer(stage.one(stage.carla, "INVITE"), 200, "OK", "to-new")
    ok = eve.got()[-1]
    assert isinstance(ok, Response)
    eve.within("ACK", ok, 1)
    stage.carla.got()
    stage.carla.back("BYE", stage.asked, "to-asks", 1)
    # anna's phone is at the same address.
    bye = next(one for one in eve.requests() if one.method == "BYE")
    stage.anna.answer(bye, 200, "OK")
    assert stage.world.released == [("anna@example.com", Outcome.SUCCESS)]
    stage.carla.got()
    stage.hang_up(eve, ok, stage.carla)
    ended = ["anna@example.com", "carla@example.com", "eve@example.com"]
    assert sorted(stage.world.released) == [(account, Outcome.SUCCESS) for account in ended]


def test_another_mode_of_the_same_payer_has_its_own_limits(stage: Stage) -> None:
    stage.takes("ada")
    assert stage.new_legs == [("ada@example.com", "softphone")]


def test_another_account_of_the_callees_payer_is_another_line(stage: Stage) -> None:
    """The call that is named is carla's; the one who is reached is carol, and their one line is taken."""
    outside = stage.outside
    outside.invite("sip:carol@example.com", "new", REPLACES)
    assert outside.statuses()[-1] == 486
    assert stage.new_legs == []
    assert not stage.carla.requests()


def test_a_dialog_that_is_over_has_no_place_to_take(stage: Stage) -> None:
    """carla's phones both answered, and one of them has hung up."""
    stage.carla.answer(stage.asked, 200, "OK", "to-two")
    second = stage.anna.got()[-1]
    assert isinstance(second, Response)
    stage.anna.within("ACK", second, 1)
    stage.carla.got()
    stage.carla.back("BYE", stage.asked, "to-two", 1)
    [bye] = stage.anna.requests()
    stage.anna.answer(bye, 200, "OK")
    stage.carla.got()
    stage.outside.invite(CARLA, "new", REPLACES.replace("to-asks", "to-two"))
    assert stage.outside.statuses()[-1] == 486
    stage.outside.invite(CARLA, "newer", REPLACES)
    assert stage.outside.statuses() == [100], "the other one goes on"


@pytest.mark.parametrize("option", ["call_duration", "total_duration"])
@pytest.mark.parametrize(("counts", "own"), [("outgoing", True), ("both", False)])
def test_what_was_not_counted_does_not_go_on_uncounted(
    tmp_path: Path, option: str, counts: str, own: bool
) -> None:
    """Somebody outside has called anna; anton, of the same payer, calls him back in its place."""
    value = {"call_duration": "1h", "total_duration": "10h per 1d"}[option]
    scene = Scene(tmp_path)
    plans = PLANS.replace("lines: 2, call_duration: 1h, total_duration: 10h per 1d", "lines: 2, @").replace(
        "@", f"{option}: {{value: {value}, counts: {counts}}}"
    )
    scene.world.reload(plans=plans)
    scene.outside.invite("sip:anna@example.com", "asks")
    [invite] = [one for one in scene.carla.requests() if isinstance(one, Request)]
    scene.carla.answer(invite, 200, "OK", "to-asks")
    ok = scene.outside.got()[-1]
    assert isinstance(ok, Response)
    scene.outside.within("ACK", ok, 1)
    before = len(scene.lines.legs)
    anton = Phone(scene.world, "192.0.2.10", "anton")
    anton.invite(NUMBER, "new", "Replaces: asks;to-tag=f-asks;from-tag=to-asks")
    assert anton.statuses() == [100]
    assert [leg.account for leg in scene.lines.legs[before:]] == (["anton@example.com"] if own else [])


def test_two_replaces_name_no_call(stage: Stage) -> None:
    """RFC 3891 §3: "If more than one Replaces header field is present in an INVITE … the UAS MUST reject"."""
    stage.outside.invite(CARLA, "new", REPLACES, REPLACES)
    assert stage.outside.statuses()[-1] == 486


def test_the_old_call_ends_while_the_new_ones_own_leg_is_asked_for(stage: Stage) -> None:
    """And that leg is refused: what goes back is carla's, which passed on, and not what was never taken."""
    world = stage.world
    world.auto = None
    stage.takes("eve")
    [own] = world.asked
    stage.carla.back("BYE", stage.asked, "to-asks", 1)
    stage.anna.answer(stage.one(stage.anna, "BYE"), 200, "OK")
    assert world.released == [("anna@example.com", Outcome.SUCCESS)]
    world.decide(own, Refused(Reason.LINES, "2", None))
    assert sorted(world.released) == [
        ("anna@example.com", Outcome.SUCCESS),
        ("carla@example.com", Outcome.SUCCESS),
    ]
    assert not world.engine.core.running


def test_a_call_that_was_taken_up_without_its_lease_lends_none(stage: Stage, tmp_path: Path) -> None:
    told = next(effect for effect in stage.world.of(CallAnswered) if effect.dialog)
    folder = tmp_path / "other"
    folder.mkdir()
    other = Scene(folder)
    other.world.reload(plans=BOTH_MODES, subscribers=MORE)
    leg = told.leg
    other.world.handle(
        CallInherited(Inherited(leg.limits, leg.direction, leg.lease, told.dialog, False, None))
    )
    [call] = other.world.engine.calls()
    assert call.call_id == "asks"
    anton = Phone(other.world, "192.0.2.10", "anton")
    anton.invite(CARLA, "new", REPLACES)
    assert [leg.account for leg in other.lines.legs] == ["anton@example.com", "carla@example.com"]
