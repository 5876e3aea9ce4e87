"""Refused: by each reason, with its status, phrase and Warning; nothing is held and nothing goes out (SPEC §3, §4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.lease import Leg, Outcome
from policies.reasons import TABLE, Reason
from policies.verdicts import Admitted, AdmitVerdict, Refused, Unavailable
from proxy.engine.effects import AskAdmission
from proxy.engine.events import DrainStarted, OverloadChanged
from proxy.sip.message import Response
from tests.engine.world import CALLGATE, SUBSCRIBERS, Phone, World

LIMITS = [Reason.LINES, Reason.SUCCESS_CALLS, Reason.FAIL_CALLS, Reason.TOTAL_DURATION]


def one_final(phone: Phone) -> Response:
    """The one final response that came, after at most a 100."""
    *before, final = phone.got()
    assert [message.status for message in before if isinstance(message, Response)] in ([], [100])
    assert isinstance(final, Response)
    return final


@pytest.mark.parametrize("reason", LIMITS)
def test_by_a_limit(world: World, reason: Reason) -> None:
    world.auto = lambda leg: Refused(reason, "5 per 1h", 90_500)
    caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
    caller.invite("sip:4930@example.com")
    final = one_final(caller)
    assert (final.status, final.reason) == (TABLE[reason].status, TABLE[reason].phrase)
    warning = final.value("warning") or ""
    assert warning.startswith('399 192.0.2.1:5060 "')
    assert reason.value in warning
    assert "5 per 1h" in warning
    assert "91 s" in warning
    assert not callee.got()
    assert world.released == [], "nothing was taken, so nothing is given back"
    [record] = world.records
    assert (record.decision, record.outcome, record.reason) == ("refused", "refused", reason.value)


def test_when_the_store_is_away_and_the_policy_is_refuse(world: World) -> None:
    world.auto = lambda leg: Unavailable()
    caller = Phone(world, "192.0.2.10", "alice")
    caller.invite("sip:4930@example.com")
    final = one_final(caller)
    assert final.status == 503
    assert final.value("retry-after")
    assert world.records[0].reason == "store_unavailable"


def test_when_the_store_is_away_and_the_policy_is_admit(tmp_path: Path) -> None:
    world = World(tmp_path, CALLGATE.replace("store: {", "store: {on_store_failure: admit, "))
    world.auto = lambda leg: Unavailable()
    caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
    caller.invite("sip:4930@example.com", "c1")
    assert len(callee.requests()) == 1
    leg = next(iter(world.engine.calls())).legs[0]
    assert leg.unbacked
    caller.got()
    # A callee of ours cannot be found without the store.
    caller.invite("sip:bob@example.com", "c2")
    assert one_final(caller).status == 503
    assert world.released == [("alice@example.com", Outcome.VOID)]


def test_a_mode_that_was_not_bought(world: World) -> None:
    caller = Phone(world, "192.0.2.10", "nobody")
    world.auto = None
    caller.invite("sip:4930@example.com")
    final = one_final(caller)
    assert (final.status, final.reason) == (402, "SIP account has disallowed settings")
    assert "softphone" in (final.value("warning") or "")
    assert not world.asked


def test_somebody_whom_the_trunk_may_not_name(world: World) -> None:
    caller = Phone(world, "192.0.2.10", "stranger")
    caller.invite("sip:4930@example.com")
    assert one_final(caller).status == 403
    assert world.records[0].reason == "unknown_caller"


def test_from_outside_to_outside_nobody_pays(world: World) -> None:
    caller = Phone(world, "192.0.2.20", "provider")
    caller.invite("sip:4930@example.com")
    assert one_final(caller).status == 403
    assert not world.of(AskAdmission)


@pytest.mark.rfc3261("16.5-11")
def test_no_route(world: World) -> None:
    caller = Phone(world, "192.0.2.10", "alice")
    caller.invite("sip:nowhere@example.com")
    assert one_final(caller).status == 404
    assert world.records[0].decision == "none"


def test_a_disabled_account(tmp_path: Path) -> None:
    disabled = SUBSCRIBERS.replace(
        "{user: alice, password: secret, mode: softphone}",
        "{user: alice, password: secret, mode: softphone, disabled: yes}",
    )
    world = World(tmp_path, subscribers=disabled)
    caller = Phone(world, "192.0.2.10", "alice")
    caller.invite("sip:4930@example.com")
    assert one_final(caller).status == 403
    assert world.records[0].reason == "account_disabled"


def test_draining_and_overload_answer_503_and_leave_running_calls_alone(world: World) -> None:
    caller = Phone(world, "192.0.2.10", "alice")
    world.handle(OverloadChanged(True))
    caller.invite("sip:4930@example.com", "c1")
    final = one_final(caller)
    assert (final.status, world.records[-1].reason) == (503, "overload")
    assert final.value("retry-after")
    world.handle(OverloadChanged(False))
    world.handle(DrainStarted())
    caller.invite("sip:4930@example.com", "c2")
    assert (one_final(caller).status, world.records[-1].reason) == (503, "draining")


def test_the_status_of_a_reason_can_be_configured(tmp_path: Path) -> None:
    world = World(tmp_path, CALLGATE + "refusals: {lines: 480}\n")
    world.auto = lambda leg: Refused(Reason.LINES, "5")
    caller = Phone(world, "192.0.2.10", "alice")
    caller.invite("sip:4930@example.com")
    assert one_final(caller).status == 480


def test_a_challenge_from_beyond_is_neither_success_nor_failure(world: World) -> None:
    caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
    caller.invite("sip:4930@example.com")
    [invite] = callee.requests()
    callee.answer(
        invite, 407, "Proxy Authentication Required", "t", 'Proxy-Authenticate: Digest realm="p", nonce="n"'
    )
    assert one_final(caller).status == 407
    assert world.released == [("alice@example.com", Outcome.VOID)]


def test_the_second_payer_refuses_and_the_first_gets_everything_back(world: World) -> None:
    """SPEC §3: two legs with different payers are taken in order."""

    def verdict(leg: Leg) -> AdmitVerdict:
        return Admitted(leg.lease) if leg.direction == "out" else Refused(Reason.LINES, "5")

    world.auto = verdict
    caller = Phone(world, "192.0.2.10", "alice")
    caller.invite("sip:bob@example.com")
    assert one_final(caller).status == 486
    assert world.released == [("alice@example.com", Outcome.VOID)]
    world.idle()


@pytest.mark.rfc3261("16.5-12")
def test_a_callee_of_ours_who_is_not_registered(world: World) -> None:
    world.auto = lambda leg: Admitted(leg.lease, [] if leg.aor else None)
    caller = Phone(world, "192.0.2.10", "alice")
    caller.invite("sip:bob@example.com")
    assert one_final(caller).status == 480
    assert world.released == [("alice@example.com", Outcome.VOID), ("bob@example.com", Outcome.VOID)]
