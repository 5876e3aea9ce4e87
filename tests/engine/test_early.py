"""Early dialogs: requests pass in each of them, a failed branch takes its own along, and 199 (RFC 6228) tells of it."""

from __future__ import annotations

import pytest

from policies.verdicts import Admitted
from proxy.engine.calls import EARLY_MAX
from proxy.sip.message import Request, Response
from tests.engine.world import Phone, World, bound


def two_ring(world: World, *extra: str) -> tuple[Phone, Phone, Phone, Request, Request]:
    """alice calls bob, whose desk and mobile phone both ring, each in an early dialog of its own."""
    records = bound(("192.0.2.30", "1000"), ("192.0.2.31", "1000"))
    world.auto = lambda leg: Admitted(leg.lease, records if leg.aor else None)
    caller = Phone(world, "192.0.2.10", "alice")
    desk, mobile = (Phone(world, f"192.0.2.{30 + i}", "bob") for i in range(2))
    caller.invite("sip:bob@example.com", "c1", *extra)
    [at_desk], [at_mobile] = desk.requests(), mobile.requests()
    desk.answer(at_desk, 183, "Session Progress", "d", "Require: 100rel", "RSeq: 1")
    mobile.answer(at_mobile, 183, "Session Progress", "m", "Require: 100rel", "RSeq: 1")
    return caller, desk, mobile, at_desk, at_mobile


def responses(phone: Phone) -> list[Response]:
    return [message for message in phone.got() if isinstance(message, Response)]


@pytest.mark.rfc3261("16.7-28")
def test_each_early_dialog_has_its_own_prack_and_update(world: World) -> None:
    """RFC 3262 §4, RFC 3311 §5.1: both belong to one early dialog, whichever of several it is."""
    caller, desk, mobile, _, _ = two_ring(world)
    _, from_desk, from_mobile = responses(caller)
    assert [from_desk.to_tag, from_mobile.to_tag] == ["d", "m"]
    assert from_mobile.value("rseq") == "1"
    caller.within("PRACK", from_mobile, 2, "RAck: 1 1 INVITE")
    caller.within("PRACK", from_desk, 2, "RAck: 1 1 INVITE")
    for phone, tag in ((desk, "d"), (mobile, "m")):
        [prack] = phone.requests()
        assert (prack.method, prack.to_tag, prack.value("rack")) == ("PRACK", tag, "1 1 INVITE")
        phone.answer(prack, 200, "OK", tag)
    assert caller.statuses() == [200, 200]
    caller.within("UPDATE", from_mobile, 3)
    [update] = mobile.requests()
    assert update.method == "UPDATE"
    assert not desk.got()


def test_who_knows_199_hears_of_the_branch_that_failed(world: World) -> None:
    caller, desk, mobile, at_desk, at_mobile = two_ring(world, "Supported: 100rel, 199")
    caller.got()
    desk.answer(at_desk, 486, "Busy Here", "d")
    [told] = responses(caller)
    assert (told.status, told.to_tag, told.value("reason")) == (199, "d", "SIP ;cause=486")
    assert "contact" not in told.keys
    assert "record-route" not in told.keys
    mobile.answer(at_mobile, 200, "OK", "m")
    assert caller.statuses() == [200]


@pytest.mark.parametrize("extra", [("Supported: 100rel",), ("Supported: 199", "Require: 100rel")])
@pytest.mark.rfc3261("8.2.4-1", "8.2.4-5")
def test_nobody_else_does(world: World, extra: tuple[str, ...]) -> None:
    """Not without the tag in Supported, and not where each provisional is to be reliable: a proxy cannot send such."""
    caller, desk, _, at_desk, _ = two_ring(world, *extra)
    caller.got()
    desk.answer(at_desk, 486, "Busy Here", "d")
    assert not caller.got()


def test_no_199_when_the_failure_itself_goes_up(world: World) -> None:
    caller, desk, mobile, at_desk, at_mobile = two_ring(world, "Supported: 199")
    caller.got()
    desk.answer(at_desk, 486, "Busy Here", "d")
    mobile.answer(at_mobile, 486, "Busy Here", "m")
    assert caller.statuses() == [199, 486]


def test_nothing_passes_in_an_early_dialog_that_is_over(world: World) -> None:
    """Whether its branch failed or its callee sent the 199 itself (RFC 6228 §4)."""
    caller, desk, mobile, at_desk, at_mobile = two_ring(world)
    _, from_desk, from_mobile = responses(caller)
    desk.answer(at_desk, 486, "Busy Here", "d")
    mobile.answer(at_mobile, 199, "Early Dialog Terminated", "m")
    assert caller.statuses() == [199]
    for answer in (from_desk, from_mobile):
        caller.within("PRACK", answer, 2, "RAck: 1 1 INVITE")
    [call] = world.engine.core.calls.values()
    assert call.dialogs == []
    # A proxy beyond the callee forked: another of its dialogs is answered.
    mobile.answer(at_mobile, 200, "OK", "m2")
    assert 200 in caller.statuses()
    assert [dialog.callee.tag for dialog in call.dialogs] == ["m2"]


def test_a_callee_that_makes_up_dialogs_fills_no_memory(world: World) -> None:
    caller, _, mobile, _, at_mobile = two_ring(world)
    for i in range(EARLY_MAX + 20):
        mobile.answer(at_mobile, 180, "Ringing", f"made-up-{i}")
    [call] = world.engine.core.calls.values()
    assert len(call.dialogs) == EARLY_MAX
    mobile.answer(at_mobile, 200, "OK", "real")
    assert caller.statuses()[-1] == 200
    assert call.dialogs[-1].confirmed


def test_a_second_invite_waits_for_the_answer_to_the_first(world: World) -> None:
    """RFC 3261 §14.1. A callee that takes it and refuses the first one would be in a call that nobody admitted."""
    caller, desk, mobile, at_desk, _ = two_ring(world)
    _, from_desk, _ = responses(caller)
    caller.within("INVITE", from_desk, 2)
    assert caller.statuses() == [491]
    assert not desk.got()
    desk.back("INVITE", at_desk, "d", 7)
    assert desk.statuses() == [491], "and no INVITE"
    assert not mobile.got()
    desk.answer(at_desk, 200, "OK", "d")
    [ok] = [one for one in responses(caller) if one.status == 200]
    caller.within("ACK", ok, 1)
    caller.within("INVITE", ok, 3)
    assert [each.method for each in desk.requests()] == ["ACK", "INVITE"]
