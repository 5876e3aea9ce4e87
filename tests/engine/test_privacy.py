"""RFC 3323 and RFC 3325: who is told who calls, whom we believe it, and what we cannot hide."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.verdicts import Admitted
from proxy.sip.message import Response
from tests.engine.world import CALLGATE, Phone, World, bound, ringing, set_up

NUMBER = "sip:4930@example.com"
TRUSTED = CALLGATE.replace(
    '"192.0.2.20/31"], identity: none}', '"192.0.2.20/31"], identity: none, trusted: yes}'
)


@pytest.fixture
def trusting(tmp_path: Path) -> World:
    """The provider is in our trust domain."""
    assert TRUSTED != CALLGATE
    return World(tmp_path, TRUSTED)


def sides(world: World) -> tuple[Phone, Phone]:
    return Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")


def test_a_trusted_trunk_is_told_who_was_authenticated(trusting: World) -> None:
    caller, callee = sides(trusting)
    caller.invite(NUMBER, "c1", "P-Asserted-Identity: <sip:boss@example.com>", "Privacy: id")
    [invite] = callee.requests()
    # §7: within the trust domain `id` hides nothing; the next element outside of it must see the wish.
    assert invite.values("p-asserted-identity") == ["<sip:alice@example.com>"]
    assert invite.value("privacy") == "id"


def test_an_untrusted_one_is_told_nothing(world: World) -> None:
    caller, callee = sides(world)
    caller.invite(NUMBER, "c1", "P-Asserted-Identity: <sip:boss@example.com>", "Privacy: id")
    [invite] = callee.requests()
    assert "p-asserted-identity" not in invite.keys


def test_what_stood_for_it_before_rfc_3325_is_believed_of_nobody_either(trusting: World) -> None:
    """Remote-Party-ID (draft-ietf-sip-privacy-04): gateways read it for the calling number."""
    caller, callee = sides(trusting)
    caller.invite(NUMBER, "c1", "Remote-Party-ID: <sip:boss@example.com>;party=calling;screen=yes")
    [invite] = callee.requests()
    assert "remote-party-id" not in invite.keys
    caller.request(
        "MESSAGE",
        NUMBER,
        "m1",
        1,
        "<sip:alice@example.com>;tag=m",
        f"<{NUMBER}>",
        "Remote-Party-ID: <sip:boss@x>",
    )
    [text] = callee.requests()
    assert "remote-party-id" not in text.keys


@pytest.mark.parametrize(
    ("preferred", "asserted"),
    [("<sip:alice@example.com>", "alice"), ("<sip:bob@example.com>", "alice"), ("nonsense", "alice")],
)
def test_a_preferred_identity_must_be_the_callers_own(trusting: World, preferred: str, asserted: str) -> None:
    caller, callee = sides(trusting)
    caller.invite(NUMBER, "c1", f"P-Preferred-Identity: {preferred}")
    [invite] = callee.requests()
    assert invite.values("p-asserted-identity") == [f"<sip:{asserted}@example.com>"]
    assert "p-preferred-identity" not in invite.keys


def test_of_several_accounts_of_a_subscriber_it_chooses_one(tmp_path: Path) -> None:
    subscribers = """
subscribers:
  alice:
    accounts: [{user: alice, password: s, mode: softphone}, {user: sales, password: s, mode: softphone}]
    activations: [{plan: office, since: 2026-01-01, until: 2027-01-01}]
"""
    world = World(tmp_path, TRUSTED, subscribers=subscribers)
    caller, callee = sides(world)
    caller.invite(NUMBER, "c1", 'P-Preferred-Identity: "Sales" <sip:sales@example.com>')
    [invite] = callee.requests()
    assert invite.values("p-asserted-identity") == ["<sip:sales@example.com>"]


@pytest.mark.parametrize(
    ("privacy", "passes"), [("", True), ("none", True), ("id", False), ("user;id", False)]
)
def test_what_a_trusted_trunk_asserts_reaches_a_phone_unless_it_is_private(
    trusting: World, privacy: str, passes: bool
) -> None:
    records = bound(("192.0.2.30", "1000"))
    trusting.auto = lambda leg: Admitted(leg.lease, records if leg.aor else None)
    outside, phone = Phone(trusting, "192.0.2.20", "outside"), Phone(trusting, "192.0.2.30", "bob")
    extra = [f"Privacy: {privacy}"] if privacy else []
    outside.invite("sip:bob@example.com", "c1", "P-Asserted-Identity: <tel:+4930>", *extra)
    [invite] = phone.requests()
    assert ("p-asserted-identity" in invite.keys) is passes


@pytest.mark.parametrize(
    ("party", "privacy", "passes"),
    [("", "none", True), (";privacy=off", "none", True), ("", "id", False), (";privacy=full", "none", False)],
)
def test_and_so_does_its_older_form(trusting: World, party: str, privacy: str, passes: bool) -> None:
    records = bound(("192.0.2.30", "1000"))
    trusting.auto = lambda leg: Admitted(leg.lease, records if leg.aor else None)
    outside, phone = Phone(trusting, "192.0.2.20", "outside"), Phone(trusting, "192.0.2.30", "bob")
    outside.invite(
        "sip:bob@example.com", "c1", f"Remote-Party-ID: <sip:4930@p>{party}", f"Privacy: {privacy}"
    )
    [invite] = phone.requests()
    assert ("remote-party-id" in invite.keys) is passes


@pytest.mark.parametrize("privacy", ["header;critical", "session; user ; CRITICAL", "history;critical"])
def test_what_is_critical_and_cannot_be_done_fails(world: World, privacy: str) -> None:
    caller, callee = sides(world)
    world.auto = None
    caller.invite(NUMBER, "c1", f"Privacy: {privacy}")
    [answer] = caller.got()
    assert isinstance(answer, Response)
    assert answer.status == 500
    assert "Privacy not available" in answer.reason
    assert not world.asked
    assert not callee.got()
    caller.request(
        "MESSAGE", NUMBER, "m1", 1, "<sip:alice@example.com>;tag=1", f"<{NUMBER}>", f"Privacy: {privacy}"
    )
    assert caller.statuses() == [500]


@pytest.mark.parametrize("privacy", ["header", "none;critical", "id;critical", "user;session", "none"])
def test_what_can_be_done_or_left_to_others_passes(world: World, privacy: str) -> None:
    caller, callee = sides(world)
    caller.invite(NUMBER, "c1", f"Privacy: {privacy}")
    [invite] = callee.requests()
    assert invite.value("privacy") == privacy


def test_proxy_require_privacy_is_met_where_it_can_be(world: World) -> None:
    caller, callee = sides(world)
    caller.invite(NUMBER, "c1", "Proxy-Require: privacy", "Privacy: id")
    assert len(callee.requests()) == 1
    caller.invite(NUMBER, "c2", "Proxy-Require: privacy", "Privacy: header")
    assert caller.statuses()[-1] == 500


@pytest.mark.parametrize("header", ["P-Asserted-Identity", "Remote-Party-ID"])
def test_nobody_untrusted_asserts_an_identity_later(world: World, header: str) -> None:
    """RFC 5876: in any request and response; within the dialog nobody asked who sends it."""
    caller, callee, invite, ok = set_up(world)
    caller.within("UPDATE", ok, 2, f"{header}: <sip:boss@example.com>")
    [update] = callee.requests()
    assert header.lower() not in update.keys
    callee.answer(update, 200, "OK", "t1", f"{header}: <sip:112@example.com>")
    [answer] = caller.got()
    assert header.lower() not in answer.keys
    callee.back("UPDATE", invite, "t1", 1, f"{header}: <sip:112@example.com>")
    [back] = caller.requests()
    assert header.lower() not in back.keys


def test_a_trusted_callee_tells_who_answered(trusting: World) -> None:
    caller, callee = sides(trusting)
    invite = ringing(caller, callee)
    callee.answer(invite, 200, "OK", "t1", "P-Asserted-Identity: <sip:4930@example.com>")
    [ok] = caller.got()
    assert ok.value("p-asserted-identity") == "<sip:4930@example.com>"
    invite = ringing(caller, callee, "c2")
    callee.answer(invite, 200, "OK", "t1", "P-Asserted-Identity: <sip:4930@example.com>", "Privacy: id")
    [ok] = caller.got()
    assert "p-asserted-identity" not in ok.keys


def test_the_reason_of_a_cancel_and_of_a_bye_goes_along(world: World) -> None:
    """RFC 3326 §2."""
    caller, callee = sides(world)
    ringing(caller, callee)
    caller.cancel(
        NUMBER, "c1", 'Reason: SIP ;cause=200 ;text="Call completed elsewhere"', "Reason: Q.850 ;cause=16"
    )
    [cancel] = callee.requests()
    assert len(cancel.values("reason")) == 2
    caller.got()
    callee.got()
    caller, callee, _, ok = set_up(world, "c2")
    caller.within("BYE", ok, 2, "Reason: Q.850 ;cause=16")
    assert callee.requests()[-1].value("reason") == "Q.850 ;cause=16"
