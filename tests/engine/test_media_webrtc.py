"""Media by way of rtpengine where ends are browsers: who is offered what, and forks to browsers and phones at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from policies.verdicts import Admitted
from proxy.engine.effects import PLAIN, WEBRTC, EndMedia
from proxy.engine.events import Hangup, MediaAnswered
from proxy.sip.message import Request, Response
from tests.engine.relaying import RELAY, Scene
from tests.engine.test_connections import BOB, BROWSER, Connected, record
from tests.engine.world import SUBSCRIBERS, Phone

SAID = "v=0\r\nm=audio 9 {profile} 0\r\na=ice-ufrag:abcd\r\na=fingerprint:sha-256 0B:30\r\n"
OF_A_BROWSER = SAID.format(profile="UDP/TLS/RTP/SAVPF")
OF_A_SOFTPHONE = SAID.format(profile="UDP/TLS/RTP/SAVP")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    scene = Scene(tmp_path, RELAY + "auth: {invite: registered_source}\n")
    scene.world.reload(subscribers=SUBSCRIBERS.replace("mode: softphone}", "mode: softphone, media: relay}"))
    return scene


def in_a_browser(scene: Scene) -> None:
    """alice's phone; known by where she registered from."""
    scene.alice = Connected(scene.world, number=8)
    scene.alice.user = "alice"
    scene.world.engine.core.sources.put(scene.alice.flow, "alice@example.com", 3600, 0)


def registered(scene: Scene, *phones: Phone, uri: str = "") -> None:
    """bob's; alice calls him."""
    records = [
        record(phone.flow, uri or (BROWSER if phone.flow.conn else f"sip:bob@{phone.address}"))
        for phone in phones
    ]
    scene.number = BOB
    scene.world.auto = lambda leg: Admitted(leg.lease, records if leg.aor else None)


def asked(scene: Scene) -> list[tuple[str, str]]:
    """(command, profile) of what was asked, and it is answered."""
    asks = scene.asks()
    scene.relay(len(asks))
    return [(ask.command, ask.profile) for ask in asks]


def reoffered(scene: Scene, callee: Phone, invite: Request, ok: Response) -> tuple[str, str]:
    """What is made of an offer by the caller, and of one by the callee; each is answered."""
    scene.within("INVITE", ok, 2, "v=0 again")
    [(_, by_caller)] = asked(scene)
    scene.reply(callee, scene.request(callee), "200 OK", "v=0 agreed")
    assert asked(scene) == [("answer", "")]
    scene.within("ACK", ok, 2, "")
    callee.got()
    scene.alice.got()
    scene.back(callee, invite, "INVITE", 1, "v=0 hold")
    [(_, by_callee)] = asked(scene)
    scene.reply(scene.alice, scene.request(scene.alice), "200 OK", "v=0 held")
    assert asked(scene) == [("answer", "")]
    callee.got()
    return by_caller, by_callee


def called(
    scene: Scene, callee: Phone, offer: str = "v=0 alice", answer: str = "v=0 far"
) -> tuple[Request, Response, str]:
    """alice calls; also what her offer was made into."""
    scene.invite(offer)
    [(_, profile)] = asked(scene)
    invite = scene.request(callee)
    assert invite.body == f"{offer}@relay{profile}".encode()
    scene.reply(callee, invite, "183 Session Progress", answer)
    assert asked(scene) == [("answer", "")]
    scene.reply(callee, invite, "200 OK", answer)
    ok = scene.response(scene.alice, 200)
    scene.within("ACK", ok, 1, "")
    callee.got()
    return invite, ok, profile


def test_a_browser_calls_a_phone(scene: Scene) -> None:
    in_a_browser(scene)
    invite, ok, profile = called(scene, scene.far)
    assert profile == PLAIN
    assert reoffered(scene, scene.far, invite, ok) == (PLAIN, WEBRTC)


def test_a_phone_calls_a_browser(scene: Scene) -> None:
    bob = Connected(scene.world)
    registered(scene, bob)
    invite, ok, profile = called(scene, bob)
    assert profile == WEBRTC
    assert reoffered(scene, bob, invite, ok) == (WEBRTC, PLAIN)


def test_a_browser_calls_a_browser(scene: Scene) -> None:
    in_a_browser(scene)
    bob = Connected(scene.world)
    registered(scene, bob)
    invite, ok, profile = called(scene, bob)
    assert profile == WEBRTC
    assert reoffered(scene, bob, invite, ok) == (WEBRTC, WEBRTC)


@pytest.mark.parametrize("offer", ["v=0 alice", SAID.format(profile="RTP/SAVP"), OF_A_SOFTPHONE])
def test_phones_agree_between_themselves(scene: Scene, offer: str) -> None:
    invite, ok, profile = called(scene, scene.far, offer)
    assert profile == ""
    assert reoffered(scene, scene.far, invite, ok) == ("", "")


def test_a_description_says_what_its_end_is(scene: Scene) -> None:
    """Both by UDP: through a proxy that keeps the browsers' connections, and says no more of them."""
    invite, ok, profile = called(scene, scene.far, OF_A_BROWSER)
    assert profile == PLAIN
    assert reoffered(scene, scene.far, invite, ok) == (PLAIN, WEBRTC)


def test_an_answer_says_what_its_end_is(scene: Scene) -> None:
    invite, ok, profile = called(scene, scene.far, answer=OF_A_BROWSER)
    assert profile == ""
    assert reoffered(scene, scene.far, invite, ok) == (WEBRTC, PLAIN)


def test_a_browser_behind_another_proxy(scene: Scene) -> None:
    bob = Phone(scene.world, "203.0.113.6", "bob")
    registered(scene, bob, uri=BROWSER)
    _, _, profile = called(scene, bob)
    assert profile == WEBRTC


@pytest.mark.parametrize("answers", ["ACK", "PRACK"])
def test_a_browser_is_offered_by_the_callee(scene: Scene, answers: str) -> None:
    in_a_browser(scene)
    scene.invite("")
    invite = scene.request(scene.far)
    status = 200 if answers == "ACK" else 183
    scene.reply(scene.far, invite, f"{status} Offers", "v=0 far")
    assert asked(scene) == [("offer", WEBRTC)]
    response = scene.response(scene.alice, status)
    assert response.body == f"v=0 far@relay{WEBRTC}".encode()
    scene.within(answers, response, 1 if answers == "ACK" else 2, "v=0 alice")
    assert asked(scene) == [("answer", "")]


class Fork:
    """bob has a browser and a phone, and both ring."""

    def __init__(self, scene: Scene) -> None:
        self.browser = Connected(scene.world)
        self.phone = Phone(scene.world, "203.0.113.6", "bob")
        registered(scene, self.browser, self.phone)
        scene.invite("v=0 alice")
        to_phone, to_browser = scene.asks()
        self.tokens = {self.phone: to_phone.token, self.browser: to_browser.token}
        assert to_phone.token != to_browser.token
        assert [to_phone.profile, to_browser.profile] == ["", WEBRTC]


def test_each_kind_has_its_offer(scene: Scene) -> None:
    fork = Fork(scene)
    scene.relay(1)
    assert not fork.browser.got() + fork.phone.got(), "neither before both can go"
    scene.relay(1)
    assert scene.request(fork.phone).body == b"v=0 alice@relay"
    assert scene.request(fork.browser).body == f"v=0 alice@relay{WEBRTC}".encode()


@pytest.mark.parametrize(
    "which", [lambda fork: fork.browser, lambda fork: fork.phone], ids=["browser", "phone"]
)
def test_whoever_of_a_fork_answers(scene: Scene, which: Callable[[Fork], Phone]) -> None:
    """All that follows is asked for in rtpengine's call of its kind."""
    fork = Fork(scene)
    scene.relay(2)
    one = which(fork)
    other = fork.phone if one is fork.browser else fork.browser
    token, to_other = fork.tokens[one], fork.tokens[other]
    invite, unanswered = scene.request(one), scene.request(other)
    scene.reply(other, unanswered, "183 Session Progress", "v=0 early", "o")
    assert [ask.token for ask in scene.asks()] == [to_other]
    scene.relay()
    for _ in range(2):
        scene.reply(one, invite, "200 OK", "v=0 bob")
        assert {ask.token for ask in scene.asks()} <= {token}, "and not at all when it comes once more"
        scene.relay(len(scene.asks()))
        ok = scene.response(scene.alice, 200)
        assert ok.body == b"v=0 bob@relay"
    scene.within("ACK", ok, 1, "")
    one.got()
    scene.within("UPDATE", ok, 2, "v=0 again")
    scene.back(one, invite, "UPDATE", 1, "v=0 hold")
    assert [(ask.token, ask.profile) for ask in scene.asks()] == [
        (token, WEBRTC if one is fork.browser else ""),
        (token, PLAIN if one is fork.browser else ""),
    ]
    scene.relay(2)
    scene.world.handle(Hangup("c1"))
    assert {effect.token for effect in scene.world.of(EndMedia)} == {token, to_other}


@pytest.mark.parametrize("first", [0, 1])
def test_a_fork_of_which_one_offer_fails_is_not_relayed(scene: Scene, first: int) -> None:
    fork = Fork(scene)
    asks = scene.asks()
    scene.world.handle(MediaAnswered(asks[first], None))
    assert scene.ended == 2
    scene.world.handle(MediaAnswered(asks[1 - first], b"relayed"))
    scene.answered = 2
    for phone in (fork.browser, fork.phone):
        invite = scene.request(phone)
        assert invite.body == b"v=0 alice"
    scene.reply(phone, invite, "200 OK", "v=0 bob")
    assert scene.response(scene.alice, 200).body == b"v=0 bob"
    assert not scene.asks()
    assert scene.ended == 2


def test_the_second_offer_fails_after_the_first_came(scene: Scene) -> None:
    fork = Fork(scene)
    scene.relay(1)
    scene.relay(1, works=False)
    for phone in (fork.browser, fork.phone):
        assert scene.request(phone).body == b"v=0 alice"


def test_cut_between_the_two_offers(scene: Scene) -> None:
    fork = Fork(scene)
    scene.relay(1)
    scene.world.handle(Hangup("c1"))
    scene.relay(1)
    assert scene.alice.statuses() == [100, 480]
    assert not fork.browser.got() + fork.phone.got()
    assert scene.ended == 2
    scene.world.idle()
