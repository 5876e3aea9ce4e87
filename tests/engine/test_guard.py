"""Strangers who scan, guess and flood; and the customers next to them, who must not suffer for it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.engine.abuse import BanCause, Dropped
from proxy.engine.digest import answer
from proxy.engine.effects import AskRegister, Shun, Suspicious, Unshun
from proxy.engine.events import FloodSeen, SnapshotChanged
from proxy.engine.guard import SLOW_MAX
from proxy.sip.message import Response
from tests.engine.world import CALLGATE, Phone, World

GUARD = "guard: {unauthenticated: 20 per 10s, failures: 6 per 10m, ban: 10m, exempt: [198.51.100.0/24]}\n"
STRANGER = "203.0.113.66"


def world_of(folder: Path, more: str = GUARD) -> World:
    return World(folder, CALLGATE + more)


class Client:
    """Registers, with whatever password."""

    def __init__(self, world: World, host: str, user: str = "alice", port: int = 5060) -> None:
        self.world = world
        self.user = user
        self.phone = Phone(world, host, user, port)
        self._cseq = 0
        self._branches = 0

    def register(self, *extra: str) -> None:
        self._cseq += 1
        self._branches += 1
        self.phone.request(
            "REGISTER",
            "sip:example.com",
            f"r-{self.phone.address}-{self.user}",
            self._cseq,
            f"<sip:{self.user}@example.com>;tag=1",
            f"<sip:{self.user}@example.com>",
            f"Contact: <sip:{self.user}@{self.phone.address}>",
            *extra,
            branch=f"z9hG4bK-{re.sub('[^0-9a-f]', '-', self.phone.address)}-{self.user}-{self._branches}",
        )

    def challenged(self) -> Response:
        """The 401 that came last."""
        found = [m for m in self.phone.got() if isinstance(m, Response) and m.status == 401]
        return found[-1]

    def guess(self, password: str) -> None:
        """A REGISTER with credentials."""
        self.register()
        got = [m for m in self.phone.got() if isinstance(m, Response) and m.status == 401]
        if not got:
            return
        value = answer(
            got[-1].values("www-authenticate")[0],
            self.user,
            password,
            "REGISTER",
            "sip:example.com",
            "c0ffee",
        )
        self.register(f"Authorization: {value}")

    def gets_in(self) -> bool:
        """Whether the right password reaches the store."""
        before = len(self.world.of(AskRegister))
        self.guess("secret")
        self.phone.got()
        return len(self.world.of(AskRegister)) > before


def banned(world: World) -> list[str]:
    return list(world.engine.core.guard.bans)


def dropped(world: World, cause: Dropped) -> int:
    return world.engine.core.counters.guard_dropped[cause]


# Requests without proof ----------------------------------------------------------------------------------------------


def test_who_asks_too_much_is_met_with_silence_and_then_banned(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    stranger = Client(world, STRANGER)
    for _ in range(20):
        stranger.register()
    assert len(stranger.phone.got()) == 20
    stranger.register()
    assert not stranger.phone.got()
    assert dropped(world, Dropped.RATE) == 1
    # Nothing is left of what was met with silence.
    counters = world.engine.stack_counters
    assert sum(counters.started) - sum(counters.ended) == 20
    assert not banned(world)
    for _ in range(19):
        stranger.register()
    [shun] = world.of(Shun)
    assert (shun.host, shun.cause, shun.seconds) == (STRANGER, BanCause.RATE, 600.0)
    assert banned(world) == [STRANGER]
    world.advance(600.1)
    assert [unshun.host for unshun in world.of(Unshun)] == [STRANGER]
    stranger.register()
    assert stranger.phone.got()


def test_the_bucket_fills_again(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    stranger = Client(world, STRANGER)
    for _ in range(25):
        stranger.register()
    stranger.phone.got()
    world.advance(2)
    stranger.phone.got()
    for _ in range(6):
        stranger.register()
    assert len([m for m in stranger.phone.got() if isinstance(m, Response)]) == 4
    assert not banned(world)


def test_the_second_ban_is_longer(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    stranger = Client(world, STRANGER)
    for seconds in (600, 1200, 2400):
        for _ in range(41):
            stranger.register()
        assert world.of(Shun)[-1].seconds == seconds
        world.advance(seconds + 1)


def test_trunks_and_the_exempt_may_ask_as_much_as_they_like(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    for host in ("192.0.2.10", "198.51.100.7"):
        client = Client(world, host)
        for _ in range(200):
            client.register()
        assert len(client.phone.got()) == 200
        world.handle(FloodSeen(host))
    assert not banned(world)


def test_a_target_of_a_trunk_may_answer_as_much_as_it_is_asked(tmp_path: Path) -> None:
    # Answers to 600 calls a second were taken for a flood: it is its targets that say where a trunk answers from.
    world = World(tmp_path, CALLGATE.replace(', from: ["192.0.2.20/31"]', ', from: ["192.0.2.30/32"]'))
    for host in ("192.0.2.20", "192.0.2.21"):
        world.handle(FloodSeen(host))
    assert not banned(world)
    world.handle(FloodSeen("192.0.2.22"))
    assert banned(world)


def test_a_customer_who_proves_himself_pays_nothing(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    office = [Client(world, STRANGER, "alice", 5060 + n) for n in range(60)]
    assert all(client.gets_in() for client in office)
    assert not banned(world)


def test_the_unreadable_and_the_stray_count_too(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    phone = Phone(world, STRANGER, "x")
    for n in range(50):
        data = f"OPTIONS sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK{n}\r\nCSeq: x\r\n\r\n"
        world.receive(data.encode(), phone.flow)
    assert banned(world) == [STRANGER]
    other = Phone(world, "203.0.113.67", "y")
    for n in range(50):
        other.request("BYE", "sip:x@example.com", f"s{n}", 1, "<sip:a@b>;tag=1", "<sip:c@d>;tag=2")
    assert banned(world) == [STRANGER, "203.0.113.67"]
    canceller = Phone(world, "203.0.113.68", "z")
    for n in range(50):
        canceller.cancel("sip:x@example.com", f"n{n}")
    assert banned(world) == [STRANGER, "203.0.113.67", "203.0.113.68"]
    assert sum(world.engine.stack_counters.started) - sum(world.engine.stack_counters.ended) == 40


def test_everything_is_off_when_it_is_off(tmp_path: Path) -> None:
    world = world_of(tmp_path, "guard: {enabled: no, unauthenticated: 2 per 10s, failures: 1 per 10s}\n")
    stranger = Client(world, STRANGER)
    for _ in range(10):
        stranger.guess("wrong")
        stranger.register("User-Agent: friendly-scanner")
    world.handle(FloodSeen(STRANGER))
    assert not world.of(Shun)
    assert not world.of(Suspicious)


# Scanners ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("agent", ["friendly-scanner", "SIPVicious 0.3", "VaxSIPUserAgent/3.1"])
def test_a_scanner_hears_nothing(tmp_path: Path, agent: str) -> None:
    world = world_of(tmp_path)
    stranger = Client(world, STRANGER)
    stranger.register(f"User-Agent: {agent}")
    phone = stranger.phone
    phone.invite("sip:100@example.com", "c1", f"User-Agent: {agent}")
    phone.request(
        "OPTIONS", "sip:example.com", "o1", 1, "<sip:a@b>;tag=1", "<sip:c@d>", f"user-agent: {agent}"
    )
    assert not phone.got()
    assert dropped(world, Dropped.SCANNER) == 3
    # It is told of once, however long it knocks.
    [told] = world.of(Suspicious)
    assert (told.kind, told.named) == ("scanner", agent)
    assert world.engine.stack_counters.started == world.engine.stack_counters.ended
    for _ in range(30):
        stranger.register(f"User-Agent: {agent}")
    assert banned(world) == [STRANGER]


def test_an_honest_phone_is_no_scanner(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    client = Client(world, STRANGER)
    client.register("User-Agent: Linphone/5")
    assert client.challenged()


def test_patterns_are_text_and_can_be_changed(tmp_path: Path) -> None:
    world = world_of(tmp_path, 'guard: {scanners: ["probe (x)"]}\n')
    client = Client(world, STRANGER)
    client.register("User-Agent: Probe (X) 1")
    assert not client.phone.got()
    client.register("User-Agent: friendly-scanner")
    assert client.challenged()
    (tmp_path / "other").mkdir()
    other = world_of(tmp_path / "other", "guard: {scanners: []}\n")
    world.handle(SnapshotChanged(other.engine.core.snapshot))
    client.register("User-Agent: Probe (X) 1")
    assert client.challenged()


# Passwords -----------------------------------------------------------------------------------------------------------


def test_guessing_gets_slower_and_ends_in_a_ban(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    client = Client(world, STRANGER)
    waits = []
    for n in range(6):
        client.guess(f"wrong{n}")
        waited = 0.0
        while not [m for m in client.phone.got() if isinstance(m, Response)]:
            world.advance(0.5)
            waited += 0.5
            assert waited < 10, n
        waits.append(waited)
    # Three slips of the finger cost nothing.
    assert waits[:3] == [0, 0, 0]
    assert waits[3:] == [1, 2, 4]
    assert max(waits) <= SLOW_MAX
    client.guess("wrong")
    assert banned(world) == [STRANGER]
    assert world.of(Shun)[0].cause is BanCause.BRUTE_FORCE
    assert not client.phone.got()
    assert world.engine.core.counters.auth_failures == 7
    told = [one for one in world.of(Suspicious) if one.kind == "auth_failed"]
    assert {one.named for one in told} == {"alice@example.com"}
    # The real customer calls on from elsewhere.
    assert Client(world, "203.0.113.5").gets_in()


def test_a_wrong_password_on_an_invite_is_slowed_too(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    phone = Phone(world, STRANGER, "alice")
    for n in range(5):
        phone.invite("sip:4930@example.com", f"a{n}")
        [challenge] = [m for m in phone.got() if isinstance(m, Response)]
        value = answer(
            challenge.values("proxy-authenticate")[0],
            "alice",
            "no",
            "INVITE",
            "sip:4930@example.com",
            "c0ffee",
        )
        phone.invite("sip:4930@example.com", f"a{n}", f"Proxy-Authorization: {value}", cseq=2)
        statuses = phone.statuses()
        if n < 3:
            assert statuses == [407]
        else:
            assert statuses == [100]
            world.advance(2.1)
            assert phone.statuses()[0] == 407


def closed(world: World) -> tuple[Client, Client]:
    """An address where alice lives and bob has guessed too often."""
    resident, guesser = Client(world, STRANGER, "alice", 5060), Client(world, STRANGER, "bob", 5070)
    assert resident.gets_in()
    for n in range(8):
        guesser.guess(f"wrong{n}")
        world.advance(10)
        guesser.phone.got()
    return resident, guesser


def test_where_somebody_lives_only_he_is_let_in(tmp_path: Path) -> None:
    """One NAT: a phone with a forgotten password must not shut the office out."""
    world = world_of(tmp_path)
    resident, guesser = closed(world)
    assert not banned(world)
    assert [one.kind for one in world.of(Suspicious)].count("closed") >= 1
    before = dropped(world, Dropped.CLOSED)
    guesser.register()
    assert not guesser.phone.got()
    assert dropped(world, Dropped.CLOSED) == before + 1
    assert resident.gets_in()
    # And it opens again.
    world.advance(601)
    assert guesser.gets_in()


def test_nobody_is_let_in_by_the_name_of_one_who_lives_there(tmp_path: Path) -> None:
    """Where strangers are shut out, a guess at an account must not get in beside the name of another one."""
    world = world_of(tmp_path)
    resident, guesser = closed(world)
    right = answer(
        _challenge(resident).values("www-authenticate")[0],
        "bob",
        "secret",
        "REGISTER",
        "sip:example.com",
        "c0ffee",
    )
    resident_s = (
        'Digest username="alice", realm="example.com", nonce="0", uri="sip:example.com", response="0"'
    )
    before = len(world.of(AskRegister))
    guesser.register(f"Authorization: {resident_s}", f"Authorization: {right}")
    guesser.register(f"Proxy-Authorization: {resident_s}", f"Authorization: {right}")
    guesser.register(f"Authorization: {resident_s}, {right}")
    assert len(world.of(AskRegister)) == before
    assert not guesser.phone.got()


def _challenge(client: Client) -> Response:
    client.register()
    return client.challenged()


def test_an_account_that_is_guessed_at_from_everywhere_is_not_locked(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    home = Client(world, "203.0.113.5")
    assert home.gets_in()
    for n in range(10):
        attacker = Client(world, f"198.18.0.{n}")
        attacker.guess("wrong1")
        world.advance(1)
        attacker.guess("wrong2")
        world.advance(1)
    # Each of them is well within its own 6; but the account is under attack, and so it is at most one try each.
    assert banned(world)
    attacker = Client(world, "198.18.0.99")
    attacker.guess("wrong")
    attacker.guess("wrong")
    assert "198.18.0.99" in banned(world)
    # Who knows the password is let in, at home and from an address that nobody has seen before.
    assert home.gets_in()
    assert Client(world, "203.0.113.200").gets_in()


def test_a_spoofer_without_nonces_cannot_have_a_customer_banned(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    customer = Client(world, STRANGER)
    assert customer.gets_in()
    for n in range(100):
        customer.register(
            f'Authorization: Digest username="bob",realm="example.com",nonce="{n}",uri="sip:example.com",response="0",'
            'cnonce="x",nc=00000001,qop=auth'
        )
    assert not banned(world)
    world.advance(60)
    customer.phone.got()
    assert customer.gets_in()
