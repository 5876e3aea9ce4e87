"""Digest, the client's side: the examples that the RFCs print, and challenges that are none of ours to answer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from proxy.engine.digest import ALGORITHMS, answer
from proxy.sip.headers import parse_auth
from tests.tools import cannot_run

# RFC 7616 §3.9.1: one nonce, one client nonce, two algorithms.
RFC_NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
RFC_CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
RFC_OPAQUE = "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
    ],
)
def test_the_client_answers_as_in_rfc_7616_section_3_9_1(algorithm: str, response: str) -> None:
    challenge = (
        f'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={algorithm}, '
        f'nonce="{RFC_NONCE}", opaque="{RFC_OPAQUE}"'
    )
    value = answer(challenge, "Mufasa", "Circle of Life", "GET", "/dir/index.html", RFC_CNONCE)
    assert value is not None
    said = parse_auth(value)
    assert said is not None
    assert said.params == {
        "username": "Mufasa",
        "realm": "http-auth@example.org",
        "uri": "/dir/index.html",
        "algorithm": algorithm,
        "nonce": RFC_NONCE,
        "nc": "00000001",
        "cnonce": RFC_CNONCE,
        "qop": "auth",
        "response": response,
        "opaque": RFC_OPAQUE,
    }


def test_the_client_answers_with_sha_512_256_and_names_beyond_ascii() -> None:
    if "SHA-512-256" not in ALGORITHMS:
        cannot_run("this OpenSSL has no SHA-512/256")
    # The response printed in RFC 7616 §3.9.2 was made with SHA-512 cut to 256 bits, which is another function (it has
    # other initial values). So that one shows the formula to be the RFC's, and the real SHA-512/256 gives the response.
    user, realm, password = "Jäsøn Doe", "api@example.org", "Secret, or not?"
    nonce, cnonce = (
        "5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK",
        "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v",
    )

    def response(h: Callable[[str], str]) -> str:
        ha1, ha2 = h(f"{user}:{realm}:{password}"), h("GET:/doe.json")
        return h(f"{ha1}:{nonce}:00000001:{cnonce}:auth:{ha2}")

    printed = response(lambda text: hashlib.sha512(text.encode()).hexdigest()[:64])
    assert printed == "ae66e67d6b427bd3f120414a82e4acff38e8ecd9101d6c861229025f607a79dd"
    challenge = f'Digest realm="{realm}", qop="auth", algorithm=SHA-512-256, nonce="{nonce}"'
    value = answer(challenge, user, password, "GET", "/doe.json", cnonce)
    assert value is not None
    said = parse_auth(value)
    assert said is not None
    assert said.params["response"] == response(
        lambda text: hashlib.new("sha512_256", text.encode()).hexdigest()
    )
    assert said.params["username"].encode("latin-1").decode() == user


def test_the_client_answers_a_challenge_without_qop_as_rfc_2069() -> None:
    # RFC 3261 §22.4 item 8. Values of RFC 2617 §3.5, whose H(A1) and H(A2) are well known.
    value = answer(
        'Digest realm="testrealm@host.com", nonce="n"',
        "Mufasa",
        "Circle Of Life",
        "GET",
        "/dir/index.html",
        "c",
    )
    expected = hashlib.md5(b"939e7578ed9e3c518a452acee763bce9:n:39aff3a2bab6126f332b942af96d3366").hexdigest()
    assert value is not None
    assert f'response="{expected}"' in value
    assert "qop" not in value
    assert "nc=" not in value
    assert "cnonce" not in value


def test_the_client_answers_session_algorithms_and_auth_int() -> None:
    def h(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    value = answer(
        'Digest realm="r", nonce="n", algorithm=SHA-256-sess, qop="auth-int"',
        "u",
        "p",
        "BYE",
        "sip:x",
        "c",
        2,
        b"body",
    )
    ha1, ha2 = h(f"{h('u:r:p')}:n:c"), h(f"BYE:sip:x:{h('body')}")
    expected = h(f"{ha1}:n:00000002:c:auth-int:{ha2}")
    assert value is not None
    assert f'response="{expected}"' in value
    assert "qop=auth-int, nc=00000002" in value
    assert "algorithm=SHA-256-sess" in value


@pytest.mark.parametrize(
    "challenge",
    [
        'Basic realm="example.com"',
        'Digest realm="r", nonce="n", algorithm=SHA3-999, qop="auth"',
        'Digest realm="r", nonce="n", algorithm=MD5-session, qop="auth"',
        'Digest realm="r", nonce="n", qop="auth-conf"',
        'Digest realm="r", qop="auth"',
        'Digest nonce="n"',
        "Digest",
        "",
    ],
)
def test_the_client_leaves_what_it_cannot_answer_to_the_next_challenge(challenge: str) -> None:
    assert answer(challenge, "u", "p", "GET", "/", "c") is None
