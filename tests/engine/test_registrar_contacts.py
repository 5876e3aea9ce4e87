"""What a REGISTER may ask for: contacts, their intervals, and that they come back as they went."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.verdicts import (
    Registered,
)
from proxy.engine.contacts import CONTACT_MAX
from proxy.engine.effects import AskRegister
from tests.engine.registering import (
    CONTACT,
    WALL,
    World,
    ask_in,
    binding_in,
    response_in,
    status_of,
    warning_of,
)


def test_star_removes_all() -> None:
    ask = ask_in(World().register("Contact: *", "Expires: 0"))
    assert (ask.remove_all, ask.contacts) == (True, [])


@pytest.mark.parametrize(
    "lines",
    [
        ("Contact: *",),
        ("Contact: *", "Expires: 1"),
        ("Contact: *", "Expires: soon"),
        ("Contact: *", f"Contact: {CONTACT}", "Expires: 0"),
        ("Contact: *", "Contact: *", "Expires: 0"),
        (f"Contact: {CONTACT}, *", "Expires: 0"),
        ("Contact: *;expires=0",),
        # RFC 4475 §3.1.2.13
        ("Contact: sip:user@example.com?Route=%3Csip:sip.example.com%3E",),
        (f"Contact: {CONTACT}", "Contact: <sip:alice@10.0.0.6"),
        (f"Contact: <sip:alice@10.0.0.5>;x={'x' * CONTACT_MAX}",),
        # RFC 5630 §5.2
        ("Contact: <SIPS:alice@10.0.0.5>",),
    ],
)
@pytest.mark.rfc3261("10.2.2-2", "10.3-15")
def test_a_request_with_an_invalid_contact_changes_nothing(lines: tuple[str, ...]) -> None:
    assert status_of(World().register(*lines)) == 400


def test_without_contact_it_is_a_question() -> None:
    world = World()
    ask = ask_in(world.register("Expires: 0"))
    assert (ask.remove_all, ask.contacts) == (False, [])
    record = ask_in(world.register(f"Contact: {CONTACT}")).contacts[0][2]
    world.now = 600.0
    assert world.decide(ask, Registered([record])).values("contact") == [f"{CONTACT};expires=3000"]


@pytest.mark.parametrize(
    ("parameter", "header", "granted"),
    [
        (";expires=120", "Expires: 240", 120),
        ("", "Expires: 240", 240),
        ("", "", 1800),
        (";expires=0", "Expires: 240", 0),
        ("", "Expires: 0", 0),
        (";expires=7200", "", 3600),
        (";expires=99999999999999999999", "", 3600),
        # RFC 3261 §10.2: "Malformed values SHOULD be treated as equivalent to 3600."
        (";expires=soon", "", 3600),
        (";expires", "", 3600),
        ("", "Expires: Thu, 01 Dec 2040 16:00:00 GMT", 3600),
        (";expires=60", "", 60),
    ],
)
@pytest.mark.rfc3261("10.2-10", "10.3-19")
def test_the_interval_is_the_contacts_else_the_headers_else_ours_and_never_more_than_ours(
    parameter: str, header: str, granted: int
) -> None:
    world = World(registrar={"expires_default": "30m"})
    ask = ask_in(world.register(f"Contact: {CONTACT}{parameter}", *([header] if header else [])))
    assert ask.contacts[0][1] == granted
    assert binding_in(ask).expires_at == WALL + granted


@pytest.mark.parametrize(
    "lines", [(f"Contact: {CONTACT};expires=59",), (f"Contact: {CONTACT}", "Expires: 1")]
)
@pytest.mark.rfc3261("10.3-20")
def test_an_interval_too_brief_is_answered_with_the_least(lines: tuple[str, ...]) -> None:
    response = response_in(World().register(*lines))
    assert (response.status, response.value("min-expires")) == (423, "60")


@pytest.mark.rfc3261("10.3-5")
def test_one_brief_interval_spoils_the_whole_request() -> None:
    lines = (f"Contact: {CONTACT};expires=3600", "Contact: <sip:alice@10.0.0.6>;expires=59")
    assert status_of(World().register(*lines)) == 423


def test_an_hour_is_never_too_brief() -> None:
    world = World(registrar={"expires_min": "2h", "expires_default": "3h", "expires_max": "4h"})
    assert ask_in(world.register(f"Contact: {CONTACT};expires=3600")).contacts[0][1] == 3600
    assert response_in(world.register(f"Contact: {CONTACT};expires=3599")).value("min-expires") == "7200"


@pytest.mark.parametrize(
    ("parameter", "q"), [("", 1000), (";q=0.25", 250), (";q=0", 0), (";q=2", 1000), (";q", 1000)]
)
def test_q_is_kept_and_the_highest_when_it_is_not_said(parameter: str, q: int) -> None:
    assert binding_in(ask_in(World().register(f"Contact: {CONTACT}{parameter}"))).q == q


def test_several_contacts_are_several_bindings_and_a_repeated_one_is_one() -> None:
    lines = (
        '"Alice, at home" <sip:alice@10.0.0.5:5062>;expires=100, <sip:alice@10.0.0.6>',
        "<sip:%61lice@10.0.0.5:5062>;expires=0",
    )
    ask = ask_in(World().register(*(f"Contact: {line}" for line in lines)))
    assert [(binding_in(ask, i).uri, ask.contacts[i][1]) for i in range(len(ask.contacts))] == [
        ("sip:%61lice@10.0.0.5:5062", 0),
        ("sip:alice@10.0.0.6", 3600),
    ]


def test_more_contacts_than_one_account_may_have_are_refused_at_once() -> None:
    world = World(limits={"contacts_max": 2})
    contacts = [f"Contact: <sip:alice@10.0.0.{i}>" for i in range(3)]
    assert len(ask_in(world.register(*contacts[:2])).contacts) == 2
    response = response_in(world.register(*contacts))
    assert (response.status, response.reason) == (403, "Too many contacts")
    assert "2" in warning_of(response)


TORTURE = {
    # RFC 4475 §3.3.12, §3.3.13, §3.3.14, §3.1.1.4
    "cparam01": ("+15550100", ["sip:+19725552222@gw1.example.net;unknownparam"]),
    "cparam02": ("+15550100", ["<sip:+19725552222@gw1.example.net;unknownparam>"]),
    "regescrt": ("alice", ["<sip:user@example.com?Route=%3Csip:sip.example.com%3E>"]),
    "escnull": ("alice", ["<sip:%00@host5.example.com>", "<sip:%00%00@host5.example.com>"]),
}


@pytest.mark.parametrize(
    ("name", "answered"),
    [
        ("cparam01", ["<sip:+19725552222@gw1.example.net>;unknownparam;expires=3600"]),
        ("cparam02", ["<sip:+19725552222@gw1.example.net;unknownparam>;expires=3600"]),
        ("regescrt", ["<sip:user@example.com?Route=%3Csip:sip.example.com%3E>;expires=3600"]),
        (
            "escnull",
            ["<sip:%00@host5.example.com>;expires=3600", "<sip:%00%00@host5.example.com>;expires=3600"],
        ),
    ],
)
def test_torture_contacts_come_back_as_they_were_registered(name: str, answered: list[str]) -> None:
    user, contacts = TORTURE[name]
    response = World().registered(*(f"Contact: {contact}" for contact in contacts), user=user)
    assert response.values("contact") == answered


def test_the_uri_kept_for_calls_is_the_uri_alone() -> None:
    user, (contact,) = TORTURE["cparam01"]
    assert (
        binding_in(ask_in(World().register(f"Contact: {contact}", user=user))).uri
        == "sip:+19725552222@gw1.example.net"
    )


@given(st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=80))
def test_whatever_stands_in_contact_is_answered_and_what_is_taken_comes_back(text: str) -> None:
    world = World()
    effects = world.register(f"Contact: {text}")
    if not isinstance(effects[0], AskRegister):
        assert response_in(effects).status in (400, 403, 423)
        return
    ask = ask_in(effects)
    response = world.decide(ask, Registered([record for _, _, record in ask.contacts]))
    assert response.status == 200
    assert len(response.all_values("contact")) == len(ask.contacts)


@pytest.mark.rfc3261("16.6-7")
def test_what_a_contact_may_hold_and_a_request_line_may_not_is_told_but_not_called() -> None:
    # RFC 4475 §3.3.14, RFC 3261 §19.1.1. Story: the escaped Route went into the Request-URI of every call.
    value = "<sip:user@example.com;method=BYE;x=1?Route=%3Csip:sip.example.com%3E>"
    binding = binding_in(ask_in(World().register(f"Contact: {value}")))
    assert (binding.uri, binding.contact) == ("sip:user@example.com;x=1", value)
