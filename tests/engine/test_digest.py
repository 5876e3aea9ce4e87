"""Digest, the server's side: whose nonce is taken, and what each kind of bad credentials comes to."""

from __future__ import annotations

import hashlib
import random
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.tariffs import Algorithm
from policies.catalog import Account
from proxy.engine.digest import (
    CLOCK_SKEW_MAX,
    CREDENTIALS_MAX,
    Digest,
    Flaw,
    Missing,
    Proof,
    Stale,
    Verified,
    Wrong,
    answer,
)

NOW = 1_800_000_000.0
REALM = "example.com"
URI = "sip:example.com"
SECRET = b"shared by all instances"


def account(user: str = "alice", password: str = "secret", realm: str = REALM) -> Account:
    text = f"{user}:{realm}:{password}".encode()
    ha1: dict[Algorithm, str] = {
        "MD5": hashlib.md5(text).hexdigest(),
        "SHA-256": hashlib.sha256(text).hexdigest(),
    }
    return Account(
        aor=f"{user}@example.com",
        user=user,
        domain="example.com",
        realm=realm,
        subscriber=user,
        mode="softphone",
        ha1=ha1,
        worker="",
        template_worker="",
        users=(),
        disabled=False,
    )


ACCOUNTS = {one.aor: one for one in (account(), account("bob", "hush"))}


def digest(secret: bytes = SECRET, life: float = 300.0) -> Digest:
    return Digest(secret, life)


def challenges(stale: bool = False, at: float = NOW, realm: str = REALM, seed: int = 1) -> list[str]:
    return digest().challenge(realm, stale, at, random.Random(seed))


def credentials(
    challenge: str,
    user: str = "alice",
    password: str = "secret",
    method: str = "REGISTER",
    uri: str = URI,
    nc: int = 1,
) -> str:
    value = answer(challenge, user, password, method, uri, "0a4f113b", nc)
    assert value is not None
    return value


def verify(
    *values: str,
    method: str = "REGISTER",
    uri: str = URI,
    realm: str = REALM,
    at: float = NOW,
    by: Digest | None = None,
    accounts: dict[str, Account] | None = None,
) -> Proof:
    known = ACCOUNTS if accounts is None else accounts
    return (by or digest()).verify(values, method, uri, realm, "example.com", known.get, at)


def flaw_of(proof: Proof) -> Flaw:
    assert isinstance(proof, Wrong), proof
    return proof.flaw


def test_challenges_stand_in_order_of_preference_with_all_that_rfc_8760_wants() -> None:
    first, second = challenges()
    pattern = r'Digest realm="example\.com", nonce="([0-9a-f]{56})", algorithm=(\S+), qop="auth"'
    sha, md5 = re.fullmatch(pattern, first), re.fullmatch(pattern, second)
    assert sha is not None
    assert md5 is not None
    assert (sha[2], md5[2]) == ("SHA-256", "MD5")
    assert sha[1] == md5[1]


def test_stale_is_said_unquoted_and_only_when_it_is_true() -> None:
    assert all(value.endswith(', qop="auth", stale=true') for value in challenges(stale=True))
    assert not any("stale" in value for value in challenges())


def test_no_two_challenges_share_a_nonce() -> None:
    rng = random.Random(7)
    issuer = digest()
    assert len({issuer.challenge(REALM, False, NOW, rng)[0] for _ in range(1000)}) == 1000


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize(("user", "password"), [("alice", "secret"), ("bob", "hush")])
def test_the_right_password_is_verified_with_each_algorithm(index: int, user: str, password: str) -> None:
    proof = verify(credentials(challenges()[index], user, password, nc=0x1F))
    assert isinstance(proof, Verified)
    assert proof.account.user == user
    assert proof.nc == 0x1F
    assert f'nonce="{proof.nonce}"' in challenges()[index]


def test_every_instance_with_the_secret_takes_what_another_issued() -> None:
    value = credentials(challenges()[0])
    assert isinstance(verify(value, by=Digest(SECRET, 300.0)), Verified)


def test_a_nonce_lives_its_life_and_then_is_stale() -> None:
    value = credentials(challenges()[0])
    assert isinstance(verify(value, at=NOW + 300), Verified)
    assert isinstance(verify(value, at=NOW + 301), Stale)


def test_a_nonce_of_an_instance_whose_clock_is_ahead_is_taken_but_none_from_far_ahead() -> None:
    value = credentials(challenges(at=NOW + CLOCK_SKEW_MAX)[0])
    assert isinstance(verify(value, at=NOW), Verified)
    assert isinstance(verify(value, at=NOW - 1), Stale)


def test_a_nonce_of_another_secret_is_stale_for_who_knows_the_password() -> None:
    # The proxy was restarted without auth.nonce_secret: its phones must come back without asking their users.
    other = Digest(b"of the former start").challenge(REALM, False, NOW, random.Random(1))[0]
    assert isinstance(verify(credentials(other)), Stale)
    assert flaw_of(verify(credentials(other, password="guess"))) is Flaw.PASSWORD


def test_a_wrong_password_is_never_called_stale() -> None:
    old = challenges(at=NOW - 10_000)[0]
    assert flaw_of(verify(credentials(old, password="guess"))) is Flaw.PASSWORD


@given(position=st.integers(0, 55), digit=st.sampled_from("0123456789abcdefg\xff"))
def test_a_nonce_with_any_digit_changed_is_not_ours(position: int, digit: str) -> None:
    match = re.search(r'nonce="([^"]*)"', challenges()[0])
    assert match is not None
    nonce = match[1]
    forged = nonce[:position] + digit + nonce[position + 1 :]
    proof = verify(credentials(challenges()[0].replace(nonce, forged)))
    assert isinstance(proof, Verified if forged == nonce else Stale)


def test_a_nonce_of_one_realm_is_none_in_another() -> None:
    accounts = {"alice@example.com": account(realm="example.net")}
    value = credentials(
        challenges(realm="example.com")[0].replace('realm="example.com"', 'realm="example.net"')
    )
    assert isinstance(verify(value, realm="example.net", accounts=accounts), Stale)


def test_an_unknown_user_and_a_wrong_password_come_to_the_same() -> None:
    unknown = verify(credentials(challenges()[0], user="nobody"))
    wrong = verify(credentials(challenges()[0], password="guess"))
    assert unknown is wrong
    assert flaw_of(wrong) is Flaw.PASSWORD


def test_the_users_case_counts() -> None:
    assert flaw_of(verify(credentials(challenges()[0], user="Alice"))) is Flaw.PASSWORD


def test_an_account_without_a_hash_for_the_algorithm_is_not_let_in_by_it() -> None:
    old = account()
    only_md5 = replace(old, ha1={"MD5": old.ha1["MD5"]})
    accounts = {old.aor: only_md5}
    assert flaw_of(verify(credentials(challenges()[0]), accounts=accounts)) is Flaw.PASSWORD
    assert isinstance(verify(credentials(challenges()[1]), accounts=accounts), Verified)


@pytest.mark.parametrize("accounts", [{}, {"alice@example.com": replace(account(), ha1={})}])
def test_not_even_who_knew_the_decoy_would_be_let_in_by_it(accounts: dict[str, Account]) -> None:
    match = re.search(r'nonce="([^"]*)"', challenges()[1])
    assert match is not None
    ha1, ha2 = (
        hashlib.md5(b"decoy:" + SECRET).hexdigest(),
        hashlib.md5(f"REGISTER:{URI}".encode()).hexdigest(),
    )
    response = hashlib.md5(f"{ha1}:{match[1]}:00000001:0a4f113b:auth:{ha2}".encode()).hexdigest()
    value = re.sub(r'response="[^"]*"', f'response="{response}"', credentials(challenges()[1]))
    assert flaw_of(verify(value, accounts=accounts)) is Flaw.PASSWORD


@pytest.mark.parametrize(
    "values",
    [
        (),
        ("",),
        ("Digest",),
        ("NoOneKnowsThisScheme opaque-data=here",),  # RFC 4475 §3.3.7
        ("Basic dXNlcjpwYXNz",),
        ('Digest username="alice", realm="elsewhere.org", nonce="n", uri="sip:example.com", response="0"',),
    ],
)
def test_credentials_of_other_realms_and_schemes_are_none(values: tuple[str, ...]) -> None:
    assert isinstance(verify(*values), Missing)


def test_ours_are_found_among_those_of_other_realms() -> None:
    foreign = credentials('Digest realm="elsewhere.org", nonce="n", qop="auth"', "x", "y")
    assert isinstance(verify(foreign, credentials(challenges()[0])), Verified)


def test_one_answer_an_algorithm_may_stand_in_a_request_and_one_that_holds_is_enough() -> None:
    good, bad = credentials(challenges()[1]), credentials(challenges()[0], password="guess")
    assert isinstance(verify(bad, good), Verified)
    assert isinstance(verify(good, bad), Verified)


def test_the_password_of_one_answer_is_not_forgotten_over_the_flaw_of_another() -> None:
    stale, bad = credentials(challenges(at=NOW - 1000)[1]), credentials(challenges()[0], password="guess")
    assert isinstance(verify(bad, stale), Stale)
    assert isinstance(verify(stale, bad), Stale)


def test_a_request_is_not_a_dictionary_of_guesses() -> None:
    guesses = [credentials(challenges()[0], password=f"guess {i}") for i in range(CREDENTIALS_MAX)]
    assert flaw_of(verify(*guesses, credentials(challenges()[0]))) is Flaw.PASSWORD
    assert isinstance(verify(*guesses[1:], credentials(challenges()[0])), Verified)


@pytest.mark.parametrize(
    ("part", "spoilt"),
    [("qop=auth", "qop=no"), ("algorithm=SHA-256", "algorithm=X"), ("nc=00000001", "nc=1")],
)
def test_a_guess_is_not_hidden_by_what_stands_beside_it(part: str, spoilt: str) -> None:
    # The guard counts wrong passwords; a guess with something unreadable after it was none.
    bad, noise = (
        credentials(challenges()[0], password="guess"),
        credentials(challenges()[0]).replace(part, spoilt),
    )
    assert flaw_of(verify(bad, noise)) is Flaw.PASSWORD
    assert flaw_of(verify(noise, bad)) is Flaw.PASSWORD


def test_one_request_speaks_for_one_user() -> None:
    # Who has an account guesses at no other one beside his own good answer.
    guess, own = credentials(challenges()[0], "bob", "guess"), credentials(challenges()[0])
    assert flaw_of(verify(guess, own)) is Flaw.PASSWORD
    assert isinstance(verify(own, guess), Verified)
    stale = credentials(challenges(at=NOW - 1000)[0])
    right = credentials(challenges()[0], "bob", "hush")
    assert isinstance(verify(stale, right), Stale)


@pytest.mark.parametrize(
    ("pattern", "replacement", "flaw"),
    [
        (r"qop=auth, nc=00000001", "nc=00000001", Flaw.MALFORMED),  # RFC 2069: no protection against replay
        (r"qop=auth,", "qop=auth-int,", Flaw.MALFORMED),
        (r'cnonce="[^"]*", ', "", Flaw.MALFORMED),
        (r'cnonce="[^"]*"', 'cnonce=""', Flaw.MALFORMED),
        (r", nc=00000001", "", Flaw.MALFORMED),
        (r"nc=00000001", "nc=1", Flaw.MALFORMED),
        (r"nc=00000001", "nc=000000001", Flaw.MALFORMED),
        (r"nc=00000001", "nc=0000000g", Flaw.MALFORMED),
        (r"nc=00000001", "nc=00000000", Flaw.MALFORMED),
        (r"nc=00000001", "nc=00000002", Flaw.PASSWORD),
        (r'username="alice", ', "", Flaw.MALFORMED),
        (r'username="alice"', 'username=""', Flaw.MALFORMED),
        (r'username="alice"', 'username="al\xefce"', Flaw.PASSWORD),
        (r' nonce="[0-9a-f]*"', ' nonce=""', Flaw.MALFORMED),
        (r'uri="[^"]*", ', "", Flaw.MALFORMED),
        (r'uri="[^"]*"', 'uri="sip:example.net"', Flaw.PASSWORD),
        (r'response="[^"]*", ', "", Flaw.MALFORMED),
        (r'response="[^"]*"', 'response=""', Flaw.MALFORMED),
        (r'response="[^"]*"', 'response="\xff"', Flaw.PASSWORD),
        (r'response="(.)', r'response="x\1', Flaw.PASSWORD),
        (r"algorithm=SHA-256", "algorithm=SHA-256-sess", Flaw.ALGORITHM),
        (r"algorithm=SHA-256", "algorithm=SHA-512-256", Flaw.ALGORITHM),
        (r"algorithm=SHA-256", "algorithm=MD5", Flaw.PASSWORD),
        (r", algorithm=SHA-256", "", Flaw.PASSWORD),
    ],
)
def test_what_is_changed_in_good_credentials_spoils_them(pattern: str, replacement: str, flaw: Flaw) -> None:
    good = credentials(challenges()[0])
    spoilt, times = re.subn(pattern, replacement, good)
    assert times == 1
    assert flaw_of(verify(spoilt)) is flaw


@pytest.mark.parametrize("respelt", ["algorithm=sha-256", "ALGORITHM=SHA-256", 'algorithm="SHA-256"'])
def test_spellings_that_clients_use_do_no_harm(respelt: str) -> None:
    good = credentials(challenges()[0])
    assert isinstance(verify(good.replace("algorithm=SHA-256", respelt)), Verified)
    assert isinstance(verify(good.replace("qop=auth", 'qop="auth"')), Verified)
    assert isinstance(
        verify(re.sub(r'response="(\w+)"', lambda m: f'response="{m[1].upper()}"', good)), Verified
    )
    md5 = credentials(challenges()[1])
    assert isinstance(verify(md5.replace(", algorithm=MD5", "")), Verified)  # RFC 7616 §3.3: MD5 when absent


def test_the_method_is_part_of_the_proof() -> None:
    assert flaw_of(verify(credentials(challenges()[0], method="INVITE"))) is Flaw.PASSWORD


@pytest.mark.parametrize(
    ("written", "arrived"),
    [
        ("sip:+15550100@example.com", "sip:+15550100@example.com"),
        ("sip:+15550100@example.com", "sip:+15550100@example.com;transport=tcp"),
        ("sip:+15550100@example.com;user=phone", "sip:+15550100@192.0.2.7:5080"),
        ("sip:+15550100@EXAMPLE.com:5060", "sip:+15550100@example.com"),
        ("sip:%2B15550100@example.com", "sip:+15550100@example.com"),
        ("sip:example.com", "sip:example.com:5060"),
        ("tel:+15550100", "tel:+15550100"),
    ],
)
def test_a_request_uri_rewritten_on_the_way_still_is_the_same_resource(written: str, arrived: str) -> None:
    value = credentials(challenges()[0], method="INVITE", uri=written)
    assert isinstance(verify(value, method="INVITE", uri=arrived), Verified)


@pytest.mark.parametrize(
    ("written", "arrived"),
    [
        ("sip:+15550100@example.com", "sip:+15550199@example.com"),
        ("sip:alice@example.com", "sip:Alice@example.com"),
        ("sip:example.com", "sip:+15550199@example.com"),
        ("tel:+15550100", "sip:+15550100@example.com"),
        ("rubbish", "sip:+15550100@example.com"),
    ],
)
def test_credentials_made_for_one_callee_reach_no_other(written: str, arrived: str) -> None:
    value = credentials(challenges()[0], method="INVITE", uri=written)
    assert flaw_of(verify(value, method="INVITE", uri=arrived)) is Flaw.URI


def test_a_realm_with_quotes_and_letters_beyond_ascii_comes_back_whole() -> None:
    realm = 'Büro "Süd" \\ 1'
    accounts = {"alice@example.com": account(realm=realm)}
    (first, _) = challenges(realm=realm)
    first.encode("latin-1")  # fits a message
    assert isinstance(verify(credentials(first), realm=realm, accounts=accounts), Verified)


@given(st.text(st.characters(max_codepoint=255), max_size=200))
def test_no_credentials_raise(text: str) -> None:
    assert not isinstance(verify(text, f"Digest {text}", f'Digest realm="example.com", {text}'), Verified)
