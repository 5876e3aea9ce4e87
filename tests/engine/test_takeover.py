"""A call outlives its process: what is written at the answer is enough to carry it on and to end it."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.heritage import Inherited
from policies.lease import Outcome
from policies.verdicts import Admitted
from proxy.engine.call import Call
from proxy.engine.dialogtext import read_dialog
from proxy.engine.effects import CallAnswered, DialogOver, HoldLease
from proxy.engine.events import CallInherited, LeaseLost
from proxy.sip.message import Response
from tests.engine.test_connections import BOB, Connected, record, registered
from tests.engine.world import SUBSCRIBERS, Phone, World, answered, bound, set_up

HOUR = 3600.0


@pytest.fixture
def other(tmp_path: Path) -> World:
    """The process that comes after; its clock began with itself, the wall clock went on."""
    folder = tmp_path / "other"
    folder.mkdir()
    return World(folder)


def left(world: World, held: bool, exhausts_in: float | None = None) -> Inherited:
    """What the store has of the one call that was answered."""
    [told] = world.of(CallAnswered)
    leg = told.leg
    return Inherited(leg.limits, leg.direction, leg.lease, told.dialog, held, exhausts_in)


def inherit(world: World, found: Inherited) -> tuple[Phone, Phone]:
    world.handle(CallInherited(found))
    return Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")


def the_call(world: World) -> Call:
    [call] = world.engine.calls()
    return call


def test_within_its_lease_it_is_as_before_and_cut_at_its_end(world: World, other: World) -> None:
    _, _, invite, ok = set_up(world)
    other.engine.core.wall_offset = world.engine.core.wall_offset + 100.0
    caller, callee = inherit(other, left(world, held=True))
    [hold] = other.of(HoldLease)
    assert hold.leg.lease == the_call(world).legs[0].lease
    assert hold.answered_ago == pytest.approx(100, abs=0.01)
    assert the_call(other).record.payers == ["alice"]

    other.advance(HOUR - 100.1)
    assert other.sent == []
    other.advance(0.2)
    for phone, tag in ((caller, invite.from_tag), (callee, ok.to_tag)):
        [bye] = phone.requests()
        assert (bye.method, bye.to_tag, bye.call_id) == ("BYE", tag, invite.call_id)
        assert bye.cseq > 1000  # above what either can have sent meanwhile
        assert 'text="call_duration reached"' in (bye.value("reason") or "")
        phone.answer(bye, 200, "OK")
    assert other.released == [("alice@example.com", Outcome.SUCCESS)]
    [record] = other.records
    assert (record.reason, record.cut, record.outcome, record.caller) == (
        "call_duration",
        True,
        "success",
        "alice@example.com",
    )
    other.idle()


def test_whoever_hangs_up_is_understood(world: World, other: World) -> None:
    _, _, _, ok = set_up(world)
    caller, callee = inherit(other, left(world, held=True))
    caller.within("BYE", ok, 2)
    [bye] = callee.requests()
    assert bye.method == "BYE"
    callee.answer(bye, 200, "OK")
    assert caller.statuses() == [200]
    assert other.released == [("alice@example.com", Outcome.SUCCESS)]
    assert other.records[0].ended_by == "caller"
    other.idle()


@pytest.mark.parametrize(("host", "reached"), [("203.0.113.5", True), ("203.0.113.6", False)])
def test_who_registers_anew_from_there_is_cut_over_its_new_connection(
    world: World, other: World, host: str, reached: bool
) -> None:
    """A phone over TCP whose connection ended with the process: it takes none at the port it had."""
    bob = Connected(world, "TCP")
    caller = registered(world, record(bob.flow))
    caller.invite(BOB)
    [invite] = bob.requests()
    bob.answer(invite, 200, "OK", "t1", f"Contact: <sip:bob@{bob.flow.host}:{bob.flow.port};transport=tcp>")
    told = {told.leg.direction: told for told in world.of(CallAnswered)}
    leg = told["out"].leg
    other.handle(CallInherited(Inherited(leg.limits, "out", leg.lease, told["out"].dialog, True, None)))
    again = Connected(other, "TCP", host, number=9)
    other.engine.core.sources.put(again.flow, "bob@example.com", other.now + 2 * HOUR, other.now)
    other.advance(HOUR + 1)
    assert [request.method for request in again.requests()][:1] == ["BYE"] * reached


def test_a_shared_budget_is_planned_for_it_too(world: World, other: World) -> None:
    set_up(world)
    caller, callee = inherit(other, left(world, held=True))
    other.budget(the_call(other).legs[0].limits, 5.0, 1)
    other.advance(5.1)
    for phone in (caller, callee):
        [bye] = phone.requests()
        assert 'text="total_duration reached"' in (bye.value("reason") or "")
        phone.answer(bye, 200, "OK")
    other.idle()


@pytest.mark.parametrize(
    ("exhausts_in", "after_s", "reason"), [(None, HOUR, "call_duration"), (7.0, 7.0, "total_duration")]
)
def test_after_its_lease_it_is_only_cut_and_gives_nothing_back(
    world: World, other: World, exhausts_in: float | None, after_s: float, reason: str
) -> None:
    set_up(world)
    caller, callee = inherit(other, left(world, held=False, exhausts_in=exhausts_in))
    assert other.of(HoldLease) == []
    other.advance(after_s - 0.1)
    assert other.sent == []
    other.advance(0.2)
    assert other.of(DialogOver) == []
    for phone in (caller, callee):
        [bye] = phone.requests()
        assert f'text="{reason} reached"' in (bye.value("reason") or "")
        phone.answer(bye, 200, "OK")
    assert other.released == []
    # Nobody has to take it up again.
    assert len(other.of(DialogOver)) == 1
    other.idle()


def test_a_call_that_should_have_ended_long_ago_is_ended_now(world: World, other: World) -> None:
    set_up(world)
    other.engine.core.wall_offset = world.engine.core.wall_offset + 2 * HOUR
    caller, callee = inherit(other, left(world, held=False))
    other.advance(0.1)
    assert [phone.requests()[0].method for phone in (caller, callee)] == ["BYE", "BYE"]


def test_told_twice_it_is_one_call(world: World, other: World) -> None:
    set_up(world)
    found = left(world, held=True)
    inherit(other, found)
    inherit(other, found)
    assert len(other.of(HoldLease)) == 1
    assert the_call(other).token == the_call(world).token


def test_a_lease_that_an_operator_cleared_ends_its_call(world: World) -> None:
    caller, callee, _, _ = set_up(world)
    [leg] = the_call(world).legs
    world.handle(LeaseLost(leg))
    for phone in (caller, callee):
        [bye] = phone.requests()
        assert bye.method == "BYE"
        phone.answer(bye, 200, "OK")
    world.handle(LeaseLost(leg))
    world.idle()


@pytest.mark.rfc3261("12.1.1-6", "12.1.2-3")
def test_route_sets_and_odd_values_come_back_as_they_were(world: World, other: World) -> None:
    caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
    beyond = '"a, b" <sip:192.0.2.20:5062;lr>;x="\t,"'
    caller.invite("sip:4930@example.com", "c1", "Record-Route: <sip:192.0.2.10:5064;lr>")
    [invite] = callee.requests()
    callee.answer(invite, 200, "OK", "t1", f"Record-Route: {beyond}")
    [_, ok] = [message for message in caller.got() if isinstance(message, Response)]
    caller.within("ACK", ok, 1)
    before = the_call(world)
    inherit(other, left(world, held=True))
    after = the_call(other)
    for old, new in ((before.caller, after.caller), (before.dialogs[0].callee, after.dialogs[0].callee)):
        for name in ("tag", "line", "target", "routes"):
            assert getattr(old, name) == getattr(new, name)
        assert (old.flow.host, old.flow.port, old.flow.transport) == (
            new.flow.host,
            new.flow.port,
            new.flow.transport,
        )


def test_a_text_that_is_not_whole_or_of_another_version_is_no_call(world: World, other: World) -> None:
    set_up(world)
    text = left(world, held=True).dialog
    lines = text.split("\n")
    for count in range(len(lines)):
        assert read_dialog(other.engine.core, "\n".join(lines[:count]), 0.0) is None
    for number in range(len(lines)):
        for wrong in ("", "x", "-1", "999999999999", "\x00"):
            # Whatever it is, it does not raise.
            read_dialog(other.engine.core, "\n".join([*lines[:number], wrong, *lines[number + 1 :]]), 0.0)
    assert read_dialog(other.engine.core, "2\n" + "\n".join(lines[1:]), 0.0) is None


def test_nobodys_call_is_not_taken_up(world: World, tmp_path: Path) -> None:
    """Its payer is none of ours any more."""
    set_up(world)
    folder = tmp_path / "without"
    folder.mkdir()
    without = World(folder, subscribers="subscribers: {}\n")
    inherit(without, left(world, held=True))
    assert list(without.engine.calls()) == []


@pytest.mark.parametrize("held", [True, False])
def test_whose_plan_has_ended_meanwhile_keeps_no_call(world: World, tmp_path: Path, held: bool) -> None:
    """As when it ends in the midst of one (replan.py)."""
    _, _, invite, _ = set_up(world)
    folder = tmp_path / "ended"
    folder.mkdir()
    ended = World(folder, subscribers=SUBSCRIBERS.replace("until: 2027-01-01", "until: 2026-02-01"))
    found = left(world, held)
    limits = ended.engine.core.limits_of_payer("alice", "softphone", ended.now)
    assert limits is not None
    caller, callee = inherit(
        ended, Inherited(limits, found.direction, found.lease, found.dialog, held, found.exhausts_in)
    )
    ended.advance(0.1)
    for phone in (caller, callee):
        [bye] = phone.requests()
        assert (bye.method, bye.call_id) == ("BYE", invite.call_id)
        assert 'text="no active tariff plan any more"' in (bye.value("reason") or "")
        phone.answer(bye, 200, "OK")
    assert ended.released == ([("alice@example.com", Outcome.SUCCESS)] if held else [])
    assert len(ended.of(DialogOver)) == (0 if held else 1)
    ended.idle()


def test_every_leg_of_the_call_is_held_and_one_keeps_the_text(world: World, other: World) -> None:
    """alice calls an account of ours: two payers."""
    records = bound(("192.0.2.30", "1000"))
    world.auto = lambda leg: Admitted(leg.lease, records if leg.aor else None)
    caller, phone = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.30", "bob")
    answered(caller, phone, uri="sip:bob@example.com")
    first, second = world.of(CallAnswered)
    assert first.dialog
    assert second.dialog == ""
    found = Inherited(first.leg.limits, first.leg.direction, first.leg.lease, first.dialog, True, None)
    other.handle(CallInherited(found))
    holds = other.of(HoldLease)
    assert [hold.leg.lease for hold in holds] == [first.leg.lease, second.leg.lease]
    assert [bool(hold.dialog) for hold in holds] == [True, False]
