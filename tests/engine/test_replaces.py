"""Transfers (RFC 3515, 3891): the lease follows the call. Lines are counted here as the store counts them, by leases.

anna (two lines) has called somebody outside, put that call on hold, and asks carla (one line) whether she takes it.
Then she refers the one outside to carla, who has no line left, and needs none.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.lease import Leg, Outcome
from policies.reasons import Reason
from policies.verdicts import Admitted, AdmitVerdict, Refused
from proxy.engine.effects import AskBindings, CallAnswered, ReleaseLease
from proxy.engine.events import BindingsFound
from proxy.sip.message import Request, Response
from tests.engine.world import Phone, World, bound

PLANS = """
plans:
  two: {categories: {gateway: {lines: 2, call_duration: 1h, total_duration: 10h per 1d}}}
  one: {categories: {gateway: {lines: 1, call_duration: 1h, total_duration: 10h per 1d}}}
  counted: {categories: {gateway: {lines: 2, success_calls: 9 per 1h}}}
"""
SUBSCRIBERS = """
subscribers:
  anna:
    accounts: [{user: anna, password: s, mode: gateway}, {user: anton, password: s, mode: gateway}]
    activations: [{plan: two, since: 2026-01-01}]
  carla:
    accounts: [{user: carla, password: s, mode: gateway}]
    activations: [{plan: one, since: 2026-01-01}]
  dora:
    accounts: [{user: dora, password: s, mode: gateway}, {user: dirk, password: s, mode: gateway}]
    activations: [{plan: counted, since: 2026-01-01}]
"""
NUMBER = "sip:4930@example.com"
CARLA = "sip:carla@example.com"


class Lines:
    """The limiter's answer: a leg is admitted while its payer holds fewer leases than `lines`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.legs: list[Leg] = []
        self.most: dict[str, int] = {}

    def __call__(self, leg: Leg) -> AdmitVerdict:
        payer, lines = leg.limits.payer, leg.limits.lines
        if lines is not None and self.held(payer) >= lines.value:
            return Refused(Reason.LINES, str(lines.value), None)
        self.legs.append(leg)
        self.most[payer] = max(self.most.get(payer, 0), self.held(payer))
        return Admitted(leg.lease, bound(("192.0.2.40", "1000")) if leg.aor else None)

    def held(self, payer: str) -> int:
        gone = {effect.leg.lease for effect in self.world.of(ReleaseLease)}
        return sum(1 for leg in self.legs if leg.limits.payer == payer and leg.lease not in gone)


class Scene:
    """anna at the PBX's address, somebody outside at the provider's, carla at her phone."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder, plans=PLANS, subscribers=SUBSCRIBERS)
        self.lines = Lines(self.world)
        self.world.auto = self.lines
        self.anna = Phone(self.world, "192.0.2.10", "anna")
        self.outside = Phone(self.world, "192.0.2.20", "outside")
        self.carla = Phone(self.world, "192.0.2.40", "carla")

    def call(
        self, caller: Phone, uri: str, callee: Phone, call_id: str, *extra: str
    ) -> tuple[Request, Response]:
        """Answered and acknowledged."""
        caller.invite(uri, call_id, *extra)
        invite = self.one(callee, "INVITE")
        callee.answer(invite, 200, "OK", f"to-{call_id}")
        ok = caller.got()[-1]
        assert isinstance(ok, Response)
        assert ok.status == 200
        caller.within("ACK", ok, 1)
        self.one(callee, "ACK")
        return invite, ok

    def one(self, phone: Phone, method: str) -> Request:
        found = {request.via.branch: request for request in phone.requests() if request.method == method}
        [request] = found.values()
        return request

    def hang_up(self, phone: Phone, ok: Response, other: Phone) -> None:
        phone.within("BYE", ok, 9)
        other.answer(self.one(other, "BYE"), 200, "OK")
        phone.got()

    def consult(self) -> tuple[Response, Request, Response]:
        """anna's two calls, and the REFER that passes to the one outside."""
        _, held = self.call(self.anna, NUMBER, self.outside, "held")
        asked, asking = self.call(self.anna, CARLA, self.carla, "asks")
        replaces = "Replaces=asks%3Bto-tag%3Dto-asks%3Bfrom-tag%3Df-asks"
        self.anna.within(
            "REFER", held, 2, f"Refer-To: <{CARLA}?{replaces}>", "Referred-By: <sip:anna@example.com>"
        )
        refer = self.one(self.outside, "REFER")
        assert "Replaces" in (refer.value("refer-to") or "")
        self.outside.answer(refer, 202, "Accepted", "to-held")
        self.anna.got()
        assert (self.lines.held("anna"), self.lines.held("carla")) == (2, 1)
        return held, asked, asking

    def transfer(self, to_tag: str = "to-asks", from_tag: str = "f-asks") -> None:
        """The one outside calls carla in place of anna."""
        line = f"Replaces: asks;to-tag={to_tag};from-tag={from_tag}"
        self.outside.invite(CARLA, "new", line)
        found = self.world.of(AskBindings)
        if found:
            self.world.handle(BindingsFound(bound(("192.0.2.40", "1000")), found[-1].user))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_an_attended_transfer_needs_no_second_line(scene: Scene) -> None:
    held, asked, _ = scene.consult()
    scene.transfer()
    ringing = scene.one(scene.carla, "INVITE")
    assert ringing.value("replaces") == "asks;to-tag=to-asks;from-tag=f-asks"
    assert scene.lines.held("carla") == 1
    scene.carla.answer(ringing, 200, "OK", "to-new")
    ok = scene.outside.got()[-1]
    assert isinstance(ok, Response)
    scene.outside.within("ACK", ok, 1)
    # carla's phone ends the dialog that was replaced; anna ends the other one when she hears that it worked.
    scene.carla.back("BYE", asked, "to-asks", 1)
    scene.anna.answer(scene.one(scene.anna, "BYE"), 200, "OK")
    scene.carla.got()
    scene.hang_up(scene.anna, held, scene.outside)
    assert (scene.lines.held("anna"), scene.lines.held("carla")) == (0, 1)
    scene.hang_up(scene.outside, ok, scene.carla)
    assert (scene.lines.held("anna"), scene.lines.held("carla")) == (0, 0)
    # Never a second one, nor a gap: one lease of carla's was asked for, answered and given back.
    assert scene.lines.most == {"anna": 2, "carla": 1}
    carlas = [lease for lease in scene.world.released if lease[0] == "carla@example.com"]
    assert carlas == [("carla@example.com", Outcome.SUCCESS)]
    causes = {record.call_id: record.cause for record in scene.world.records}
    assert causes == {"asks": "replaced", "held": "bye", "new": "bye"}
    scene.world.idle()


def test_the_limit_on_the_call_runs_from_its_first_answer(scene: Scene) -> None:
    _, asked, _ = scene.consult()
    scene.world.advance(3000)
    scene.transfer()
    scene.carla.answer(scene.one(scene.carla, "INVITE"), 200, "OK", "to-new")
    ok = scene.outside.got()[-1]
    assert isinstance(ok, Response)
    scene.outside.within("ACK", ok, 1)
    scene.carla.got()
    scene.carla.back("BYE", asked, "to-asks", 1)
    scene.anna.answer(scene.one(scene.anna, "BYE"), 200, "OK")
    scene.carla.got()
    scene.world.advance(599)
    assert not scene.carla.got()
    scene.world.advance(1.1)
    bye = scene.carla.requests()[0]
    assert (bye.call_id, bye.value("reason")) == ("new", 'SIP ;cause=402 ;text="call_duration reached"')


def test_one_drain_of_the_budget_and_it_ends_the_call_that_goes_on(scene: Scene) -> None:
    _, asked, _ = scene.consult()
    scene.transfer()
    scene.carla.answer(scene.one(scene.carla, "INVITE"), 200, "OK", "to-new")
    scene.outside.within("ACK", scene.outside.got()[-1], 1)  # type: ignore[arg-type]
    scene.carla.got()
    [leg] = [leg for leg in scene.lines.legs if leg.limits.payer == "carla"]
    told = [effect.dialog.split("\n") for effect in scene.world.of(CallAnswered) if effect.leg is leg]
    # What would end it after a crash is the call that goes on, and its talk began with the first one.
    assert [lines[2] for lines in told if len(lines) > 1] == ["new"]
    assert {
        effect.leg.lease for effect in scene.world.of(CallAnswered) if effect.leg.limits.payer == "carla"
    } == {leg.lease}
    scene.carla.back("BYE", asked, "to-asks", 1)
    scene.anna.answer(scene.one(scene.anna, "BYE"), 200, "OK")
    scene.carla.got()
    scene.world.budget(leg.limits, 60.0, 1)
    scene.world.advance(60.1)
    bye = scene.carla.requests()[0]
    assert (bye.call_id, bye.value("reason")) == ("new", 'SIP ;cause=402 ;text="total_duration reached"')
    assert not scene.anna.got()


def test_when_the_new_call_fails_the_old_one_has_its_lease(scene: Scene) -> None:
    _, _, asking = scene.consult()
    scene.transfer()
    scene.carla.answer(scene.one(scene.carla, "INVITE"), 603, "Decline", "to-new")
    assert scene.outside.statuses()[-1] == 603
    assert scene.lines.held("carla") == 1
    # A second try borrows it again.
    scene.outside.invite(CARLA, "again", "Replaces: asks;to-tag=to-asks;from-tag=f-asks")
    scene.world.handle(BindingsFound(bound(("192.0.2.40", "1000")), scene.world.of(AskBindings)[-1].user))
    scene.carla.answer(scene.one(scene.carla, "INVITE"), 480, "Not now", "to-again")
    scene.hang_up(scene.anna, asking, scene.carla)
    assert scene.lines.held("carla") == 0


@pytest.mark.parametrize("answered", [True, False])
def test_when_the_old_call_ends_first_the_lease_passes_on(scene: Scene, answered: bool) -> None:
    _, _, asking = scene.consult()
    scene.transfer()
    ringing = scene.one(scene.carla, "INVITE")
    scene.hang_up(scene.anna, asking, scene.carla)
    assert scene.lines.held("carla") == 1, "it rings at carla's on her one line"
    if answered:
        scene.carla.answer(ringing, 200, "OK", "to-new")
        ok = scene.outside.got()[-1]
        assert isinstance(ok, Response)
        scene.outside.within("ACK", ok, 1)
        scene.one(scene.carla, "ACK")
        assert scene.lines.held("carla") == 1
        scene.hang_up(scene.outside, ok, scene.carla)
    else:
        scene.carla.answer(ringing, 486, "Busy Here", "to-new")
    assert scene.lines.held("carla") == 0
    # She had talked on it: a success, whatever became of the transfer.
    assert ("carla@example.com", Outcome.SUCCESS) in scene.world.released
    assert not [call for call in scene.world.engine.core.calls.values() if call.call_id != "held"]
    assert [key for key in scene.world.engine.core.running if key[0] == "carla"] == []


def test_an_old_call_that_nobody_ends_is_cut(scene: Scene) -> None:
    """A phone that does not know Replaces just takes another call: two of them on one lease, for 4 s at most."""
    scene.consult()
    scene.transfer()
    scene.carla.answer(scene.one(scene.carla, "INVITE"), 200, "OK", "to-new")
    scene.outside.within("ACK", scene.outside.got()[-1], 1)  # type: ignore[arg-type]
    scene.carla.got()
    scene.world.advance(3.9)
    assert not scene.anna.got()
    scene.world.advance(0.2)
    bye = scene.one(scene.anna, "BYE")
    assert (bye.call_id, bye.value("reason")) == ("asks", 'SIP ;cause=410 ;text="replaced by another call"')
    assert scene.one(scene.carla, "BYE").call_id == "asks"
    assert scene.lines.held("carla") == 1
    assert [call.call_id for call in scene.world.engine.core.calls.values() if call.state == 2] == [
        "held",
        "new",
    ]


@pytest.mark.parametrize(
    ("to_tag", "from_tag"),
    [("to-asks", "guessed"), ("guessed", "f-asks"), ("to-held", "f-held"), ("", "f-asks")],
)
def test_who_names_no_call_of_carlas_needs_a_line(scene: Scene, to_tag: str, from_tag: str) -> None:
    scene.consult()
    scene.transfer(to_tag, from_tag)
    assert scene.outside.statuses()[-1] == 486
    assert not scene.carla.got()


def test_two_that_want_the_same_place(scene: Scene) -> None:
    scene.consult()
    scene.transfer()
    scene.one(scene.carla, "INVITE")
    scene.outside.got()
    scene.outside.invite(CARLA, "second", "Replaces: asks;to-tag=to-asks;from-tag=f-asks")
    assert scene.outside.statuses()[-1] == 486


def test_a_payer_of_both_calls_needs_no_third_line(scene: Scene) -> None:
    """anton, of the same subscriber as anna, takes her call with carla over: nothing is asked of the store."""
    _, asked, _ = scene.consult()
    asks = len(scene.lines.legs)
    anton = Phone(scene.world, "192.0.2.10", "anton")
    anton.invite(CARLA, "new", "Replaces: asks;to-tag=to-asks;from-tag=f-asks")
    scene.world.handle(BindingsFound(bound(("192.0.2.40", "1000")), scene.world.of(AskBindings)[-1].user))
    scene.carla.answer(scene.one(scene.carla, "INVITE"), 200, "OK", "to-new")
    ok = anton.got()[-1]
    assert isinstance(ok, Response)
    anton.within("ACK", ok, 1)
    scene.carla.got()
    assert len(scene.lines.legs) == asks
    scene.carla.back("BYE", asked, "to-asks", 1)
    anton.answer(scene.one(anton, "BYE"), 200, "OK")
    scene.carla.got()
    assert (scene.lines.held("anna"), scene.lines.held("carla")) == (2, 1)
    scene.hang_up(anton, ok, scene.carla)
    assert (scene.lines.held("anna"), scene.lines.held("carla")) == (1, 0)


def test_a_transfer_is_no_way_round_success_calls(scene: Scene) -> None:
    """Each answered call that a payer makes is one: dirk's is asked for though dora's line would come free."""
    dora, dirk = Phone(scene.world, "192.0.2.10", "dora"), Phone(scene.world, "192.0.2.10", "dirk")
    scene.call(dora, CARLA, scene.carla, "asks")
    before = scene.lines.held("dora")
    dirk.invite(CARLA, "new", "Replaces: asks;to-tag=to-asks;from-tag=f-asks")
    assert scene.lines.held("dora") == before + 1


def test_a_caller_gone_while_the_contacts_are_looked_up(scene: Scene) -> None:
    scene.consult()
    scene.outside.invite(CARLA, "new", "Replaces: asks;to-tag=to-asks;from-tag=f-asks")
    [asked] = scene.world.of(AskBindings)
    scene.outside.cancel(CARLA, "new")
    assert scene.outside.statuses() == [100, 200, 487]
    scene.world.handle(BindingsFound(bound(("192.0.2.40", "1000")), asked.user))
    assert not scene.carla.got()
    assert scene.lines.held("carla") == 1
    [left] = [call for call in scene.world.engine.core.calls.values() if call.call_id == "asks"]
    assert left.handover is None, "the next one may have the place"


def test_no_contacts_no_call(scene: Scene) -> None:
    scene.consult()
    scene.outside.invite(CARLA, "new", "Replaces: asks;to-tag=to-asks;from-tag=f-asks")
    scene.world.handle(BindingsFound(None, scene.world.of(AskBindings)[-1].user))
    assert scene.outside.statuses()[-1] == 503
    scene.outside.invite(CARLA, "new2", "Replaces: asks;to-tag=to-asks;from-tag=f-asks")
    scene.world.handle(BindingsFound([], scene.world.of(AskBindings)[-1].user))
    assert scene.outside.statuses()[-1] == 480
    assert scene.lines.held("carla") == 1


def test_a_ringing_call_picked_up_elsewhere_is_answered(scene: Scene) -> None:
    """RFC 3891 §3 with early dialogs: carla has called out; who is to answer there calls her back in its place."""
    carla = Phone(scene.world, "192.0.2.10", "carla")
    carla.invite(NUMBER, "rings")
    invite = scene.one(scene.outside, "INVITE")
    scene.outside.answer(invite, 180, "Ringing", "to-rings")
    carla.got()
    assert scene.lines.held("carla") == 1
    scene.outside.invite(CARLA, "picks", "Replaces: rings;to-tag=f-rings;from-tag=to-rings;early-only")
    scene.world.handle(BindingsFound(bound(("192.0.2.40", "1000")), scene.world.of(AskBindings)[-1].user))
    scene.carla.answer(scene.one(scene.carla, "INVITE"), 200, "OK", "to-picks")
    ok = scene.outside.got()[-1]
    assert isinstance(ok, Response)
    scene.outside.within("ACK", ok, 1)
    scene.one(scene.carla, "ACK")
    carla.cancel(NUMBER, "rings")
    scene.outside.answer(invite, 487, "Request Terminated", "to-rings")
    assert scene.lines.held("carla") == 1
    assert scene.world.released == []
    scene.outside.got()
    scene.hang_up(scene.outside, ok, scene.carla)
    assert scene.world.released == [("carla@example.com", Outcome.SUCCESS)]


def test_a_referred_call_is_its_own_and_the_old_lease_goes_with_the_old_bye(scene: Scene) -> None:
    """jambonz sbc-outbound #226: REFER without Replaces. The count neither stays up nor goes below."""
    _, held = scene.call(scene.anna, NUMBER, scene.outside, "held")
    scene.anna.within("REFER", held, 2, f"Refer-To: <{CARLA}>")
    scene.outside.answer(scene.one(scene.outside, "REFER"), 202, "Accepted", "to-held")
    scene.anna.got()
    assert (scene.lines.held("anna"), scene.lines.held("carla")) == (1, 0)
    scene.outside.invite(CARLA, "new", "Referred-By: <sip:anna@example.com>")
    invite = scene.one(scene.carla, "INVITE")
    assert invite.value("referred-by") == "<sip:anna@example.com>"
    assert (scene.lines.held("anna"), scene.lines.held("carla")) == (1, 1)
    scene.carla.answer(invite, 200, "OK", "to-new")
    ok = scene.outside.got()[-1]
    assert isinstance(ok, Response)
    scene.outside.within("ACK", ok, 1)
    scene.carla.got()
    scene.outside.within("NOTIFY", held, 1)
    scene.hang_up(scene.anna, held, scene.outside)
    assert (scene.lines.held("anna"), scene.lines.held("carla")) == (0, 1)
    scene.hang_up(scene.outside, ok, scene.carla)
    assert (scene.lines.held("anna"), scene.lines.held("carla")) == (0, 0)
    leases = [effect.leg.lease for effect in scene.world.of(ReleaseLease)]
    assert len(leases) == len(set(leases)) == 2
