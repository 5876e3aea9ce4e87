"""REGISTERs that another registrar answers: Path, the place among sip_accounts, and the calls that come back by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.reasons import Reason
from policies.verdicts import (
    PlaceHeld,
    PlaceVerdict,
    Registered,
    RegisterRefused,
    RegisterVerdict,
    Unavailable,
)
from proxy.engine.bindings import read_record
from proxy.engine.effects import AskBindings, AskPlace, AskRegister, ReturnPlace
from proxy.engine.events import BindingsFound, FlowFailed, PlaceDecided, RegisterDecided
from proxy.sip.message import Request, Response
from tests.engine.world import PLANS, Phone, World

CALLGATE = """
domains: [example.com, pbx.example.net]
listen: ["udp://192.0.2.1:5060", "tcp://192.0.2.1:5060"]
store: {url: "redis://127.0.0.1:1/0"}
plans: plans.yaml
subscribers: subscribers.yaml
trunks:
  pbx: {from: ["192.0.2.20/32"], targets: ["sip:192.0.2.20"]}
"""
SUBSCRIBERS = """
subscribers:
  alice:
    accounts:
      - {user: alice, domain: pbx.example.net, mode: softphone, registrar: {forward: pbx}}
      - {user: bob, domain: pbx.example.net, mode: softphone, registrar: {forward: pbx}}
      - {user: off, domain: pbx.example.net, mode: softphone, registrar: {forward: pbx}, disabled: yes}
    activations: [{plan: office, since: 2026-01-01, until: 2027-01-01}]
  nobody:
    accounts: [{user: nobody, domain: pbx.example.net, mode: softphone, registrar: {forward: pbx}}]
"""
AOR = "alice@pbx.example.net"
HELD = PlaceHeld(1000, 0)


class Stand:
    """A phone, callgate, and the registrar behind its trunk."""

    def __init__(self, folder: Path, transport: str = "UDP") -> None:
        self.world = World(folder, CALLGATE, PLANS, SUBSCRIBERS)
        table = self.world.udp if transport == "UDP" else self.world.tcp
        self.phone = Phone(self.world, "203.0.113.5", "alice", 40000, table)
        self.pbx = Phone(self.world, "192.0.2.20", "pbx")
        self.cseq = 0

    def register(
        self, *extra: str, user: str = "alice", contact: str = "<sip:alice@10.0.0.5:5062>;expires=600"
    ) -> None:
        self.cseq += 1
        address = f"<sip:{user}@pbx.example.net>"
        contacts = [f"Contact: {contact}"] if contact else []
        self.phone.request(
            "REGISTER",
            "sip:pbx.example.net",
            "reg",
            self.cseq,
            f"{address};tag=r",
            address,
            *contacts,
            *extra,
        )

    def place(self, verdict: PlaceVerdict = HELD) -> None:
        ask = self.world.of(AskPlace)[-1]
        self.world.handle(PlaceDecided(ask.user, verdict))

    def passed(self) -> Request:
        """The REGISTER as the registrar got it."""
        [request] = self.pbx.requests()
        assert request.method == "REGISTER"
        return request

    def stored(self, verdict: RegisterVerdict | None = None) -> AskRegister:
        ask = self.world.of(AskRegister)[-1]
        records = [record for _, expires, record in ask.ask.contacts if expires]
        self.world.handle(RegisterDecided(ask.ask, verdict or Registered(records)))
        return ask

    def registered(self) -> Request:
        self.register()
        self.place()
        request = self.passed()
        self.pbx.answer(request, 200, "OK", "t", "Contact: <sip:alice@10.0.0.5:5062>;expires=300")
        self.stored()
        assert self.phone.statuses() == [200]
        return request


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    return Stand(tmp_path)


def test_it_goes_on_with_path_and_its_200_is_counted_before_the_client_hears_it(stand: Stand) -> None:
    stand.register("Authorization: Digest mine")
    [ask] = stand.world.of(AskPlace)
    assert (ask.account, ask.hold) == (AOR, 42.0)
    assert stand.pbx.got() == []
    stand.place()
    request = stand.passed()
    assert request.uri == "sip:pbx.example.net"
    [path] = request.values("path")
    assert path.startswith("<sip:192.0.2.1:5060;lr;f=")
    assert request.values("supported") == ["path"]
    # What the client proves is for its registrar.
    assert request.values("authorization") == ["Digest mine"]
    stand.pbx.answer(
        request,
        200,
        "OK",
        "t",
        "Contact: <sip:alice@10.0.0.5:5062>;expires=300",
        f"Path: {path}",
        "Service-Route: <sip:192.0.2.20;lr>",
    )
    assert stand.phone.got() == []
    ask_store = stand.stored()
    [(_, expires, record)] = ask_store.ask.contacts
    binding = read_record(record)
    assert binding is not None
    # The interval is the one that the registrar granted, the flow the one the client sent from.
    assert (expires, binding.host, binding.port) == (300, "203.0.113.5", 40000)
    assert (ask_store.ask.nonce, ask_store.ask.account) == ("", AOR)
    [answer] = stand.phone.got()
    assert isinstance(answer, Response)
    assert answer.status == 200
    # RFC 3608 §5, RFC 3327 §5.1: both are the client's.
    assert answer.values("service-route") == ["<sip:192.0.2.20;lr>"]
    assert answer.values("path") == [path]
    assert stand.world.of(ReturnPlace) == []


@pytest.mark.parametrize("status", [401, 403, 423, 500])
def test_any_other_answer_gives_the_place_back_and_goes_to_the_client(stand: Stand, status: int) -> None:
    stand.register()
    stand.place()
    stand.pbx.answer(stand.passed(), status, "No", "t", 'WWW-Authenticate: Digest realm="pbx", nonce="1"')
    assert stand.phone.statuses() == [status]
    [back] = stand.world.of(ReturnPlace)
    assert back.place is HELD
    assert stand.world.of(AskRegister) == []


def test_silence_gives_the_place_back_and_is_silence(stand: Stand) -> None:
    stand.register()
    stand.place()
    stand.world.advance(60)
    assert stand.phone.got() == []
    assert len(stand.world.of(ReturnPlace)) == 1


def test_without_a_place_it_goes_nowhere(stand: Stand) -> None:
    stand.register()
    stand.place(RegisterRefused(Reason.SIP_ACCOUNTS, "1"))
    assert stand.phone.statuses() == [402]
    assert stand.pbx.got() == []


def test_without_a_store_it_goes_nowhere(stand: Stand) -> None:
    stand.register()
    stand.place(Unavailable())
    assert stand.phone.statuses() == [503]
    assert stand.pbx.got() == []


def test_a_store_that_leaves_after_the_200_is_told_to_the_client(stand: Stand) -> None:
    stand.register()
    stand.place()
    stand.pbx.answer(stand.passed(), 200, "OK")
    stand.stored(Unavailable())
    assert stand.phone.statuses() == [503]


@pytest.mark.parametrize(("user", "status"), [("off", 403), ("nobody", 402)])
def test_who_may_not_register_never_gets_there(stand: Stand, user: str, status: int) -> None:
    stand.register(user=user)
    assert stand.phone.statuses() == [status]
    assert stand.pbx.got() == []


def test_looking_and_leaving_need_no_place(stand: Stand) -> None:
    stand.register(contact="")
    stand.pbx.answer(stand.passed(), 200, "OK")
    assert stand.phone.statuses() == [200]
    stand.register("Expires: 0", contact="*")
    stand.pbx.answer(stand.passed(), 200, "OK")
    assert stand.stored().ask.remove_all
    assert stand.phone.statuses() == [200]
    stand.register(contact="<sip:alice@10.0.0.5:5062>;expires=0")
    stand.pbx.answer(stand.passed(), 200, "OK")
    [(_, expires, _)] = stand.stored().ask.contacts
    assert expires == 0
    assert stand.world.of(AskPlace) == []


def test_the_first_hop_of_a_client_with_flows_says_ob(stand: Stand) -> None:
    stand.register(contact='<sip:alice@10.0.0.5>;reg-id=1;+sip.instance="<urn:x>"')
    stand.place()
    assert stand.passed().values("path")[0].endswith(";ob>")


def test_a_call_from_there_comes_by_the_path_over_the_clients_flow(stand: Stand) -> None:
    [path] = stand.registered().values("path")
    stand.pbx.invite("sip:alice@10.0.0.5:5062", "in", f"Route: {path}")
    assert stand.pbx.statuses() == [100]
    [invite] = stand.phone.requests()
    assert (invite.method, invite.uri) == ("INVITE", "sip:alice@10.0.0.5:5062")
    assert invite.values("route") == []
    call = next(iter(stand.world.engine.calls()))
    assert [(leg.account, leg.direction, leg.aor) for leg in call.legs] == [(AOR, "in", AOR)]
    stand.phone.answer(invite, 200, "OK")
    assert stand.pbx.statuses() == [200]


def test_a_path_that_was_tampered_with_reaches_nobody(stand: Stand) -> None:
    [path] = stand.registered().values("path")
    at = path.index("f=") + 4
    broken = path[:at] + ("A" if path[at] != "A" else "B") + path[at + 1 :]
    stand.pbx.invite("sip:alice@10.0.0.5:5062", "in", f"Route: {broken}")
    # RFC 5626 §5.3.1.
    assert stand.pbx.statuses() == [403]
    assert stand.phone.got() == []


def test_a_broken_connection_is_a_flow_that_failed(tmp_path: Path) -> None:
    stand = Stand(tmp_path, "TCP")
    [path] = stand.registered().values("path")
    stand.pbx.invite("sip:alice@10.0.0.5:5062", "in", f"Route: {path}")
    assert len(stand.phone.requests()) == 1
    stand.world.handle(FlowFailed(stand.phone.flow))
    # RFC 5626 §5.3.1.
    assert stand.pbx.statuses() == [100, 430]


def test_what_the_account_calls_goes_to_its_registrar_with_its_own_credentials(stand: Stand) -> None:
    stand.registered()
    stand.phone.request(
        "INVITE",
        "sip:bob@pbx.example.net",
        "out",
        1,
        "<sip:alice@pbx.example.net>;tag=a",
        "<sip:bob@pbx.example.net>",
        "Contact: <sip:alice@10.0.0.5:5062>",
        "Route: <sip:192.0.2.1:5060;lr>, <sip:192.0.2.20;lr;home>",
        'Proxy-Authorization: Digest username="alice", realm="pbx.example.net", nonce="n", uri="u", response="r"',
    )
    assert stand.phone.statuses() == [100]
    [invite] = stand.pbx.requests()
    # Though bob is an account of ours: in the registrar's domain the registrar says who is who.
    assert invite.uri == "sip:bob@pbx.example.net"
    assert len(invite.values("proxy-authorization")) == 1
    assert invite.values("route") == ["<sip:192.0.2.20;lr;home>"]
    call = next(iter(stand.world.engine.calls()))
    assert [(leg.account, leg.direction) for leg in call.legs] == [(AOR, "out")]


def test_a_challenge_of_the_registrar_is_the_clients_and_counts_for_nothing(stand: Stand) -> None:
    stand.registered()
    stand.phone.request(
        "INVITE",
        "sip:77@pbx.example.net",
        "out",
        1,
        "<sip:alice@pbx.example.net>;tag=a",
        "<sip:77@pbx.example.net>",
        "Contact: <sip:alice@10.0.0.5:5062>",
    )
    [invite] = stand.pbx.requests()
    stand.pbx.answer(
        invite, 407, "Proxy Authentication Required", "t", 'Proxy-Authenticate: Digest realm="p", nonce="1"'
    )
    assert stand.phone.statuses() == [100, 407]
    assert [outcome.value for _, outcome in stand.world.released] == ["void"]


def test_who_did_not_register_from_there_is_nobody(stand: Stand) -> None:
    stand.phone.request(
        "INVITE",
        "sip:77@pbx.example.net",
        "out",
        1,
        "<sip:alice@pbx.example.net>;tag=a",
        "<sip:77@pbx.example.net>",
        "Contact: <sip:alice@10.0.0.5:5062>",
    )
    # Another instance may have passed its REGISTER on: the store knows.
    [ask] = stand.world.of(AskBindings)
    stand.world.handle(BindingsFound([], ask.user))
    assert stand.phone.statuses() == [403]


def test_a_proxy_that_calls_back_through_us_makes_two_calls_that_end_each_by_its_own_bye(
    stand: Stand,
) -> None:
    """alice calls bob; the registrar's proxy sends the call back by bob's Path and stays out of the dialog."""
    stand.registered()
    bob = Phone(stand.world, "203.0.113.6", "bob", 40001)
    alice, stand.phone = stand.phone, bob
    stand.register(user="bob", contact="<sip:bob@10.0.0.6:5062>;expires=600")
    stand.place()
    request = stand.passed()
    stand.pbx.answer(request, 200, "OK")
    stand.stored()
    assert bob.statuses() == [200]
    alice.request(
        "INVITE",
        "sip:bob@pbx.example.net",
        "spiral",
        1,
        "<sip:alice@pbx.example.net>;tag=a",
        "<sip:bob@pbx.example.net>",
        "Contact: <sip:alice@10.0.0.5:5062>",
    )
    [there] = stand.pbx.requests()
    vias = [line for line, key in zip(there.lines, there.keys, strict=True) if key == "via"]
    routes = [line for line, key in zip(there.lines, there.keys, strict=True) if key == "record-route"]
    stand.pbx.send(
        "INVITE sip:bob@10.0.0.6:5062 SIP/2.0",
        "Via: SIP/2.0/UDP 192.0.2.20:5060;branch=z9hG4bKpbx",
        *vias,
        *routes,
        f"Route: {request.values('path')[0]}",
        "Max-Forwards: 60",
        f"From: {there.value('from')}",
        f"To: {there.value('to')}",
        "Call-ID: spiral",
        "CSeq: 1 INVITE",
        "Contact: <sip:alice@10.0.0.5:5062>",
    )
    [invite] = bob.requests()
    assert len(stand.world.engine.core.calls) == 2
    bob.answer(invite, 200, "OK")
    ok = stand.pbx.got()[-1]
    assert isinstance(ok, Response)
    # The proxy passes it on: its own Via off.
    stand.pbx.send(
        "SIP/2.0 200 OK",
        *[f"Via: {value}" for value in ok.values("via")[1:]],
        *[f"Record-Route: {value}" for value in ok.values("record-route")],
        f"From: {ok.value('from')}",
        f"To: {ok.value('to')}",
        "Call-ID: spiral",
        "CSeq: 1 INVITE",
        f"Contact: {ok.value('contact')}",
    )
    answer = alice.got()[-1]
    assert isinstance(answer, Response)
    assert answer.status == 200
    assert len(answer.all_values("record-route")) == 2
    alice.within("BYE", answer, 2)
    # Round by ourselves: the next Route value names us, and the second call.
    [first] = stand.world.take(stand.world.udp.get("192.0.2.1", 5060))
    assert isinstance(first, Request)
    assert len(stand.world.engine.core.calls) == 1
    stand.world.receive(_bytes(first), stand.world.udp.get("192.0.2.1", 5060))
    assert [request.method for request in bob.requests()] == ["BYE"]
    assert stand.world.engine.core.calls == {}


def _bytes(request: Request) -> bytes:
    return "\r\n".join([f"{request.method} {request.uri} SIP/2.0", *request.lines, "", ""]).encode()
