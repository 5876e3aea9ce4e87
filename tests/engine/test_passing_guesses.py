"""Guesses at the passwords of another registrar, made through us."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.engine.abuse import BanCause
from proxy.engine.effects import Shun, Suspicious
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
