"""Header values: name-addr lists, parameters, digest credentials, quoting, taking the first value off a list."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sip import headers as module
from proxy.sip.grammar import CACHE_MAX, CACHED_TEXT_MAX, QUOTED
from proxy.sip.headers import (
    drop_first_value,
    first_value,
    parse_auth,
    parse_delta,
    parse_name_addr,
    parse_name_addrs,
    parse_params,
    parse_q,
    quote,
    split_list,
    unquote,
    valid_uri,
    wire,
)

LATIN1 = st.text(st.characters(max_codepoint=255), max_size=40)


@pytest.mark.parametrize(
    ("text", "display", "uri", "params"),
    [
        ("sip:a@b.com", "", "sip:a@b.com", {}),
        ("<sip:a@b.com>", "", "sip:a@b.com", {}),
        ("  <sip:a@b.com>  ", "", "sip:a@b.com", {}),
        ("Alice <sip:a@b.com>;tag=1", "Alice", "sip:a@b.com", {"tag": "1"}),
        ("caller<sip:caller@example.com>;tag=323", "caller", "sip:caller@example.com", {"tag": "323"}),
        ('"A, \\"B\\" <c>" <sip:a@b.com>', 'A, "B" <c>', "sip:a@b.com", {}),
        ('""<sip:a@b.com>', "", "sip:a@b.com", {}),
        ("A. Bell <sip:a@b.com> ; Tag = 1 ;x", "A. Bell", "sip:a@b.com", {"tag": "1", "x": None}),
        # RFC 3261 §20.10 and RFC 8217: without <> parameters are the header's.
        ("sip:a@b.com;transport=tcp;tag=9", "", "sip:a@b.com", {"transport": "tcp", "tag": "9"}),
        ("<sip:a@b.com;transport=tcp>;tag=9", "", "sip:a@b.com;transport=tcp", {"tag": "9"}),
        ("tel:+4930;tag=1", "", "tel:+4930", {"tag": "1"}),
        ("<http://www.example.com>;tag=3", "", "http://www.example.com", {"tag": "3"}),
        ('<sip:a@b>;+sip.instance="<urn:uuid:0>"', "", "sip:a@b", {"+sip.instance": "<urn:uuid:0>"}),
        ("<sip:a@b>;tag=dGFn==", "", "sip:a@b", {"tag": "dGFn=="}),
        ("J\xc3\xb6rg <sip:a@b>", "J\xc3\xb6rg", "sip:a@b", {}),
        # "à" is C3 A0 in UTF-8, and A0 is white space to str.strip().
        ("\xc3\xa0 <sip:a@b>", "\xc3\xa0", "sip:a@b", {}),
    ],
)
def test_name_addrs(text: str, display: str, uri: str, params: dict[str, str | None]) -> None:
    parsed = parse_name_addr(text)
    assert parsed is not None
    assert (parsed.display, parsed.uri, parsed.params) == (display, uri, params)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "<>",
        "a@b.com",
        "<a@b.com>",
        '"Mr. J. User <sip:j.user@example.com>',
        '"Watson, Thomas" < sip:t.watson@example.org >',
        "Bell, Alexander <sip:a.g.bell@example.com>;tag=43",
        "sip:user@example.com?Route=%3Csip:sip.example.com%3E",
        "<sip:a@b>;",
        "<sip:a@b>;;tag=1",
        "<sip:a@b>;=1",
        "<sip:a@b>;tag=1;tag=2",
        "<sip:a@b>;tag=1;TAG=1",
        "<sip:a@b>x",
        "<sip:a@b> tag=1",
        "<sip:a@b>;tag=1 2",
        "<sip:a@b>;tag=1, <sip:c@d>",
        "<sip:a@b",
        "sip:a@b>",
        "<<sip:a@b>>",
        "<sip:2001:db8::1>",
        '<sip:a@b>;x="y',
    ],
)
def test_what_is_no_name_addr(text: str) -> None:
    assert parse_name_addr(text) is None


def test_lists_split_at_commas_outside_quotes_and_brackets() -> None:
    assert split_list('"a, b" <sip:c,d@e>, <sip:f@g>;x="1,2" ,, h') == [
        '"a, b" <sip:c,d@e>',
        '<sip:f@g>;x="1,2"',
        "h",
    ]
    assert split_list("") == []
    assert split_list(" , ,") == []
    assert split_list("one") == ["one"]
    # What is unbalanced swallows the rest, for its reader to refuse.
    assert split_list('a, "b, c, d') == ["a", '"b, c, d']
    assert split_list("a, <b, c, d") == ["a", "<b, c, d"]


@given(st.lists(st.sampled_from(["a", '"x,y"', "<sip:a,b@c>", '"\\","', "b;c=d"]), max_size=6))
def test_what_was_joined_is_split_again(items: list[str]) -> None:
    assert split_list(", ".join(items)) == items
    assert split_list(",".join(items)) == items


def test_contact_lists() -> None:
    contacts = parse_name_addrs('"a, b" <sip:a@b;x>;q=0.5, sip:c@d;expires=60')
    assert contacts is not None
    assert [contact.uri for contact in contacts] == ["sip:a@b;x", "sip:c@d"]
    assert [contact.params for contact in contacts] == [{"q": "0.5"}, {"expires": "60"}]
    assert parse_name_addrs("<sip:a@b>, nonsense") is None
    assert parse_name_addrs("") is None
    assert parse_name_addrs("*") is None


def test_what_is_remembered_is_bounded() -> None:
    for number in range(CACHE_MAX + 100):
        assert parse_name_addrs(f"<sip:{number}@example.com>") is not None
    assert len(module._name_addrs) <= CACHE_MAX
    long = f"<sip:a@b>;x={'a' * CACHED_TEXT_MAX}"
    assert parse_name_addrs(long) is not parse_name_addrs(long)
    many_params = "<sip:a@b>" + "".join(f";x{number}" for number in range(20))
    assert parse_name_addrs(many_params) is not parse_name_addrs(many_params)
    many_values = ",".join(["<sip:a@b>"] * 9)
    assert parse_name_addrs(many_values) is not parse_name_addrs(many_values)


def test_params() -> None:
    assert parse_params("") == {}
    assert parse_params(' ; A = "x;y\\"z" ;b;c= ') == {"a": 'x;y"z', "b": None, "c": ""}
    assert parse_params("a=b") is None


@pytest.mark.parametrize(
    ("text", "q"),
    [
        ("1", 1000),
        ("1.", 1000),
        ("1.000", 1000),
        ("0", 0),
        ("0.", 0),
        ("0.5", 500),
        ("0.33", 330),
        ("0.001", 1),
    ],
)
def test_qvalues(text: str, q: int) -> None:
    assert parse_q(text) == q


@pytest.mark.parametrize("text", ["", ".5", "1.1", "2", "0.1234", "-0", "0,5", "0.5 ", "٠"])
def test_what_is_no_qvalue(text: str) -> None:
    assert parse_q(text) is None


def test_delta_seconds_are_clipped() -> None:
    assert parse_delta("3600") == 3600
    assert parse_delta("0000000000000000000007") == 7
    assert parse_delta("0") == 0
    assert parse_delta("4294967296") == 2**32 - 1
    assert parse_delta("1" + "0" * 60_000) == 2**32 - 1
    for text in ("", "-1", "+1", "1.5", "1 ", "²", "one"):
        assert parse_delta(text) is None


def test_digest_credentials() -> None:
    parsed = parse_auth(
        'Digest username="al\\"ice", realm="example.com",nonce=abc==, URI="sip:a,b@c" , '
        "qop=auth, nc=00000001, algorithm=SHA-256,"
    )
    assert parsed is not None
    assert parsed.scheme == "digest"
    assert parsed.params == {
        "username": 'al"ice',
        "realm": "example.com",
        "nonce": "abc==",
        "uri": "sip:a,b@c",
        "qop": "auth",
        "nc": "00000001",
        "algorithm": "SHA-256",
    }


def test_other_schemes_are_known_by_name() -> None:
    parsed = parse_auth("NoOneKnowsThisScheme opaque-data=here")
    assert parsed is not None
    assert (parsed.scheme, parsed.params) == ("nooneknowsthisscheme", {"opaque-data": "here"})
    basic = parse_auth("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")
    assert basic is not None
    assert (basic.scheme, basic.params) == ("basic", {})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Digest",
        "Digest realm",
        'Digest realm="x',
        'Digest realm="x" nonce="y"',
        'Digest nonce="a", nonce="b"',
        "Digest ,",
        '"Digest" realm="x"',
    ],
)
def test_malformed_credentials(text: str) -> None:
    assert parse_auth(text) is None


@given(LATIN1)
def test_quoting_is_undone_and_never_breaks_a_line(text: str) -> None:
    quoted = quote(text)
    assert re.fullmatch(QUOTED, quoted)
    assert not set(quoted) & {chr(code) for code in (*range(32), 127)}
    expected = "".join(" " if char < " " or char == "\x7f" else char for char in text)
    assert unquote(quoted) == expected


def test_unquote_leaves_tokens_alone() -> None:
    assert unquote("token") == "token"
    assert unquote('"') == '"'
    assert unquote("") == ""


def test_words_of_our_own_travel_as_utf8() -> None:
    assert wire("plan “büro”").encode("latin-1").decode() == "plan “büro”"
    assert wire("plain") == "plain"


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        (["Route: <sip:a>", "Route: <sip:b>"], ["Route: <sip:b>"]),
        (["Route: <sip:a>, <sip:b>;x", "To: c"], ["Route: <sip:b>;x", "To: c"]),
        (['Route: "x, y" <sip:a,b>;z="1,2" ,<sip:b>,<sip:c>'], ["Route: <sip:b>,<sip:c>"]),
        (["Route: <sip:a>,", "Route: <sip:b>"], ["Route: <sip:b>"]),
        (["To: c"], ["To: c"]),
    ],
)
def test_the_first_value_is_taken_off(lines: list[str], left: list[str]) -> None:
    keys = [line.partition(":")[0].lower() for line in lines]
    drop_first_value(lines, keys, "route")
    assert lines == left
    assert keys == [line.partition(":")[0].lower() for line in left]


def test_first_value() -> None:
    assert first_value(' "a,b" , c') == '"a,b"'
    assert first_value("") == ""


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("sip:a@b", True),
        ("sip:a b", False),
        ("tel:+49", True),
        ("urn:service:sos", True),
        ("x:" + "a" * 1100, False),
        ("x:a\x00", False),
        ("no-scheme", False),
        ("SIP:", False),
    ],
)
def test_uris_of_any_scheme(text: str, valid: bool) -> None:
    assert valid_uri(text) is valid
