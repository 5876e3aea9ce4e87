"""The cut (SPEC §4): BYE to both sides, whatever state the dialog is in; counted once, released once."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.lease import Outcome
from policies.verdicts import Admitted, AdmitVerdict
from proxy.engine.events import FlowFailed, Hangup
from proxy.sip.message import Request, Response
from tests.engine.world import CALLGATE, Phone, World, answered, ringing, set_up

SUCCESS = [("alice@example.com", Outcome.SUCCESS)]


def one_bye(phone: Phone) -> Request:
    [bye] = phone.requests()
    assert bye.method == "BYE"
    return bye


@pytest.mark.rfc3261("12.1.1-6", "12.1.2-3", "12.2.1.1-2", "12.2.1.1-4")
def test_call_duration_ends_the_call_on_both_sides(world: World) -> None:
    caller, callee, invite, _ = set_up(world)
    world.advance(3599.9)
    assert not caller.got()
    world.advance(0.2)
    to_callee, to_caller = one_bye(callee), one_bye(caller)
    # Each side gets what the other one would have sent: its own dialog, a higher CSeq, the reason.
    assert (to_callee.uri, to_caller.uri) == ("sip:provider@192.0.2.20:5060", "sip:alice@192.0.2.10:5060")
    assert (to_callee.from_tag, to_callee.to_tag) == (invite.from_tag, "t1")
    assert (to_caller.from_tag, to_caller.to_tag) == ("t1", invite.from_tag)
    assert to_callee.cseq == 2
    assert to_caller.cseq == 1
    for bye in (to_callee, to_caller):
        assert bye.value("reason") == 'SIP ;cause=402 ;text="call_duration reached"'
    callee.answer(to_callee, 200, "OK")
    caller.answer(to_caller, 200, "OK")
    assert world.released == SUCCESS
    [record] = world.records
    assert (record.cut, record.reason, record.ended_by) == (True, "call_duration", "callgate")
    world.idle()


def test_no_request_within_the_dialog_prolongs_the_call(world: World) -> None:
    caller, callee, _, ok = set_up(world)
    for at, method in ((1000, "INVITE"), (1000, "UPDATE"), (1000, "INFO")):
        world.advance(at)
        caller.within(method, ok, at)
        [request] = callee.requests()
        assert request.method == method
        callee.answer(request, 200, "OK", "t1", "Session-Expires: 1800;refresher=uac")
        caller.got()
        if method == "INVITE":
            caller.within("ACK", ok, at)
            callee.got()
    world.advance(599)
    assert not callee.got()
    world.advance(1.2)
    bye = one_bye(callee)
    assert bye.cseq == 1001, "above the highest CSeq the callee has seen from that side"


def test_three_calls_share_one_budget_and_all_end_when_it_is_used_up(world: World) -> None:
    calls = [set_up(world, f"c{i}") for i in range(3)]
    leg = world.engine.core.calls[next(iter(world.engine.core.calls))].legs[0]
    world.budget(leg.limits, 10.0, 1)
    world.budget(leg.limits, 10 / 3, 3)
    world.budget(leg.limits, 5.0, 2)  # an older plan that comes late changes nothing
    caller, callee = calls[0][0], calls[0][1]
    world.advance(3.3)
    assert not callee.got()
    world.advance(0.1)
    byes = callee.requests()
    assert {bye.call_id for bye in byes} == {"c0", "c1", "c2"}
    assert all(bye.value("reason") == 'SIP ;cause=402 ;text="total_duration reached"' for bye in byes)
    for bye in byes:
        callee.answer(bye, 200, "OK")
    for bye in caller.requests():
        caller.answer(bye, 200, "OK")
    assert len(world.released) == 3
    world.idle()


def test_a_new_plan_replaces_the_old_one(world: World) -> None:
    _, callee, _, _ = set_up(world)
    leg = next(iter(world.engine.calls())).legs[0]
    world.budget(leg.limits, 5.0, 1)
    world.advance(4)
    world.budget(leg.limits, 100.0, 2)
    world.advance(50)
    assert not callee.got()
    world.budget(leg.limits, None, 3)
    world.advance(1000)
    assert not callee.got()


def test_before_the_ack_the_callers_bye_waits(world: World) -> None:
    caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
    _, ok = answered(caller, callee)
    world.handle(Hangup("c1"))
    to_callee = one_bye(callee)
    callee.answer(to_callee, 200, "OK")
    # RFC 3261 §15: not before the ACK.
    assert not caller.got()
    caller.within("ACK", ok, 1)
    assert [message.method for message in callee.requests()] == ["ACK"], "the ACK is still relayed"
    caller.answer(one_bye(caller), 200, "OK")
    assert world.released == SUCCESS
    world.idle()


def test_an_ack_that_never_comes_delays_the_callers_bye_by_64_t1(world: World) -> None:
    caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
    answered(caller, callee)
    world.handle(Hangup("c1"))
    callee.answer(one_bye(callee), 200, "OK")
    world.advance(31.9)
    assert not caller.got()
    world.advance(0.2)
    caller.answer(one_bye(caller), 200, "OK")
    world.idle()


def test_one_side_dead_does_not_keep_the_other_from_its_bye(world: World) -> None:
    caller, callee, _, _ = set_up(world)
    world.handle(Hangup("c1"))
    to_caller = one_bye(caller)
    caller.answer(to_caller, 200, "OK")
    callee.got()
    world.advance(31)
    assert callee.requests(), "retransmitted while nobody answers"
    world.advance(60)
    assert world.released == SUCCESS
    assert world.engine.core.counters.teardowns_failed == 1
    world.idle()


def test_a_flow_that_failed_is_followed_by_a_try_at_the_contact(world: World) -> None:
    caller = Phone(world, "192.0.2.10", "alice")
    callee = Phone(world, "192.0.2.20", "provider")
    invite = ringing(caller, callee)
    # The callee's Contact is elsewhere than where its messages come from.
    callee.address = "192.0.2.77:5070"
    callee.answer(invite, 200, "OK")
    [ok] = caller.got()
    assert isinstance(ok, Response)
    caller.within("ACK", ok, 1)
    elsewhere = Phone(world, "192.0.2.77", "provider", 5070)
    assert elsewhere.requests()[0].method == "ACK"
    world.handle(Hangup("c1"))
    one_bye(callee)
    world.handle(FlowFailed(callee.flow))
    elsewhere.answer(one_bye(elsewhere), 200, "OK")
    caller.answer(one_bye(caller), 200, "OK")
    world.idle()


def test_crossing_bye_is_answered_and_counted_once(world: World) -> None:
    caller, callee, _, ok = set_up(world)
    world.handle(Hangup("c1"))
    to_callee, to_caller = one_bye(callee), one_bye(caller)
    caller.within("BYE", ok, 2)
    assert caller.statuses() == [200]
    assert not callee.got()
    callee.answer(to_callee, 481, "Gone")
    caller.answer(to_caller, 481, "Gone")
    assert world.released == SUCCESS
    assert len(world.records) == 1
    world.idle()


def test_a_reinvite_that_crosses_the_cut_is_refused(world: World) -> None:
    caller, callee, _, ok = set_up(world)
    world.handle(Hangup("c1"))
    one_bye(callee)
    one_bye(caller)
    caller.within("INVITE", ok, 2)
    assert caller.statuses() == [481]
    assert not callee.got()


def test_the_cut_of_a_ringing_call_cancels_downstream_and_answers_upstream(world: World) -> None:
    caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
    invite = ringing(caller, callee)
    world.handle(Hangup("c1"))
    assert caller.statuses() == [480]
    [cancel] = callee.requests()
    assert cancel.method == "CANCEL"
    assert "reason" in cancel.keys
    callee.answer(cancel, 200, "OK")
    callee.answer(invite, 487, "Request Terminated")
    assert [message.method for message in callee.requests()] == ["ACK"]
    assert not caller.got()
    assert world.released == [("alice@example.com", Outcome.FAIL)]
    world.idle()


def test_an_operator_cuts_while_the_limiter_is_asked(world: World) -> None:
    caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
    world.auto = None
    caller.invite("sip:4930@example.com")
    world.handle(Hangup("c1"))
    assert caller.statuses() == [100, 480]
    [leg] = world.asked
    world.decide(leg, Admitted(leg.lease))
    assert not callee.got()
    assert len(world.released) == 1
    assert len(world.records) == 1


def test_a_fork_is_ended_on_every_dialog(world: World) -> None:
    """FIELD §4.3: a forked 2xx is several dialogs; counted once, every one of them is torn down."""
    caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
    invite = ringing(caller, callee)
    for tag in ("t1", "t2"):
        callee.answer(invite, 200, "OK", tag)
        [ok] = caller.got()
        assert isinstance(ok, Response)
        caller.within("ACK", ok, 1)
    callee.got()
    world.handle(Hangup("c1"))
    assert {bye.to_tag for bye in callee.requests()} == {"t1", "t2"}
    assert {bye.from_tag for bye in caller.requests()} == {"t1", "t2"}
    assert world.released == SUCCESS


@pytest.mark.parametrize("status", [401, 407])
def test_a_challenged_bye_ends_that_side_when_we_hold_no_credentials(world: World, status: int) -> None:
    caller, callee, _, _ = set_up(world)
    world.handle(Hangup("c1"))
    challenge = 'Proxy-Authenticate: Digest realm="x", nonce="y", qop="auth"'
    callee.answer(one_bye(callee), status, "Who are you", "t1", challenge)
    caller.answer(one_bye(caller), 200, "OK")
    assert not callee.got()
    world.idle()


@pytest.mark.rfc3261("8.1.3.5-1")
def test_a_challenged_bye_is_answered_with_the_trunks_credentials(tmp_path: Path) -> None:
    """drachtio-server #190: the peer challenges our BYE."""
    held = CALLGATE.replace(
        "  provider: {targets", "  provider: {credentials: {username: gate, password: pass}, targets"
    )
    world = World(tmp_path, held)
    caller, callee, _, _ = set_up(world)
    world.handle(Hangup("c1"))
    bye = one_bye(callee)
    callee.answer(
        bye, 407, "Who", "t1", 'Proxy-Authenticate: Digest realm="p", nonce="n", qop="auth", algorithm=MD5'
    )
    again = one_bye(callee)
    assert again.cseq == bye.cseq + 1
    assert (again.value("proxy-authorization") or "").startswith('Digest username="gate"')
    callee.answer(
        again, 407, "Still no", "t1", 'Proxy-Authenticate: Digest realm="p", nonce="n2", qop="auth"'
    )
    assert not callee.got(), "one try; then that side is left to itself"
    caller.answer(one_bye(caller), 200, "OK")
    world.idle()


def admit(leg: object) -> AdmitVerdict:
    raise AssertionError("no question expected")


def test_cutting_asks_the_limiter_nothing(world: World) -> None:
    set_up(world)
    world.auto = admit
    world.handle(Hangup("c1"))
    world.handle(Hangup("c1"))
    assert world.released == SUCCESS
