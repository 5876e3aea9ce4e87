"""What another registrar says to a REGISTER that went by us: no, to a guess; and for how long."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.engine.abuse import BanCause
from proxy.engine.effects import AskPlace, Shun, Suspicious
from tests.engine.test_passing import AOR, Stand


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    return Stand(tmp_path)


def test_who_guesses_at_the_registrars_passwords_is_slowed_and_banned_here(stand: Stand) -> None:
    """To the registrar all of it comes from us: it would shut callgate out, and every customer with it."""
    heard = []
    for n in range(40):
        stand.register(f'Authorization: Digest username="alice", realm="pbx", nonce="n", response="{n}"')
        if stand.world.of(Shun):
            break
        stand.place()
        challenge = 'WWW-Authenticate: Digest realm="pbx", nonce="n"'
        stand.pbx.answer(stand.passed(), 401 if n % 2 else 403, "No", "t", challenge)
        heard.append(stand.phone.statuses())
        stand.world.advance(8.1)
        heard[-1] += stand.phone.statuses()
    assert heard[:4] == [[403], [401], [403], [401]]
    # 20, and what comes back to the bucket meanwhile.
    assert 20 < len(heard) < 30
    assert heard[-1] == []
    [shun] = stand.world.of(Shun)
    assert (shun.host, shun.cause) == ("203.0.113.5", BanCause.BRUTE_FORCE)
    assert {one.named for one in stand.world.of(Suspicious)} == {AOR}


def test_a_challenge_to_no_password_or_to_an_old_nonce_is_no_guess(stand: Stand) -> None:
    for n in range(30):
        old = 'Authorization: Digest username="alice", realm="pbx", nonce="n", response="1"'
        stand.register(*([old] if n % 2 else []))
        stand.place()
        challenge = f'WWW-Authenticate: Digest realm="pbx", nonce="n"{", stale=true" if n % 2 else ""}'
        stand.pbx.answer(stand.passed(), 401, "Unauthorized", "t", challenge)
        assert stand.phone.statuses() == [401]
    assert not stand.world.of(Suspicious)


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (["Contact: <sip:alice@192.0.2.20:7000;line=x>;expires=60"], 60),
        (["Contact: <sip:a@192.0.2.20:7000>", "Expires: 90"], 90),
        (["Contact: <sip:a@192.0.2.20>;expires=5", "Contact: <sip:b@192.0.2.20>;expires=60"], 60),
        (["Expires: 120"], 120),
        ([], 3600),
    ],
)
def test_a_contact_that_the_registrar_writes_anew_lasts_as_long_as_it_says(
    stand: Stand, answer: list[str], seconds: int
) -> None:
    """It was taken for what the client had asked: 68 years, in which whoever got its NAT's port was the account."""
    stand.register(contact="<sip:alice@10.0.0.5:5062>;expires=2147483647")
    stand.place()
    request = stand.passed()
    copied = [f"{key}: {value}" for key in ("via", "from", "call-id") for value in request.values(key)]
    stand.pbx.send(
        "SIP/2.0 200 OK",
        *copied,
        f"To: {request.value('to')};tag=t",
        f"CSeq: {request.cseq} REGISTER",
        *answer,
    )
    [(_, expires, _)] = stand.stored().ask.contacts
    assert expires == seconds


def test_an_old_nonce_that_the_registrar_does_not_call_stale_is_no_guess(stand: Stand) -> None:
    """Phones begin a refresh with the nonce of the last one: an office of them was slowed, then not answered at all."""
    for n in range(40):
        user, old = ("alice", "bob")[n % 2], n - 2
        for nonce in (old, n):
            stand.register(
                f'Authorization: Digest username="{user}", nonce="{nonce}", response="1"', user=user
            )
            stand.place()
            request = stand.passed()
            if nonce == old:
                challenge = f'WWW-Authenticate: Digest realm="pbx", nonce="{n}"'
                stand.pbx.answer(request, 401, "Unauthorized", "t", challenge)
                assert stand.phone.statuses() == [401]
            else:
                stand.pbx.answer(request, 200, "OK", "t", "Contact: <sip:alice@10.0.0.5:5062>;expires=60")
                stand.stored()
                assert stand.phone.statuses() == [200]


def test_one_right_password_makes_good_for_one_wrong_one_of_the_same_account(stand: Stand) -> None:
    """Or who has an account of his own could guess at those of others for ever."""
    wrong = 0
    for n in range(90):
        user = ("alice", "alice", "bob")[n % 3]
        stand.register(f'Authorization: Digest username="{user}", nonce="n", response="{n}"', user=user)
        if len(stand.world.of(AskPlace)) <= n:
            break
        stand.place()
        if user == "bob":
            contact = "Contact: <sip:alice@10.0.0.5:5062>;expires=60"
            stand.pbx.answer(stand.passed(), 200, "OK", "t", contact)
            stand.stored()
        else:
            wrong += 1
            stand.pbx.answer(
                stand.passed(), 401, "No", "t", 'WWW-Authenticate: Digest realm="pbx", nonce="n"'
            )
    # More than 20 of this address: nobody who has not proved himself there is let in any more.
    assert wrong == 21
