"""SIP URIs: what is one, which are equal (RFC 3261 §19.1.4's own examples), and the key of an address of record."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sip import uri as module
from proxy.sip.grammar import CACHE_MAX, CACHED_TEXT_MAX, URI_MAX
from proxy.sip.uri import (
    SipUri,
    aor_key,
    canonical_host,
    escape_user,
    parse_uri,
    request_uri,
    same_host,
    same_uri,
    scheme_of,
    unescape,
)


def uri(text: str) -> SipUri:
    parsed = parse_uri(text)
    assert parsed is not None, text
    return parsed


def test_every_part_is_found() -> None:
    parsed = uri("SIPS:alice%20b:pass=word@Example.COM:5061;Transport=tcp;lr;x%41=?Subject=hi&to=a%40b")
    assert (parsed.scheme, parsed.user, parsed.password) == ("sips", "alice%20b", "pass=word")
    assert (parsed.host, parsed.port) == ("example.com", 5061)
    assert parsed.params == {"transport": "tcp", "lr": None, "x%41": ""}
    assert parsed.headers == "Subject=hi&to=a%40b"
    assert parsed.text.startswith("SIPS:")


def test_a_uri_may_be_a_host_alone() -> None:
    parsed = uri("sip:example.com")
    assert (parsed.user, parsed.password, parsed.host, parsed.port) == (None, None, "example.com", None)
    assert (parsed.params, parsed.headers) == ({}, "")


@pytest.mark.parametrize(
    ("text", "user", "host", "port"),
    [
        ("sip:[2001:db8::10]", None, "[2001:db8::10]", None),
        ("sip:[2001:DB8::10]:5070", None, "[2001:db8::10]", 5070),
        # RFC 5118 §4.3: the port is inside the brackets, so it is part of the address.
        ("sip:[2001:db8::10:5070]", None, "[2001:db8::10:5070]", None),
        # RFC 5118 §4.10: tolerated.
        ("sip:user@[2001:db8:::192.0.2.1]", "user", "[2001:db8:::192.0.2.1]", None),
        ("sip:ted@[::ffff:192.0.2.2]", "ted", "[::ffff:192.0.2.2]", None),
        # RFC 4475 §3.1.1.9, §3.1.1.3, §3.1.1.2.
        ("sip:user;par=u%40example.net@example.com", "user;par=u%40example.net", "example.com", None),
        ("sip:sips%3Auser%40example.com@example.net", "sips%3Auser%40example.com", "example.net", None),
        ("sip:a~(b!c)&d't+e$/f?,/;;*:&g=1@h.com", "a~(b!c)&d't+e$/f?,/;;*", "h.com", None),
        # Phones dial these.
        ("sip:*21#@example.com", "*21#", "example.com", None),
        ("sip:+49-30-1234@pbx_1.local", "+49-30-1234", "pbx_1.local", None),
    ],
)
def test_forms_of_user_and_host(text: str, user: str | None, host: str, port: int | None) -> None:
    parsed = uri(text)
    assert (parsed.user, parsed.host, parsed.port) == (user, host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sip:",
        "sip:@example.com",
        "sip:alice@",
        "alice@example.com",
        "tel:+4930123",
        "sip:2001:db8::10",  # RFC 5118 §4.2
        "sip:a@[2001:db8::10",
        "sip:a@b@c",
        "sip:a b@example.com",
        "sip:alice@example.com ",
        "sip:alice@example.com\n",
        "<sip:alice@example.com>",
        "sip:al<ice@example.com",
        'sip:al"ice@example.com',
        "sip:alice@example.com:",
        "sip:alice@example.com:70000",
        "sip:alice@example.com:123456",
        "sip:alice@example.com;",
        "sip:alice@example.com;;lr",
        "sip:alice@example.com;lr;lr",
        "sip:alice@example.com;LR=1;lr=2",
        "sip:alice@example.com?",
        "sip:alice%4@example.com",
        "sip:alice%zz@example.com",
        "sip:alice@exa%6Dple.com",
        "sip:alice@-example.com",
        "sip:" + "a" * URI_MAX + "@example.com",
        "sip:" + "a" * 256 + ".com",
    ],
)
def test_what_is_no_sip_uri(text: str) -> None:
    assert parse_uri(text) is None


@pytest.mark.parametrize(
    ("text", "scheme"),
    [
        ("SIP:a@b", "sip"),
        ("tel:+49", "tel"),
        ("soap.beep://192.0.2.103:3002", "soap.beep"),
        ("nobodyKnowsThisScheme:x", "nobodyknowsthisscheme"),
        ("a@b", ""),
        ("<sip:a@b>", ""),
        (":a", ""),
        ("", ""),
    ],
)
def test_the_scheme_is_told_of_any_uri(text: str, scheme: str) -> None:
    assert scheme_of(text) == scheme


# RFC 3261 §19.1.4, its own list, and RFC 5954 §4.2.
EQUAL = [
    ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
    ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
    (
        "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
        "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
    ),
    (
        "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
        "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
    ),
    ("sip:a@[2001:DB8::10]", "sip:a@[2001:db8:0:0:0:0:0:10]"),
    ("sip:a@[2001:db8:::192.0.2.1]", "sip:a@[2001:db8::192.0.2.1]"),
    ("sip:a%2fb@c", "sip:a%2Fb@c"),
]
UNEQUAL = [
    ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
    ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
    ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
    ("sip:a@b.com", "sips:a@b.com"),
    ("sip:a@b.com", "sip:b.com"),
    ("sip:a@b.com", "sip:a:@b.com"),
    ("sip:a:x@b.com", "sip:a:y@b.com"),
    ("sip:a@b.com", "sip:a@b.com;user=phone"),
    ("sip:a@b.com", "sip:a@b.com;ttl=1"),
    ("sip:a@b.com", "sip:a@b.com;method=INVITE"),
    ("sip:a@b.com", "sip:a@b.com;maddr=239.255.255.1"),
    ("sip:a%40b@c", "sip:a%2540b@c"),
    ("sip:a%2Bb@c", "sip:a+b@c"),  # "+" is reserved: not equivalent to its encoding
    ("sip:a@b?x=1", "sip:a@b?x=1&x=1"),
]


@pytest.mark.parametrize(("left", "right"), EQUAL)
def test_equal_uris(left: str, right: str) -> None:
    assert same_uri(uri(left), uri(right))
    assert same_uri(uri(right), uri(left))


@pytest.mark.parametrize(("left", "right"), UNEQUAL)
def test_unequal_uris(left: str, right: str) -> None:
    assert not same_uri(uri(left), uri(right))
    assert not same_uri(uri(right), uri(left))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("sip:alice@example.com", "alice@example.com"),
        ("sips:Alice:secret@EXAMPLE.com:5061;transport=tls?x=y", "Alice@example.com"),
        ("sip:%61lice@example.com", "alice@example.com"),
        ("sip:sips%3auser%40example.com@example.net", "sips%3Auser%40example.com@example.net"),
        # RFC 4475 §3.1.1.3: unescaping is never repeated.
        ("sip:value%25%34%31@h", "value%2541@h"),
        ("sip:null-%00-null@example.com", "null-%00-null@example.com"),
        ("sip:%2B4930@example.com", "+4930@example.com"),
        ("sip:*21#@example.com", "*21%23@example.com"),
        ("sip:j\xc3\xb6rg@example.com", "j%C3%B6rg@example.com"),
        ("sip:example.com", "example.com"),
    ],
)
def test_the_key_of_an_address_of_record(text: str, key: str) -> None:
    assert aor_key(uri(text)) == key


@given(st.text(st.characters(max_codepoint=255), max_size=20))
def test_unescape_undoes_escape_user(text: str) -> None:
    assert unescape(escape_user(text)) == text


@given(st.text(st.characters(max_codepoint=255), min_size=1, max_size=20))
def test_any_user_name_has_one_key_however_it_is_escaped(text: str) -> None:
    everything = "".join(f"%{ord(char):02x}" for char in text)
    keys = {aor_key(uri(f"sip:{user}@example.com")) for user in (escape_user(text), everything)}
    assert keys == {f"{escape_user(text)}@example.com"}


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("[2001:db8::1]", "2001:DB8:0::1", True),
        ("[2001:db8::1]", "[2001:db8::2]", False),
        ("Example.com", "example.COM", True),
        ("192.0.2.1", "192.0.2.10", False),
        ("[:::::]", "[::]", False),
    ],
)
def test_hosts_compare_as_names_or_addresses(left: str, right: str, same: bool) -> None:
    assert same_host(left, right) is same
    assert (canonical_host(left) == canonical_host(right)) is same


def test_what_is_remembered_is_bounded() -> None:
    for number in range(CACHE_MAX + 100):
        uri(f"sip:{number}@example.com")
    assert len(module._parsed) <= CACHE_MAX
    long = "sip:" + "a" * CACHED_TEXT_MAX + "@example.com"
    assert uri(long) is not uri(long)
    assert uri("sip:x@example.com") is uri("sip:x@example.com")


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("sip:a@b;x=1", "sip:a@b;x=1"),
        ("sip:a@b?Route=%3Csip:c%3E", "sip:a@b"),
        ("sip:a;method=x?y@b:5070;METHOD=INVITE;lr?to=c", "sip:a;method=x?y@b:5070;lr"),
        ("sip:[::1];method=BYE", "sip:[::1]"),
        ("tel:+1;method=x", "tel:+1;method=x"),
    ],
)
def test_what_may_not_stand_in_a_request_line_is_taken_off(text: str, plain: str) -> None:
    assert request_uri(text) == plain
