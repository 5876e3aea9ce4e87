"""The registrar: the steps of RFC 3261 §10.3 in their order, and the answer to each verdict of the store."""

from __future__ import annotations

import re

import pytest

from policies.account import Limits
from policies.reasons import Reason
from policies.verdicts import (
    Registered,
    RegisterOutOfOrder,
    RegisterRefused,
    Replayed,
    Unavailable,
)
from proxy.engine.bindings import contact_key
from proxy.engine.digest import answer
from proxy.engine.events import RegisterDecided
from proxy.engine.registrar import STEPS
from proxy.sip.message import Request, Response
from proxy.sip.outputs import Transmit
from proxy.sip.parse import parse
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


@pytest.mark.rfc3261("10.3-9", "10.3-28")
def test_a_phone_is_challenged_then_asked_for_in_the_store_then_told_its_binding() -> None:
    world = World()
    challenged = response_in(world.register(f"Contact: {CONTACT}", password=None))
    assert (challenged.status, challenged.reason) == (401, "Unauthorized")
    assert challenged.to_tag
    algorithms = [re.findall(r"algorithm=([^,]+)", value) for value in challenged.values("www-authenticate")]
    assert algorithms == [["SHA-256"], ["MD5"]]
    assert all('realm="example.com"' in value for value in challenged.values("www-authenticate"))

    ask = ask_in(world.register(f"Contact: {CONTACT};q=0.7;expires=120", "User-Agent: Phone/1"))
    assert (ask.aor, ask.account, ask.call_id, ask.cseq) == (
        "alice@example.com",
        "alice@example.com",
        "call-1",
        3,
    )
    assert isinstance(ask.limits, Limits)
    assert ask.limits.payer == "alice"
    assert ask.limits.sip_accounts is not None
    assert (len(ask.nonce), ask.nc, ask.remove_all) == (56, 1, False)
    ((key, expires, _),) = ask.contacts
    assert (key, expires) == (contact_key("sip:alice@10.0.0.5:5062"), 120)
    binding = binding_in(ask)
    assert {name: getattr(binding, name) for name in binding.__slots__} == {
        "uri": "sip:alice@10.0.0.5:5062",
        "contact": f"{CONTACT};q=0.7",
        "q": 700,
        "expires_at": WALL + 120,
        "updated_at": WALL,
        "transport": "UDP",
        "host": "203.0.113.9",
        "port": 40000,
        "conn": 0,
        "local_host": "192.0.2.1",
        "local_port": 5060,
        "instance": "here",
        "sip_instance": "",
        "reg_id": "",
        "path": "",
        "agent": "Phone/1",
    }

    world.now = 0.01
    ok = world.decide(ask, Registered([ask.contacts[0][2]]))
    assert (ok.status, ok.cseq) == (200, 3)
    assert ok.values("contact") == [f"{CONTACT};q=0.7;expires=120"]
    assert ok.values("date") == ["Fri, 15 Jan 2027 08:00:00 GMT"]
    assert "record-route" not in ok.keys


def test_an_instance_a_device_and_a_connection_are_kept_with_the_binding() -> None:
    world = World()
    flow = world.tcp.get("203.0.113.9", 40000, 17)
    device = '+sip.instance="<urn:uuid:00000000-0000-1000-8000-000A95A0E128>"'
    ask = ask_in(world.register(f"m: {CONTACT};{device};reg-id=2", flow=flow))
    binding = binding_in(ask)
    assert (binding.transport, binding.conn) == ("TCP", 17)
    assert (binding.sip_instance, binding.reg_id) == ("<urn:uuid:00000000-0000-1000-8000-000A95A0E128>", "2")
    assert binding.contact == f"{CONTACT};{device};reg-id=2"


def test_the_address_kept_is_where_the_register_came_from_not_what_it_says() -> None:
    world = World()
    flow = world.udp6.get("2001:db8::9", 40000)
    binding = binding_in(ask_in(world.register(f"Contact: {CONTACT}", flow=flow)))
    assert (binding.host, binding.port, binding.local_host) == ("2001:db8::9", 40000, "[2001:db8::1]")


@pytest.mark.rfc3261("8.2.6.1-1", "8.2.6.2-7")
def test_a_retransmission_asks_the_store_nothing_and_gets_the_same_answer() -> None:
    world = World()
    nonce = response_in(world.register(password=None)).values("www-authenticate")[0]
    value = answer(nonce, "alice", "secret", "REGISTER", "sip:example.com", "0a4f")
    text = world.text((f"Authorization: {value}", f"Contact: {CONTACT}"))
    ask = ask_in(world.send(text))
    assert world.send(text) == []
    (first,) = world.handle(RegisterDecided(ask, Registered([])))
    (again,) = world.send(text)
    assert isinstance(first, Transmit)
    assert isinstance(again, Transmit)
    assert first.data == again.data


def test_the_steps_stand_in_the_order_of_rfc_3261_section_10_3() -> None:
    assert [name for name, _ in STEPS] == [
        "domain",
        "address",
        "elsewhere",
        "merged",
        "require",
        "authenticate",
        "authorise",
        "address_of_record",
        "tariff",
        "contacts",
        "ask",
    ]


BAD_CONTACT = "Contact: *"
REQUIRE = "Require: 100rel"


@pytest.mark.rfc3261("10.3-11", "10.3-12")
def test_each_step_comes_before_what_the_later_ones_would_object_to() -> None:
    world = World()
    # Domain: a proxy's challenge, not the registrar's answer, whatever else is wrong.
    elsewhere = world.register(REQUIRE, BAD_CONTACT, uri="sip:elsewhere.org", password=None)
    assert response_in(elsewhere).status == 407
    assert status_of(world.register(REQUIRE, BAD_CONTACT, password=None)) == 420
    assert status_of(world.register(BAD_CONTACT, aor="sip:bob@example.com", password="guess")) == 401
    assert status_of(world.register(BAD_CONTACT, aor="sip:bob@example.com")) == 403
    assert status_of(world.register(BAD_CONTACT, aor="sip:alice@example.net")) == 404
    assert status_of(world.register(BAD_CONTACT, user="gate")) == 402
    assert status_of(world.register(BAD_CONTACT)) == 400
    assert status_of(world.register(f"Contact: {CONTACT}")) == 0


@pytest.mark.rfc3261("10.2-1", "10.3-2", "10.3-3")
def test_a_record_route_is_ignored_and_not_answered() -> None:
    response = World().registered(f"Contact: {CONTACT}", "Record-Route: <sip:192.0.2.99;lr>")
    assert response.status == 200
    assert "record-route" not in response.keys


@pytest.mark.rfc3261("10.3-8")
def test_extensions_we_lack_are_named() -> None:
    response = response_in(World().register("Require: 100rel, gruu", "Require: path, Outbound"))
    assert (response.status, response.values("unsupported")) == (420, ["100rel, gruu"])


def without_chance(response: Response) -> list[str]:
    lines = [re.sub(r'nonce="\w+"|tag=\w+|branch=\w+|CSeq: \d+', "", line) for line in response.lines]
    return [f"{response.status} {response.reason}", *lines]


def test_an_unknown_user_cannot_be_told_from_a_wrong_password() -> None:
    world = World()
    wrong = response_in(world.register(f"Contact: {CONTACT}", password="guess"))
    unknown = response_in(world.register(f"Contact: {CONTACT}", user="nobody", aor="sip:alice@example.com"))
    assert wrong.status == 401
    assert "stale" not in wrong.values("www-authenticate")[0]
    assert without_chance(wrong) == without_chance(unknown)


def test_an_address_that_is_no_account_cannot_be_told_from_somebody_elses() -> None:
    world = World()
    other = response_in(world.register(f"Contact: {CONTACT}", aor="sip:+15550100@example.com"))
    nobody = response_in(world.register(f"Contact: {CONTACT}", aor="sip:+15550999@example.com"))
    assert (other.status, other.reason) == (403, "Forbidden")
    assert [line.replace("0999", "0100") for line in without_chance(nobody)] == without_chance(other)


@pytest.mark.parametrize("aor", ["sip:example.com", "sip:alice@elsewhere.org", "sip:Alice@example.com"])
@pytest.mark.rfc3261("8.2.2.1-1", "10.3-10", "10.3-11")
def test_an_address_that_is_not_the_accounts_own_is_forbidden(aor: str) -> None:
    assert status_of(World().register(f"Contact: {CONTACT}", aor=aor)) == 403


@pytest.mark.parametrize(
    "aor",
    [
        "sip:alice@example.com;user=phone",
        "sip:%61lice@EXAMPLE.com:5060",
        "sip:alice:password@example.com",
        "sips:alice@example.com",
    ],
)
@pytest.mark.rfc3261("10.3-13", "10.3-14")
def test_the_address_of_record_is_canonical(aor: str) -> None:
    assert ask_in(World().register(f"Contact: {CONTACT}", aor=aor)).aor == "alice@example.com"


def test_each_domain_has_its_own_realm_and_accounts_unless_one_realm_is_set() -> None:
    world = World()
    there = world.register(f"Contact: {CONTACT}", aor="sip:alice@example.net", uri="sip:example.net")
    assert ask_in(there).aor == "alice@example.net"
    challenged = response_in(
        world.register(aor="sip:alice@example.net", uri="sip:example.net", password=None)
    )
    assert 'realm="example.net"' in challenged.values("www-authenticate")[0]
    one = World(auth={"realm": "one for all"})
    assert ask_in(one.register(f"Contact: {CONTACT}")).aor == "alice@example.com"
    assert 'realm="one for all"' in response_in(one.register(password=None)).values("www-authenticate")[0]


def test_an_unknown_authorization_scheme_is_answered_with_a_challenge() -> None:
    # RFC 4475 §3.3.7
    lines = ("Authorization: NoOneKnowsThisScheme opaque-data=here", f"Contact: {CONTACT}")
    response = response_in(World().register(*lines, password=None))
    assert response.status == 401


def test_an_old_nonce_is_stale_and_a_new_one_is_taken() -> None:
    world = World()
    value = response_in(world.register(password=None)).values("www-authenticate")[0]
    old = answer(value, "alice", "secret", "REGISTER", "sip:example.com", "0a4f")
    world.now = 301.0
    response = response_in(world.send(world.text((f"Authorization: {old}", f"Contact: {CONTACT}"))))
    assert response.status == 401
    assert all(value.endswith("stale=true") for value in response.values("www-authenticate"))
    new = answer(
        response.values("www-authenticate")[0], "alice", "secret", "REGISTER", "sip:example.com", "0a4f"
    )
    assert ask_in(world.send(world.text((f"Authorization: {new}", f"Contact: {CONTACT}")))).nc == 1


def test_a_disabled_account_is_told_so_once_it_has_proved_who_it_is() -> None:
    world = World()
    response = response_in(world.register(f"Contact: {CONTACT}", user="off"))
    assert (response.status, response.reason) == (403, "Account is disabled")
    assert response_in(world.register(f"Contact: {CONTACT}", user="off", password="guess")).status == 401


def test_a_mode_without_plan_is_refused_with_the_mode_in_the_warning() -> None:
    response = response_in(World().register(f"Contact: {CONTACT}", user="gate"))
    assert (response.status, response.reason) == (402, "SIP account has disallowed settings")
    assert warning_of(response).startswith('399 192.0.2.1:5060 "no_plan: ')
    assert "gateway" in warning_of(response)


@pytest.mark.rfc3261("10.3-26", "10.3-27")
def test_all_bindings_are_told_each_with_what_is_left_of_it() -> None:
    world = World()
    first = ask_in(world.register(f"Contact: {CONTACT}")).contacts[0][2]
    world.now = 1000.0
    ask = ask_in(world.register("Contact: <sip:alice@10.0.0.6>;expires=60"))
    response = world.decide(ask, Registered([first, "a record of a later version", ask.contacts[0][2]]))
    assert response.values("contact") == [f"{CONTACT};expires=2600", "<sip:alice@10.0.0.6>;expires=60"]


def test_no_binding_left_is_still_a_200() -> None:
    world = World()
    response = world.decide(ask_in(world.register("Contact: *", "Expires: 0")), Registered([]))
    assert (response.status, response.values("contact")) == (200, [])


def test_one_account_too_many_is_refused_in_words() -> None:
    world = World()
    ask = ask_in(world.register(f"Contact: {CONTACT}"))
    response = world.decide(ask, RegisterRefused(Reason.SIP_ACCOUNTS, "1"))
    assert (response.status, response.reason) == (402, "SIP account has disallowed settings")
    assert warning_of(response).startswith('399 192.0.2.1:5060 "sip_accounts reached')
    assert "is 1" in warning_of(response)


def test_a_status_is_the_operators_to_choose() -> None:
    world = World(refusals={"sip_accounts": 403})
    ask = ask_in(world.register(f"Contact: {CONTACT}"))
    assert world.decide(ask, RegisterRefused(Reason.SIP_ACCOUNTS, "1")).status == 403


@pytest.mark.rfc3261("10.3-18", "10.3-23")
def test_out_of_order_fails() -> None:
    world = World()
    response = world.decide(ask_in(world.register(f"Contact: {CONTACT}")), RegisterOutOfOrder())
    assert response.status == 500
    assert "CSeq" in warning_of(response)


def test_a_used_nonce_count_is_challenged_as_stale_with_a_new_nonce() -> None:
    world = World()
    ask = ask_in(world.register(f"Contact: {CONTACT}"))
    response = world.decide(ask, Replayed())
    assert response.status == 401
    for value in response.values("www-authenticate"):
        assert value.endswith("stale=true")
        assert ask.nonce not in value


def test_a_store_that_does_not_answer_is_a_503_to_be_tried_again() -> None:
    world = World()
    response = world.decide(ask_in(world.register(f"Contact: {CONTACT}")), Unavailable())
    assert response.status == 503
    assert int(response.value("retry-after") or 0) > 0


def test_a_register_that_is_answered_late_does_no_harm() -> None:
    # The store's answer after the transaction has ended (Timer J): nothing is sent, nothing raises.
    world = World()
    ask = ask_in(world.register(f"Contact: {CONTACT}"))
    world.decide(ask, Registered([]))
    assert world.handle(RegisterDecided(ask, Registered([]))) == []


def test_the_world_of_these_tests_sends_what_a_phone_sends() -> None:
    assert isinstance(parse(World().text((f"Contact: {CONTACT}",)).encode()), Request)


@pytest.mark.parametrize("uri", ["sip:192.0.2.1", "sip:192.0.2.1:5060;transport=udp", "sip:[2001:db8::1]"])
@pytest.mark.parametrize("domain", ["example.com", "example.net"])
def test_a_phone_may_be_set_to_our_address_instead_of_its_domain(uri: str, domain: str) -> None:
    # RFC 5118 §4.1: REGISTER sip:[2001:db8::10] for user@example.com.
    aor = f"sip:alice@{domain}"
    challenged = response_in(World().register(f"Contact: {CONTACT}", aor=aor, uri=uri, password=None))
    assert f'realm="{domain}"' in challenged.values("www-authenticate")[0]
    assert ask_in(World().register(f"Contact: {CONTACT}", aor=aor, uri=uri)).aor == f"alice@{domain}"


def test_an_ipv6_domain_is_known_in_brackets() -> None:
    # Story: `domains: ["2001:db8::10"]` was taken and matched no URI, for there it stands as [2001:db8::10].
    world = World(domains=["example.com", "example.net", "2001:DB8::10", "[2001:db8::11]"])
    for uri in ("sip:[2001:db8::10]", "sip:[2001:DB8::10]:5070", "sip:[2001:db8::11]"):
        assert ask_in(world.register(f"Contact: {CONTACT}", uri=uri)).aor == "alice@example.com"
    # RFC 5118 §4.3: the port inside the brackets is a part of the address, and that one is not ours.
    assert status_of(world.register(f"Contact: {CONTACT}", uri="sip:[2001:db8::10:5070]")) == 407


@pytest.mark.rfc3261("10.3-12")
def test_a_domain_of_ours_that_is_not_the_users_is_not_found() -> None:
    wrong = World().register(f"Contact: {CONTACT}", uri="sip:example.net")
    assert status_of(wrong) == 404


def test_a_refusal_by_the_parser_says_why_whatever_its_status() -> None:
    # Story: what is not 400 was answered "501 Bad Request", "505 Bad Request".
    world = World()
    options = world.text(()).replace("REGISTER sip:example.com SIP/2.0", "OPTIONS sip:example.com SIP/7.0")
    response = response_in(world.send(options))
    assert (response.status, response.reason) == (505, "Version Not Supported")


@pytest.mark.parametrize("aor", ["isbn:2983792873", "tel:+15550100"])
@pytest.mark.rfc3261("10.2-5")
def test_an_address_of_record_is_a_sip_uri(aor: str) -> None:
    # RFC 4475 §3.3.4. Nobody is challenged for what no password can make right.
    response = response_in(World().register(f"Contact: {CONTACT}", aor=aor, password=None))
    assert (response.status, response.reason) == (400, "To Is No SIP URI")
