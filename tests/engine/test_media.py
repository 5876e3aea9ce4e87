"""Media by way of rtpengine: which descriptions are asked for, as what; nothing is lost or overtaken meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.lease import Outcome
from proxy.engine.effects import AskMedia
from proxy.engine.events import FlowFailed, Hangup, MediaAnswered
from proxy.sip.message import Request, Response
from tests.engine.relaying import NUMBER, RELAY, Scene
from tests.engine.world import CALLGATE, Phone, World, set_up


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_offer_early_answer_answer_and_end(scene: Scene) -> None:
    scene.invite("v=0 alice")
    assert not scene.far.got(), "it waits for the relay"
    assert scene.relay() == [("offer", "a", "")]
    invite = scene.request(scene.far)
    assert invite.body == b"v=0 alice@relay"
    scene.reply(scene.far, invite, "183 Session Progress", "v=0 early")
    assert scene.relay() == [("answer", "a", "b")]
    assert scene.response(scene.alice, 183).body == b"v=0 early@relay"
    scene.reply(scene.far, invite, "200 OK", "v=0 far")
    assert scene.relay() == [("answer", "a", "b")]
    ok = scene.response(scene.alice, 200)
    assert ok.body == b"v=0 far@relay"
    scene.within("ACK", ok, 1, "")
    assert scene.request(scene.far).method == "ACK"
    assert scene.ended == 0
    scene.within("BYE", ok, 2, "")
    scene.reply(scene.far, scene.request(scene.far), "200 OK", "")
    assert scene.ended == 1
    scene.alice.got()
    scene.world.idle()


def test_whose_ends_do_not_ask_for_it_pays_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, CALLGATE + "rtpengine: {address: 127.0.0.1:2223}\n")
    set_up(world)
    assert not world.of(AskMedia)
    [call] = world.engine.core.calls.values()
    assert call.media is None


def test_a_repeated_200_is_the_same_and_nobody_is_asked_again(scene: Scene) -> None:
    scene.invite("v=0 alice")
    scene.relay()
    invite = scene.request(scene.far)
    for _ in range(2):
        scene.reply(scene.far, invite, "200 OK", "v=0 far")
        if scene.asks():
            scene.relay()
        assert scene.response(scene.alice, 200).body == b"v=0 far@relay"
    assert scene.answered == 2


def test_nothing_overtakes_what_is_held(scene: Scene) -> None:
    """180 with a description, then 200 without waiting: rtpengine answers the second question first."""
    scene.invite("v=0 alice")
    scene.relay()
    invite = scene.request(scene.far)
    scene.alice.got()
    scene.reply(scene.far, invite, "183 Session Progress", "v=0 early")
    scene.reply(scene.far, invite, "180 Ringing", "")
    scene.reply(scene.far, invite, "200 OK", "v=0 far")
    early, final = scene.asks()
    scene.world.handle(MediaAnswered(final, b"final"))
    assert not scene.alice.got()
    scene.world.handle(MediaAnswered(early, b"early"))
    assert [message.body for message in scene.alice.got()] == [b"early", b"", b"final"]


def test_a_delayed_offer_is_answered_in_the_ack(scene: Scene) -> None:
    scene.invite("")
    invite = scene.request(scene.far)
    scene.reply(scene.far, invite, "200 OK", "v=0 far")
    assert scene.relay() == [("offer", "b", "a")]
    ok = scene.response(scene.alice, 200)
    scene.within("ACK", ok, 1, "v=0 alice")
    assert not scene.far.got()
    assert scene.relay() == [("answer", "b", "a")]
    assert scene.request(scene.far).body == b"v=0 alice@relay"
    # The 200 comes again, and so does the ACK: both as before.
    scene.reply(scene.far, invite, "200 OK", "v=0 far")
    assert scene.response(scene.alice, 200).body == b"v=0 far@relay"
    scene.within("ACK", ok, 1, "v=0 alice")
    assert scene.request(scene.far).body == b"v=0 alice@relay"
    # Cut, with the ACK seen though it was held.
    scene.world.handle(Hangup("c1"))
    assert scene.request(scene.alice).method == "BYE"
    assert scene.ended == 1


def test_a_delayed_offer_in_a_reliable_provisional_is_answered_in_the_prack(scene: Scene) -> None:
    scene.invite("")
    invite = scene.request(scene.far)
    scene.reply(scene.far, invite, "183 Session Progress", "v=0 far")
    assert scene.relay() == [("offer", "b", "a")]
    early = scene.response(scene.alice, 183)
    scene.within("PRACK", early, 2, "v=0 alice")
    assert scene.relay() == [("answer", "b", "a")]
    assert scene.request(scene.far).body == b"v=0 alice@relay"


def test_offers_within_the_dialog_of_either_side(scene: Scene) -> None:
    invite, ok = scene.up()
    for method in ("INVITE", "UPDATE"):
        scene.within(method, ok, 2 if method == "INVITE" else 3, "v=0 again")
        assert scene.relay() == [("offer", "a", "b")]
        request = scene.request(scene.far)
        assert request.body == b"v=0 again@relay"
        scene.reply(scene.far, request, "200 OK", "v=0 agreed")
        assert scene.relay() == [("answer", "a", "b")]
        assert scene.response(scene.alice, 200).body == b"v=0 agreed@relay"
    scene.back(scene.far, invite, "INVITE", 1, "v=0 hold")
    assert scene.relay() == [("offer", "b", "a")]
    scene.reply(scene.alice, scene.request(scene.alice), "200 OK", "v=0 held")
    assert scene.relay() == [("answer", "b", "a")]
    assert scene.response(scene.far, 200).body == b"v=0 held@relay"


def test_without_rtpengine_the_call_goes_on_as_it_came(scene: Scene) -> None:
    scene.invite("v=0 alice")
    scene.relay(works=False)
    invite = scene.request(scene.far)
    assert invite.body == b"v=0 alice"
    assert scene.ended == 1
    scene.reply(scene.far, invite, "200 OK", "v=0 far")
    assert scene.response(scene.alice, 200).body == b"v=0 far", (
        "an answer to what was not relayed must not be"
    )
    assert not scene.asks()
    assert scene.world.released == []


def test_an_offer_that_fails_later_takes_its_answer_along(scene: Scene) -> None:
    _, ok = scene.up()
    scene.within("INVITE", ok, 2, "v=0 again")
    scene.relay(works=False)
    request = scene.request(scene.far)
    assert request.body == b"v=0 again"
    scene.reply(scene.far, request, "200 OK", "v=0 agreed")
    assert scene.response(scene.alice, 200).body == b"v=0 agreed"
    scene.within("ACK", ok, 2, "")
    scene.far.got()
    # The next one is tried again.
    scene.within("UPDATE", ok, 3, "v=0 third")
    assert scene.relay() == [("offer", "a", "b")]


def cancel(scene: Scene) -> None:
    lines = [
        f"Via: SIP/2.0/UDP {scene.alice.address};branch=z9hG4bK-inv-c1-1",
        "From: <sip:alice@example.com>;tag=a",
        f"To: <{NUMBER}>",
        "Call-ID: c1",
        "CSeq: 1 CANCEL",
    ]
    scene.alice.send(f"CANCEL {NUMBER} SIP/2.0", *lines)


def test_cancelled_while_the_offer_is_held(scene: Scene) -> None:
    scene.invite("v=0 alice")
    cancel(scene)
    scene.relay()
    assert scene.alice.statuses() == [100, 200, 487]
    assert not scene.far.got()
    assert scene.world.released == [("alice@example.com", Outcome.FAIL)]
    assert scene.ended == 1
    [record] = scene.world.records
    assert record.cause == "cancelled"
    scene.world.idle()


def test_cancelled_while_the_answer_is_held(scene: Scene) -> None:
    """RFC 3261 §9.1: the 200 had been sent; it wins, as it would have without us."""
    scene.invite("v=0 alice")
    scene.relay()
    invite = scene.request(scene.far)
    scene.reply(scene.far, invite, "200 OK", "v=0 far")
    cancel(scene)
    scene.relay()
    assert 200 in scene.alice.statuses()
    assert scene.world.released == []


@pytest.mark.parametrize("held", ["offer", "answer"])
def test_cut_while_something_is_held(scene: Scene, held: str) -> None:
    scene.invite("v=0 alice")
    if held == "answer":
        scene.relay()
        invite = scene.request(scene.far)
        scene.reply(scene.far, invite, "200 OK", "v=0 far")
    scene.world.handle(Hangup("c1"))
    assert scene.alice.statuses()[-1] == 480
    scene.relay()
    if held == "answer":
        # RFC 3261 §13.2.2.4: it is acknowledged and ended, or it would ring on for ever.
        assert [message.method for message in scene.far.got() if isinstance(message, Request)] == [
            "ACK",
            "BYE",
        ]
    else:
        assert not scene.far.got()
    assert scene.world.released == [("alice@example.com", Outcome.FAIL)]
    assert scene.ended == 1
    assert not scene.world.engine.core.calls


def test_a_call_that_ends_while_its_reinvite_is_held(scene: Scene) -> None:
    _, ok = scene.up()
    scene.within("INVITE", ok, 2, "v=0 again")
    scene.within("BYE", ok, 3, "")
    assert scene.request(scene.far).method == "BYE", "the end waits for nothing"
    scene.relay()
    assert 481 in scene.alice.statuses()
    assert not scene.far.got()
    assert scene.ended == 1


@pytest.mark.parametrize("body", ["", "v=0 farewell"])
def test_one_of_two_dialogs_that_ends_while_its_reinvite_is_held(scene: Scene, body: str) -> None:
    """Two callees answered. The end of one waits for nothing, whatever it carries, and what was held for it is told."""
    scene.invite("v=0 alice")
    scene.relay()
    invite = scene.request(scene.far)
    for tag in ("b", "c"):
        scene.reply(scene.far, invite, "200 OK", f"v=0 {tag}", tag)
        scene.relay()
    [ok] = [one for one in scene.alice.got() if isinstance(one, Response) and one.to_tag == "b"]
    scene.within("INVITE", ok, 2, "v=0 again")
    scene.back(scene.far, invite, "BYE", 1, body)
    assert scene.request(scene.alice).method == "BYE"
    scene.far.got()
    scene.relay()
    assert 481 in scene.alice.statuses()
    assert not scene.far.got()
    assert scene.ended == 0, "the other one talks on"


def test_a_failed_call_ends_its_media(scene: Scene) -> None:
    scene.invite("v=0 alice")
    scene.relay()
    scene.reply(scene.far, scene.request(scene.far), "488 Not Acceptable Here", "v=0 what I could")
    # What a refusal describes is nobody's address.
    assert not scene.asks()
    assert scene.response(scene.alice, 488).body == b"v=0 what I could"
    assert scene.ended == 1


def test_an_early_dialog_that_ends_while_its_update_is_held(tmp_path: Path) -> None:
    """Found by fuzzing: the request was sent on into a dialog that was over."""
    scene = Scene(tmp_path, RELAY.replace("sip:192.0.2.20:5060", "sip:192.0.2.20:5060;transport=tcp"))
    scene.far = Phone(scene.world, "192.0.2.20", "provider", table=scene.world.tcp)
    scene.invite("v=0 alice")
    scene.relay()
    invite = scene.request(scene.far)
    scene.reply(scene.far, invite, "180 Ringing", "")
    scene.within("UPDATE", scene.response(scene.alice, 180), 2, "v=0 again")
    # The connection breaks, and the call goes to the next server.
    scene.world.handle(FlowFailed(scene.far.flow))
    scene.far.got()
    scene.relay()
    assert scene.alice.statuses() == [481]
    assert not scene.far.got()
    assert scene.world.released == []


def test_a_refusal_over_a_stream_waits_behind_an_early_answer(tmp_path: Path) -> None:
    """Found by fuzzing: over TCP the branch is over with its final response; that was lost, and the call rang on."""
    scene = Scene(tmp_path, RELAY.replace("sip:192.0.2.20:5060", "sip:192.0.2.20:5060;transport=tcp"))
    scene.far = Phone(scene.world, "192.0.2.20", "provider", table=scene.world.tcp)
    scene.invite("v=0 alice")
    scene.relay()
    invite = scene.request(scene.far)
    scene.reply(scene.far, invite, "183 Session Progress", "v=0 early")
    scene.reply(scene.far, invite, "486 Busy Here", "")
    scene.alice.got()
    scene.relay()
    assert scene.alice.statuses() == [183, 486]
    assert scene.world.released == [("alice@example.com", Outcome.FAIL)]


def test_other_bodies_pass(scene: Scene) -> None:
    _, ok = scene.up()
    scene.alice.send(
        f"INFO {ok.contact_uri()} SIP/2.0",
        f"Via: SIP/2.0/UDP {scene.alice.address};branch=z9hG4bKinfo",
        *[f"Route: {route}" for route in reversed(ok.all_values("record-route"))],
        f"From: {ok.value('from')}",
        f"To: {ok.value('to')}",
        "Call-ID: c1",
        "CSeq: 2 INFO",
        "Content-Type: application/dtmf-relay",
        body="Signal=5",
    )
    assert scene.request(scene.far).body == b"Signal=5"
    assert not scene.asks()
