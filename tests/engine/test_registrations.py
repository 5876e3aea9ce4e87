"""callgate as a registering client: RFC 3261 §10.2, turns among instances, waits after failures, and taking back."""

from __future__ import annotations

import re
from hashlib import md5, sha256
from pathlib import Path

import pytest

from config.load import load
from policies.catalog import Catalog
from proxy.engine.digest import Digest, Verified
from proxy.engine.effects import AskName, AskTurn, GiveTurn
from proxy.engine.events import DrainStarted, NameFound, SnapshotChanged, TimerFired, TurnDecided
from proxy.engine.finding import Server
from proxy.engine.results import Result, State
from proxy.engine.snapshot import Snapshot
from proxy.sip.message import Request
from tests.engine.world import PLANS, WALL, Phone, World

CALLGATE = """
domains: [example.com]
listen: ["udp://192.0.2.1:5060", "tcp://192.0.2.1:5060"]
store: {url: "redis://127.0.0.1:1/0", lease: 30s}
plans: plans.yaml
subscribers: subscribers.yaml
trunks:
  provider: {from: ["192.0.2.20/31"], targets: ["sip:192.0.2.20", "sip:192.0.2.21"]}
  pbx: {from: ["192.0.2.30/32"], targets: ["sip:192.0.2.30;transport=tcp"]}
"""
ALICE = """
  alice:
    accounts:
      - {user: alice, password: x, mode: softphone, register: {trunk: provider, username: "49301", password: pw,
         domain: sip.example.net, expires: 10m}}
    activations: [{plan: office, since: 2026-01-01, until: 2027-01-01}]
"""
CHALLENGE = 'WWW-Authenticate: Digest realm="sip.example.net", nonce="n%s", qop="auth", algorithm=%s%s'


class Stand:
    """callgate and the provider it registers at."""

    def __init__(self, folder: Path, subscribers: str = ALICE, settings: str = CALLGATE) -> None:
        self.folder = folder
        self.world = World(folder, settings, PLANS, "subscribers:" + subscribers)
        self.provider = Phone(self.world, "192.0.2.20", "provider")
        self.second = Phone(self.world, "192.0.2.21", "second")

    def begin(self) -> None:
        self.world.handle(TimerFired())
        self.turn(True)

    def turn(self, ours: bool | None, trunk: str = "provider") -> None:
        self.world.handle(TurnDecided(trunk, ours))
        self.world.handle(TimerFired())

    def asked(self, provider: Phone | None = None) -> Request:
        [request] = (provider or self.provider).requests()
        assert request.method == "REGISTER"
        return request

    def challenge(
        self, request: Request, nonce: int = 1, algorithm: str = "SHA-256", stale: bool = False
    ) -> None:
        line = CHALLENGE % (nonce, algorithm, ", stale=true" if stale else "")
        self.provider.answer(request, 401, "Unauthorized", "t", line)

    def grant(self, request: Request, seconds: int = 600) -> None:
        contact = request.contact_uri()
        self.provider.answer(request, 200, "OK", "t", f"Contact: <{contact}>;expires={seconds}")

    def states(self) -> list[State]:
        return [state for state, count in self.world.engine.registrations.counted().items() if count]

    def reload(self, subscribers: str) -> None:
        (self.folder / "subscribers.yaml").write_text("subscribers:" + subscribers)
        loaded = load(self.folder / "callgate.yaml")
        self.world.handle(SnapshotChanged(Snapshot(loaded.config, Catalog(loaded))))
        self.world.handle(TimerFired())

    def until_sent(self, seconds: float) -> float:
        """Lets time pass until the provider gets something; how long that took."""
        world, begun = self.world, self.world.now
        while not any(item.flow is self.provider.flow for item in world.sent):
            due = world.engine.timers.next_deadline()
            assert due is not None
            assert due - begun < seconds, f"nothing within {seconds} s"
            world.advance(max(0.0, due - world.now))
        return world.now - begun


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    found = Stand(tmp_path)
    found.begin()
    return found


def proves(request: Request, algorithm: str) -> bool:
    """Whether the credentials hold: computed by the server's side of digest, from the same password."""
    value = request.value("authorization") or ""
    said = {k: a or b for k, a, b in re.findall(r'(\w+)=(?:"([^"]*)"|([^,\s]+))', value)}

    def hashed(text: str) -> str:
        return {"MD5": md5, "SHA-256": sha256}[algorithm](text.encode()).hexdigest()

    first = hashed("49301:sip.example.net:pw")
    second = hashed(f"REGISTER:{request.uri}")
    right = hashed(f"{first}:{said['nonce']}:{said['nc']}:{said['cnonce']}:auth:{second}")
    return bool(said["response"] == right)


@pytest.mark.rfc3261("10.2-3", "10.2-4", "10.2-5", "10.2-9")
def test_a_register_as_rfc_3261_wants_it(stand: Stand) -> None:
    request = stand.asked()
    assert request.uri == "sip:sip.example.net"
    assert (request.value("to"), request.to_tag) == ("<sip:49301@sip.example.net>", "")
    assert (request.value("from") or "").startswith("<sip:49301@sip.example.net>;tag=")
    assert request.value("contact") == "<sip:49301@192.0.2.1:5060>;expires=600"
    assert request.value("expires") == "600"
    assert request.value("authorization") is None


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
@pytest.mark.rfc3261("8.1.3.5-1", "8.1.3.5-6", "10.2-6", "10.2-7", "10.2.4-2")
def test_a_challenge_is_answered_and_the_next_refresh_answers_ahead(stand: Stand, algorithm: str) -> None:
    first = stand.asked()
    stand.challenge(first, algorithm=algorithm)
    second = stand.asked()
    assert (second.call_id, second.cseq) == (first.call_id, first.cseq + 1)
    assert [second.value(name) for name in ("from", "to")] == [first.value(name) for name in ("from", "to")]
    assert proves(second, algorithm)
    assert stand.states() == [State.REGISTERING]
    stand.grant(second)
    assert stand.states() == [State.REGISTERED]
    # Well before it expires, and not at a moment that all share.
    assert 450 <= stand.until_sent(600) <= 541
    refresh = stand.asked()
    assert (refresh.call_id, refresh.cseq) == (first.call_id, first.cseq + 2)
    assert "nc=00000002" in (refresh.value("authorization") or "")
    assert proves(refresh, algorithm)


@pytest.mark.rfc3261("10.2-2", "10.2.4-1")
def test_a_refresh_takes_nothing_over_from_what_was_answered(stand: Stand) -> None:
    request = stand.asked()
    stand.provider.answer(
        *(request, 200, "OK", "t", "Record-Route: <sip:192.0.2.99;lr>"),
        f"Contact: <sip:somebody@198.51.100.1>;expires=600, <{request.contact_uri()}>;expires=600",
    )
    stand.until_sent(600)
    refresh = stand.asked()
    assert "route" not in refresh.keys
    assert refresh.values("contact") == request.values("contact")


def test_a_nonce_that_is_too_old_is_replaced(stand: Stand) -> None:
    stand.challenge(stand.asked())
    stand.grant(stand.asked())
    stand.until_sent(600)
    stand.challenge(stand.asked(), nonce=2, stale=True)
    again = stand.asked()
    assert 'nonce="n2"' in (again.value("authorization") or "")
    stand.challenge(again, nonce=3, stale=True)
    stand.grant(stand.asked())
    assert stand.states() == [State.REGISTERED]


def test_a_wrong_password_is_not_tried_again_at_once(stand: Stand) -> None:
    stand.challenge(stand.asked())
    stand.challenge(stand.asked(), nonce=2)
    assert stand.provider.got() == []
    assert stand.states() == [State.FAILED]
    assert stand.world.engine.core.counters.registrations[Result.REJECTED] == 1
    [shown] = stand.world.engine.registrations.shown(stand.world.now)
    assert (shown["state"], shown["status"], shown["failures"]) == ("failed", 401, 1)


@pytest.mark.rfc3261("8.1.3.4-4")
def test_waits_after_failures_double_and_are_bounded(stand: Stand) -> None:
    waits = []
    for _ in range(9):
        stand.provider.answer(stand.asked(), 403, "Forbidden")
        waits.append(stand.until_sent(2000))
    # RFC 5626 §4.5: between half and all of min(1800, 30 * 2^n).
    for n, wait in enumerate(waits):
        longest = min(1800, 30 * 2**n)
        assert longest / 2 <= wait <= longest + 1, (n, waits)
    stand.grant(stand.asked())
    stand.until_sent(600)
    stand.provider.answer(stand.asked(), 403, "Forbidden")
    assert stand.until_sent(31) <= 31


def test_retry_after_is_heeded(stand: Stand) -> None:
    stand.provider.answer(stand.asked(), 403, "Later", "t", "Retry-After: 120")
    assert 119 <= stand.until_sent(200) <= 121


def test_a_longer_interval_is_taken_and_the_shorter_one_granted_is_kept_to(stand: Stand) -> None:
    request = stand.asked()
    stand.provider.answer(request, 423, "Interval Too Brief", "t", "Min-Expires: 1200")
    longer = stand.asked()
    assert longer.value("expires") == "1200"
    stand.grant(longer, seconds=100)
    assert 75 <= stand.until_sent(100) <= 91


@pytest.mark.rfc3261("8.1.3.4-4")
def test_a_server_that_is_down_makes_room_for_the_next(stand: Stand) -> None:
    stand.provider.answer(stand.asked(), 503, "Service Unavailable")
    request = stand.asked(stand.second)
    stand.second.answer(request, 200, "OK", "t", f"Contact: <{request.contact_uri()}>;expires=600")
    assert stand.states() == [State.REGISTERED]


@pytest.mark.parametrize("how", ["silence", "503"])
def test_of_a_name_the_next_server_is_tried(tmp_path: Path, how: str) -> None:
    """RFC 3263 §4.3: it was always the first of its SRV records, for as long as that one was dead."""
    settings = CALLGATE.replace('["sip:192.0.2.20", "sip:192.0.2.21"]', '["sip:provider.test"]')
    stand = Stand(tmp_path, settings=settings)
    stand.begin()
    [ask] = stand.world.of(AskName)
    found = [Server(rank, 0, "UDP", 5060, [f"192.0.2.2{rank}"]) for rank in (0, 1)]
    stand.world.handle(NameFound(ask.question, found, 3600.0))
    first = stand.asked()
    if how == "503":
        stand.provider.answer(first, 503, "Service Unavailable")
    else:
        stand.world.advance(32.1)
    request = stand.asked(stand.second)
    stand.second.answer(request, 200, "OK", "t", f"Contact: <{request.contact_uri()}>;expires=60")
    assert stand.states() == [State.REGISTERED]
    # The next ones, calls too, begin where there is somebody.
    outages = stand.world.engine.core.reach.outages
    assert [flow.host for flow in outages] == (["192.0.2.20"] if how == "silence" else [])


@pytest.mark.rfc3261("8.1.3.1-1", "10.2.7-1")
def test_silence_everywhere_is_tried_again(stand: Stand) -> None:
    stand.asked()
    stand.world.advance(33)
    assert {request.method for request in stand.second.requests()} == {"REGISTER"}
    stand.world.advance(33)
    assert stand.states() == [State.FAILED]
    assert stand.world.engine.core.counters.registrations[Result.UNREACHABLE] == 1
    [shown] = stand.world.engine.registrations.shown(stand.world.now)
    assert (shown["status"], shown["reason"]) == (408, "no answer")
    stand.provider.got()
    stand.world.advance(10)
    assert stand.provider.got() == []


def test_only_whose_turn_it_is_registers(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    stand.world.handle(TimerFired())
    [ask] = stand.world.of(AskTurn)
    assert (ask.trunk, ask.life) == ("provider", 30.0)
    stand.turn(False)
    stand.world.advance(25)
    assert stand.provider.got() == []
    assert stand.states() == [State.STANDBY]
    # Three times within a turn's life, so that one lost answer does not lose it.
    assert len(stand.world.of(AskTurn)) == 3
    stand.turn(True)
    stand.grant(stand.asked())
    # The store is away: nobody else can have got the turn.
    stand.turn(None)
    assert stand.states() == [State.REGISTERED]
    # We were away for longer than a turn lasts.
    stand.turn(False)
    assert stand.states() == [State.STANDBY]
    stand.world.advance(700)
    assert stand.provider.got() == []


@pytest.mark.rfc3261("10.2.2-1")
def test_a_drain_takes_back_what_is_registered_and_gives_the_turn_away(stand: Stand) -> None:
    stand.challenge(stand.asked())
    stand.grant(stand.asked())
    stand.world.handle(DrainStarted())
    [give] = stand.world.of(GiveTurn)
    assert give.trunk == "provider"
    request = stand.asked()
    assert request.value("expires") == "0"
    assert (request.value("contact") or "").endswith(";expires=0")
    assert stand.world.engine.registrations.leaving == 1
    stand.challenge(request, nonce=9)
    stand.provider.answer(stand.asked(), 200, "OK")
    assert stand.world.engine.registrations.leaving == 0
    stand.world.advance(2000)
    assert stand.provider.got() == []
    stand.world.idle()


def test_a_drain_waits_for_nobody_who_is_silent(stand: Stand) -> None:
    stand.grant(stand.asked())
    stand.world.handle(DrainStarted())
    stand.world.advance(70)
    assert stand.world.engine.registrations.leaving == 0


def test_a_new_password_begins_anew_and_an_account_that_is_gone_is_taken_back(stand: Stand) -> None:
    stand.challenge(stand.asked())
    stand.challenge(stand.asked(), nonce=2)
    stand.reload(ALICE.replace("password: pw", "password: right"))
    request = stand.asked()
    assert request.value("expires") == "600"
    stand.grant(request)
    stand.reload(
        ALICE.replace("password: pw", "password: right").replace("register:", "disabled: no, register:")
    )
    assert stand.provider.got() == []
    stand.reload("\n  alice: {accounts: [{user: alice, password: x, mode: softphone}]}\n")
    assert stand.asked().value("expires") == "0"
    assert len(stand.world.of(GiveTurn)) == 1


def test_many_accounts_do_not_begin_at_once(tmp_path: Path) -> None:
    accounts = ", ".join(
        f"{{user: u{n}, password: x, mode: gateway, register: {{trunk: provider, password: y}}}}"
        for n in range(200)
    )
    stand = Stand(tmp_path, f"\n  alice: {{accounts: [{accounts}]}}\n")
    stand.begin()
    seen: set[str] = set()
    begun = []
    for _ in range(6):
        new = {request.call_id for request in stand.provider.requests()} - seen
        seen |= new
        begun.append(len(new))
        stand.world.advance(1)
    assert max(begun) < 90
    assert len(seen) == 200


def test_over_tcp_the_contact_says_so(tmp_path: Path) -> None:
    account = "{user: bob, password: x, mode: gateway, register: {trunk: pbx, password: y}}"
    stand = Stand(tmp_path, f"\n  bob: {{accounts: [{account}]}}\n")
    pbx = Phone(stand.world, "192.0.2.30", "pbx", table=stand.world.tcp)
    stand.world.handle(TimerFired())
    stand.turn(True, "pbx")
    request = stand.asked(pbx)
    assert request.contact_uri() == "sip:bob@192.0.2.1:5060;transport=tcp"
    assert request.uri == "sip:192.0.2.30"


def test_the_credentials_hold_before_our_own_server_side(stand: Stand) -> None:
    """Both sides of digest.py agree, as two instances of callgate registering at each other would need."""
    digest = Digest(b"s")
    rng = stand.world.engine.core.rng
    [value, _] = digest.challenge("sip.example.net", False, WALL, rng)
    stand.provider.answer(stand.asked(), 401, "Unauthorized", "t", f"WWW-Authenticate: {value}")
    request = stand.asked()
    accounts = Catalog(load(_written(stand.folder))).accounts
    proof = digest.verify(
        request.values("authorization"),
        "REGISTER",
        request.uri,
        "sip.example.net",
        "sip.example.net",
        accounts.get,
        WALL,
    )
    assert isinstance(proof, Verified)


def _written(folder: Path) -> Path:
    other = folder / "other"
    other.mkdir()
    (other / "plans.yaml").write_text(PLANS)
    (other / "subscribers.yaml").write_text(
        "subscribers: {p: {accounts: [{user: '49301', password: pw, mode: softphone}]}}"
    )
    (other / "callgate.yaml").write_text(
        "domains: [sip.example.net]\nlisten: ['udp://192.0.2.20:5060']\n"
        "plans: plans.yaml\nsubscribers: subscribers.yaml\n"
    )
    return other / "callgate.yaml"
