"""Challenges of a provider answered in an account's place: a new branch, raised CSeq, one admission."""

from __future__ import annotations

import re
from hashlib import md5
from pathlib import Path

import pytest

from policies.verdicts import Admitted
from proxy.engine import calls
from proxy.engine.bindings import Binding, to_record
from proxy.engine.dialogtext import read_dialog
from proxy.engine.effects import CallAnswered, ReleaseLease
from proxy.engine.events import Hangup
from proxy.sip.message import Request, Response
from tests.engine.world import PLANS, WALL, Phone, World

CALLGATE = """
domains: [example.com]
listen: ["udp://192.0.2.1:5060", "tcp://192.0.2.1:5060"]
store: {url: "redis://127.0.0.1:1/0"}
plans: plans.yaml
subscribers: subscribers.yaml
trunks:
  pbx: {from: ["192.0.2.10/32"], identity: from, targets: ["sip:192.0.2.10"]}
  provider: {from: ["192.0.2.20/31"], targets: ["sip:192.0.2.20"]}
"""
SUBSCRIBERS = """
subscribers:
  alice:
    accounts:
      - {user: alice, password: x, mode: softphone, register: {trunk: provider, username: "49301", password: pw}}
    activations: [{plan: office, since: 2026-01-01, until: 2027-01-01}]
"""
CHALLENGE = 'Proxy-Authenticate: Digest realm="p", nonce="n%s", qop="auth"%s'


class Stand:
    """alice behind a trusted PBX, her provider behind its trunk."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder, CALLGATE, PLANS, SUBSCRIBERS)
        self.alice = Phone(self.world, "192.0.2.10", "alice")
        self.provider = Phone(self.world, "192.0.2.20", "provider")

    def client(self) -> Phone:
        """alice's own phone, registered at callgate from behind a NAT."""
        phone = Phone(self.world, "203.0.113.5", "alice", 40000)
        binding = Binding(
            uri="sip:alice@10.0.0.5:5062",
            contact="<sip:alice@10.0.0.5:5062>",
            q=1000,
            expires_at=WALL + 600,
            updated_at=WALL,
            transport="UDP",
            host="203.0.113.5",
            port=40000,
            conn=0,
            local_host="192.0.2.1",
            local_port=5060,
            instance="test",
        )
        self.world.auto = lambda leg: Admitted(leg.lease, [to_record(binding)])
        return phone

    def challenge(self, request: Request, nonce: int = 1, stale: bool = False) -> None:
        line = CHALLENGE % (nonce, ", stale=true" if stale else "")
        self.provider.answer(request, 407, "Proxy Authentication Required", "c", line)

    def asked(self, method: str, side: Phone | None = None) -> Request:
        requests = [request for request in (side or self.provider).requests() if request.method != "ACK"]
        assert [request.method for request in requests] == [method]
        return requests[0]

    def invited(self) -> Request:
        """The INVITE with credentials, as the provider got it."""
        self.alice.invite("sip:4930@example.com", "c1", cseq=10)
        self.challenge(self.asked("INVITE"))
        return self.asked("INVITE")

    def talking(self) -> tuple[Request, Response]:
        invite = self.invited()
        self.provider.answer(invite, 200, "OK", "t1")
        ok = self.alice.got()[-1]
        assert isinstance(ok, Response)
        assert ok.status == 200
        self.alice.within("ACK", ok, 10)
        [ack] = self.provider.requests()
        assert (ack.method, ack.cseq) == ("ACK", 11)
        # RFC 3261 §22.1: the ACK repeats the credentials of its INVITE.
        assert ack.values("proxy-authorization") == invite.values("proxy-authorization")
        return invite, ok


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    return Stand(tmp_path)


def proves(request: Request, method: str, nonce: str = "n1") -> bool:
    [value] = request.values("proxy-authorization")
    said = {k: a or b for k, a, b in re.findall(r'(\w+)=(?:"([^"]*)"|([^,\s]+))', value)}

    def hashed(text: str) -> str:
        return md5(text.encode()).hexdigest()

    first, second = hashed("49301:p:pw"), hashed(f"{method}:{said['uri']}")
    right = hashed(f"{first}:{nonce}:{said['nc']}:{said['cnonce']}:auth:{second}")
    return bool(said["uri"] == request.uri and said["response"] == right)


def test_an_invite_goes_again_with_credentials_and_is_one_call(stand: Stand) -> None:
    stand.alice.invite("sip:4930@example.com", "c1", cseq=10)
    first = stand.asked("INVITE")
    stand.challenge(first)
    acknowledged, again = stand.provider.requests()
    assert (acknowledged.method, acknowledged.cseq) == ("ACK", 10)
    assert (again.method, again.cseq, again.call_id) == ("INVITE", 11, "c1")
    assert again.via.branch != first.via.branch
    assert proves(again, "INVITE")
    # Nobody upstream heard of it, and no lease was touched.
    assert stand.alice.statuses() == [100]
    assert stand.world.of(ReleaseLease) == []
    assert len(stand.world.engine.core.calls) == 1
    stand.provider.answer(again, 180, "Ringing", "t1")
    stand.provider.answer(again, 200, "OK", "t1")
    ringing, ok = stand.alice.got()
    assert (ringing.cseq, ok.cseq) == (10, 10)
    assert stand.world.engine.core.counters.challenges_answered == 1


def test_numbers_go_on_both_ways_within_the_dialog(stand: Stand) -> None:
    invite, ok = stand.talking()
    # The caller's own numbers: one higher on the far side.
    stand.alice.within("INFO", ok, 11)
    info = stand.asked("INFO")
    assert info.cseq == 12
    stand.provider.answer(info, 200, "OK", "t1")
    [answer] = stand.alice.got()
    assert (answer.cseq, answer.value("cseq")) == (11, "11 INFO")
    # The callee's are its own.
    stand.provider.back("INFO", invite, "t1", 1)
    back = stand.asked("INFO", stand.alice)
    assert back.cseq == 1
    stand.alice.answer(back, 200, "OK")
    [answer] = stand.provider.got()
    assert answer.cseq == 1


def test_a_reinvite_and_a_bye_are_answered_too_and_each_raises_the_numbers(stand: Stand) -> None:
    _, ok = stand.talking()
    stand.alice.within("INVITE", ok, 11, "Contact: <sip:alice@192.0.2.10>")
    first = stand.asked("INVITE")
    assert first.cseq == 12
    stand.challenge(first, nonce=2)
    again = stand.asked("INVITE")
    assert again.cseq == 13
    assert proves(again, "INVITE", "n2")
    stand.provider.answer(again, 200, "OK", "t1")
    answer = stand.alice.got()[-1]
    assert (answer.cseq, answer.value("cseq")) == (11, "11 INVITE")
    stand.alice.within("ACK", ok, 11)
    [ack] = stand.provider.requests()
    assert ack.cseq == 13
    assert ack.values("proxy-authorization") == again.values("proxy-authorization")
    stand.alice.within("BYE", ok, 12)
    bye = stand.asked("BYE")
    assert bye.cseq == 14
    stand.challenge(bye, nonce=3)
    again = stand.asked("BYE")
    assert again.cseq == 15
    assert proves(again, "BYE", "n3")
    stand.provider.answer(again, 200, "OK", "t1")
    [answer] = stand.alice.got()
    assert (answer.cseq, answer.value("cseq")) == (12, "12 BYE")
    assert [outcome.value for _, outcome in stand.world.released] == ["success"]
    stand.world.idle()


def test_the_bye_of_a_cut_is_numbered_above_all_and_answers_the_challenge(stand: Stand) -> None:
    stand.talking()
    stand.world.handle(Hangup("c1"))
    bye = stand.asked("BYE")
    assert bye.cseq == 12
    stand.challenge(bye, nonce=4)
    again = stand.asked("BYE")
    assert again.cseq == 13
    assert proves(again, "BYE", "n4")
    stand.provider.answer(again, 200, "OK", "t1")
    stand.alice.answer(stand.asked("BYE", stand.alice), 200, "OK")
    stand.world.idle()


def test_a_prack_names_the_invite_as_the_far_side_knows_it(stand: Stand) -> None:
    invite = stand.invited()
    stand.provider.answer(invite, 183, "Session Progress", "t1", "RSeq: 7", "Require: 100rel")
    progress = stand.alice.got()[-1]
    assert isinstance(progress, Response)
    stand.alice.within("PRACK", progress, 11, "RAck: 7 10 INVITE")
    prack = stand.asked("PRACK")
    assert (prack.cseq, prack.value("rack")) == (12, "7 11 INVITE")


def test_a_cancel_goes_the_way_of_the_last_invite(stand: Stand) -> None:
    invite = stand.invited()
    stand.provider.answer(invite, 180, "Ringing", "t1")
    stand.alice.cancel("sip:4930@example.com", cseq=10)
    cancel = stand.asked("CANCEL")
    assert (cancel.cseq, cancel.via.branch) == (11, invite.via.branch)
    stand.provider.answer(cancel, 200, "OK")
    stand.provider.answer(invite, 487, "Request Terminated", "t1")
    statuses = stand.alice.got()
    assert [(one.status, one.cseq) for one in statuses if isinstance(one, Response)][-1] == (487, 10)
    assert [outcome.value for _, outcome in stand.world.released] == ["fail"]


def test_a_wrong_password_is_told_once_as_what_it_is(stand: Stand) -> None:
    again = stand.invited()
    stand.challenge(again, nonce=2)
    assert [one.method for one in stand.provider.requests()] == ["ACK"]
    answer = stand.alice.got()[-1]
    assert isinstance(answer, Response)
    assert (answer.status, answer.cseq) == (407, 10)
    # SPEC §3: a challenge is neither success nor failure.
    assert [outcome.value for _, outcome in stand.world.released] == ["void"]
    stand.world.idle()


def test_a_stale_nonce_is_answered_again(stand: Stand) -> None:
    again = stand.invited()
    stand.challenge(again, nonce=2, stale=True)
    third = stand.asked("INVITE")
    assert third.cseq == 12
    assert proves(third, "INVITE", "n2")
    stand.provider.answer(third, 486, "Busy Here", "t1")
    answer = stand.alice.got()[-1]
    assert isinstance(answer, Response)
    assert (answer.status, answer.cseq) == (486, 10)


def test_a_call_from_the_provider_reaches_the_account_and_its_bye_is_answered_for(stand: Stand) -> None:
    """The other direction: the account's client is the callee, and the provider asks who its requests come from."""
    client = stand.client()
    stand.provider.invite("sip:49301@192.0.2.1:5060", "in")
    call = next(iter(stand.world.engine.calls()))
    assert [(leg.account, leg.direction) for leg in call.legs] == [("alice@example.com", "in")]
    invite = stand.asked("INVITE", client)
    assert invite.uri == "sip:alice@10.0.0.5:5062"
    client.answer(invite, 200, "OK", "t1")
    ok = stand.provider.got()[-1]
    assert isinstance(ok, Response)
    stand.provider.within("ACK", ok, 1)
    assert [request.method for request in client.requests()] == ["ACK"]
    client.back("BYE", invite, "t1", 5)
    bye = stand.asked("BYE")
    assert bye.cseq == 5
    stand.challenge(bye, nonce=6)
    again = stand.asked("BYE")
    assert again.cseq == 6
    assert proves(again, "BYE", "n6")
    stand.provider.answer(again, 200, "OK", "x")
    [answer] = client.got()
    assert isinstance(answer, Response)
    assert (answer.status, answer.cseq) == (200, 5)
    stand.world.idle()


def test_a_number_that_was_dialled_means_the_only_registration_there(stand: Stand) -> None:
    client = stand.client()
    stand.provider.invite("sip:+4930123@192.0.2.1:5060", "in")
    assert stand.asked("INVITE", client).uri == "sip:alice@10.0.0.5:5062"
    call = next(iter(stand.world.engine.calls()))
    assert [(leg.account, leg.direction) for leg in call.legs] == [("alice@example.com", "in")]


def test_what_an_account_calls_goes_to_its_own_provider(stand: Stand) -> None:
    stand.alice.invite("sip:reception@example.com", "c1")
    assert stand.asked("INVITE").uri == "sip:reception@192.0.2.20"


def test_another_instance_that_takes_the_call_up_goes_on_with_its_numbers(
    stand: Stand, tmp_path_factory: pytest.TempPathFactory
) -> None:
    _, ok = stand.talking()
    text = next(effect.dialog for effect in stand.world.of(CallAnswered) if effect.dialog)
    other = Stand(tmp_path_factory.mktemp("other"))
    call = read_dialog(other.world.engine.core, text, 0.0)
    assert call is not None
    calls.remember(other.world.engine.core, call)
    other.alice.within("BYE", ok, 11)
    bye = other.asked("BYE")
    assert bye.cseq == 12
    other.challenge(bye, nonce=8)
    again = other.asked("BYE")
    assert again.cseq == 13
    assert proves(again, "BYE", "n8")
