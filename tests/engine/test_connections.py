"""Accounts whose connection broke, and neighbours that are on one: who is reached how, and who is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.lease import Outcome
from policies.verdicts import Admitted
from proxy.engine.bindings import Binding, to_record
from proxy.engine.core import LocalText
from proxy.engine.effects import AskBindings, AskName
from proxy.engine.events import BindingsFound, FlowFailed
from proxy.engine.targets import hop_of
from proxy.sip.flow import Flow, Local
from proxy.sip.headers import parse_name_addr
from proxy.sip.message import Request, Response
from tests.certificates import Authority
from tests.engine.world import CALLGATE, Phone, World, answered, set_up

BOB = "sip:bob@example.com"
BROWSER = "sip:k3j2@8v1u2.invalid;transport=ws"


def record(flow: Flow, uri: str = BROWSER, instance: str = "test") -> str:
    return to_record(
        Binding(
            uri=uri,
            contact=f"<{uri}>",
            q=1000,
            expires_at=2_000_000_000,
            updated_at=1_785_000_000,
            transport=flow.transport,
            host=flow.host,
            port=flow.port,
            conn=flow.conn,
            local_host=flow.local.host,
            local_port=flow.local.port,
            instance=instance,
        )
    )


class Connected(Phone):
    """bob on a stream connection of its own."""

    def __init__(
        self, world: World, transport: str = "WSS", host: str = "203.0.113.5", number: int = 7
    ) -> None:
        table = {"TCP": world.tcp, "TLS": world.tls, "WSS": world.wss}[transport]
        super().__init__(world, host, "bob", 40001, table)
        self.flow = table.get(host, 40001, number)
        self.flow.open = True

    def breaks(self) -> None:
        """As the network tells it."""
        self.flow.open = False
        self.world.handle(FlowFailed(self.flow))


def registered(world: World, *records: str) -> Phone:
    world.auto = lambda leg: Admitted(leg.lease, list(records) if leg.aor else None)
    return Phone(world, "192.0.2.10", "alice")


def talking(world: World) -> tuple[Phone, Connected, Request, Response]:
    """alice's call to bob's browser, answered and acknowledged."""
    bob = Connected(world)
    caller = registered(world, record(bob.flow))
    caller.invite(BOB)
    [invite] = bob.requests()
    bob.answer(invite, 200, "OK", "t1", f"Contact: <{BROWSER}>")
    [_, ok] = caller.got()
    assert isinstance(ok, Response)
    caller.within("ACK", ok, 1)
    assert [request.method for request in bob.requests()] == ["ACK"]
    return caller, bob, invite, ok


def test_a_browser_is_called_over_its_connection_and_routes_say_ws(world: World) -> None:
    caller, bob, invite, ok = talking(world)
    assert invite.uri == BROWSER
    assert invite.via.value.startswith("SIP/2.0/WSS 192.0.2.1:443;")
    # RFC 7118 §5.2: "ws" in a URI, with TLS below it or not.
    assert invite.all_values("record-route")[0].startswith("<sip:192.0.2.1:443;transport=ws;lr;c=")
    caller.within("INFO", ok, 2)
    assert [request.method for request in bob.requests()] == ["INFO"]


@pytest.mark.parametrize("transport", ["TCP", "TLS", "WSS"])
def test_who_is_known_to_be_gone_is_not_registered_and_nothing_is_charged(
    world: World, transport: str
) -> None:
    bob = Connected(world, transport)
    caller = registered(world, record(bob.flow))
    bob.breaks()
    caller.invite(BOB)
    assert caller.statuses() == [100, 480]
    assert {outcome for _, outcome in world.released} == {Outcome.VOID}
    assert bob.got() == []
    world.idle()


def test_of_two_contacts_the_one_that_is_there_rings(world: World) -> None:
    gone, there = Connected(world, number=7), Connected(world, number=8)
    caller = registered(world, record(gone.flow), record(there.flow, BROWSER.replace("k3", "k4")))
    gone.breaks()
    caller.invite(BOB)
    assert gone.got() == []
    assert [request.method for request in there.requests()] == ["INVITE"]


def test_who_turns_out_to_be_gone_is_not_registered_and_nothing_is_charged(world: World) -> None:
    bob = Connected(world)
    caller = registered(world, record(bob.flow))
    caller.invite(BOB)
    assert [request.method for request in bob.requests()] == ["INVITE"]
    bob.breaks()
    assert caller.statuses() == [100, 480]
    assert {outcome for _, outcome in world.released} == {Outcome.VOID}
    [told] = world.records
    assert (told.decision, told.outcome, told.reason, told.status) == (
        "admitted",
        "rejected",
        "not_registered",
        480,
    )
    world.idle()


def test_one_busy_and_one_gone_is_busy(world: World) -> None:
    gone, busy = Connected(world, number=7), Connected(world, number=8)
    caller = registered(world, record(gone.flow), record(busy.flow, BROWSER.replace("k3", "k4")))
    caller.invite(BOB)
    [invite] = busy.requests()
    busy.answer(invite, 486, "Busy Here")
    gone.breaks()
    assert caller.statuses() == [100, 486]
    assert {outcome for _, outcome in world.released} == {Outcome.FAIL}


def test_a_message_to_who_turns_out_to_be_gone(world: World) -> None:
    bob = Connected(world)
    caller = registered(world)
    caller.request("MESSAGE", BOB, "m1", 1, "<sip:alice@example.com>;tag=a", f"<{BOB}>")
    [ask] = world.of(AskBindings)
    world.handle(BindingsFound([record(bob.flow)], ask.user))
    assert [request.method for request in bob.requests()] == ["MESSAGE"]
    bob.breaks()
    assert caller.statuses() == [480]


def test_a_phone_on_tcp_without_nat_is_connected_to_anew(world: World) -> None:
    bob = Connected(world, "TCP")
    contact = "sip:bob@203.0.113.5:5070;transport=tcp"
    caller = registered(world, record(bob.flow, contact))
    bob.breaks()
    caller.invite(BOB)
    [invite] = Phone(world, "203.0.113.5", "bob", 5070, world.tcp).requests()
    assert invite.uri == contact


@pytest.mark.parametrize(
    "contact",
    [
        "sip:bob@10.0.0.5:5060;transport=tcp",
        "sip:bob@203.0.113.5:5070",
        "sip:bob@phone.example;transport=tcp",
    ],
)
def test_one_behind_nat_or_with_another_contact_is_not(world: World, contact: str) -> None:
    bob = Connected(world, "TCP")
    caller = registered(world, record(bob.flow, contact))
    bob.breaks()
    caller.invite(BOB)
    assert caller.statuses() == [100, 480]


def test_a_connection_of_another_instance_is_not_ours_to_use(world: World) -> None:
    bob = Connected(world)
    caller = registered(world, record(bob.flow, instance="another"))
    caller.invite(BOB)
    assert caller.statuses() == [100, 480]


def test_who_comes_back_by_another_connection_is_reached_there(world: World) -> None:
    caller, bob, invite, ok = talking(world)
    bob.breaks()
    again = Connected(world, number=9)
    again.back("INFO", invite, "t1", 1)
    assert [request.method for request in caller.requests()] == ["INFO"]
    caller.within("INFO", ok, 2)
    assert [request.method for request in again.requests()] == ["INFO"]


def test_who_registers_anew_by_another_connection_is_cut_there(world: World) -> None:
    """A browser whose network changed: it has said nothing in the call since."""
    caller, bob, _, ok = talking(world)
    bob.breaks()
    again = Connected(world, number=9)
    world.engine.core.sources.put(again.flow, "bob@example.com", world.now + 7200, world.now)
    caller.within("INFO", ok, 2)
    [info] = again.requests()
    again.answer(info, 200, "OK")
    assert caller.statuses() == [200]
    world.advance(3601)
    assert [request.method for request in again.requests()][:1] == ["BYE"]
    assert bob.got() == []


@pytest.mark.rfc3261("18.2.2-1")
def test_a_response_to_who_is_gone_goes_by_a_new_connection_to_its_port(world: World) -> None:
    """RFC 3261 §18.2.2."""
    caller = Phone(world, "192.0.2.10", "alice", 40001, world.tcp)
    caller.flow = world.tcp.get("192.0.2.10", 40001, 3)
    caller.flow.open = True
    caller.address = "192.0.2.10:5099"
    callee = Phone(world, "192.0.2.20", "provider")
    caller.invite("sip:4930@example.com")
    assert caller.statuses() == [100]
    [invite] = callee.requests()
    caller.flow.open = False
    world.handle(FlowFailed(caller.flow))
    callee.answer(invite, 486, "Busy Here")
    assert caller.got() == []
    again = Phone(world, "192.0.2.10", "alice", 5099, world.tcp)
    assert again.statuses() == [486]


@pytest.mark.rfc3261("18.3-4")
def test_what_goes_over_a_stream_says_its_length(world: World) -> None:
    """RFC 3261 §18.3; a datagram may leave it out."""
    bob = Connected(world, "TCP")
    caller = registered(world, record(bob.flow, "sip:bob@203.0.113.5:5070;transport=tcp"))
    lines = [
        f"INVITE {BOB} SIP/2.0",
        "Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK1",
        "Max-Forwards: 70",
        "From: <sip:alice@example.com>;tag=a",
        f"To: <{BOB}>",
        "Call-ID: c1",
        "CSeq: 1 INVITE",
        "Contact: <sip:alice@192.0.2.10>",
        "Content-Type: text/plain",
    ]
    world.receive("\r\n".join([*lines, "", "hello"]).encode(), caller.flow)
    [invite] = bob.requests()
    assert (invite.value("content-length"), invite.body) == ("5", b"hello")


def test_a_name_that_cannot_exist_is_not_looked_up(world: World) -> None:
    caller, callee, invite, ok = set_up(world)
    caller.address = "8v1u2.invalid"
    caller.within("INFO", ok, 2, f"Contact: <{BROWSER}>")
    callee.requests()
    before = len(world.of(AskName))
    callee.request(
        "INFO",
        BROWSER,
        invite.call_id,
        1,
        f"{invite.value('to')};tag=t1",
        invite.value("from") or "",
        *[f"Route: {route}" for route in invite.all_values("record-route")],
    )
    assert len(world.of(AskName)) == before


def test_another_connection_takes_nothing_over_while_the_first_stands(world: World) -> None:
    caller, bob, invite, ok = talking(world)
    other = Connected(world, number=9)
    other.back("INFO", invite, "t1", 1)
    caller.requests()
    caller.within("INFO", ok, 2)
    assert [request.method for request in bob.requests()] == ["INFO"]


def listening_tls(folder: Path) -> str:
    """The usual configuration, with a TLS listener."""
    certificate = Authority(folder).issue("a", "sip.example.com")
    return CALLGATE.replace("listen: [", 'listen: ["tls://192.0.2.1", ') + (
        f"tls: {{certificates: [{{certificate: {certificate.certificate}, key: {certificate.key}}}]}}\n"
    )


def test_within_a_dialog_over_tls_the_connection_is_used_again(tmp_path: Path) -> None:
    """RFC 5923 §8.1. The provider's Contact is an address, and its certificate has a name."""
    targets = '"sip:192.0.2.20:5060", "sip:192.0.2.21:5060"'
    world = World(tmp_path, listening_tls(tmp_path).replace(targets, '"sip:192.0.2.20;transport=tls"'))
    caller = Phone(world, "192.0.2.10", "alice")
    provider = Phone(world, "192.0.2.20", "provider", 5061, world.tls)
    provider.address = "192.0.2.20:5099;transport=tls"
    caller.invite("sip:4930@example.com")
    [invite] = provider.requests()
    assert invite.via.value.startswith("SIP/2.0/TLS ")
    provider.answer(invite, 200, "OK")
    [_, ok] = caller.got()
    assert not isinstance(ok, Request)
    caller.within("ACK", ok, 1)
    caller.within("BYE", ok, 2)
    assert [request.method for request in provider.requests()] == ["ACK", "BYE"]


def test_a_dialog_over_udp_goes_on_over_udp(world: World) -> None:
    caller, callee, _, ok = set_up(world)
    caller.within("BYE", ok, 2)
    assert [request.method for request in callee.requests()] == ["BYE"]


@pytest.mark.parametrize("host", ["192.0.2.50", "edge.example.net"])
def test_a_sips_route_is_taken_over_tls_or_not_at_all(world: World, host: str) -> None:
    caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
    callee.beyond = f"<sips:{host};lr>"
    _, ok = answered(caller, callee)
    caller.within("INFO", ok, 2)
    if host == "192.0.2.50":
        [info] = Phone(world, host, "edge", 5061, world.tls).requests()
        assert info.via.value.startswith("SIP/2.0/TLS ")
    else:
        [ask] = world.of(AskName)
        assert (ask.question.transport, ask.question.secure) == ("TLS", True)
        world.found(host)
        world.advance(0.1)
        assert caller.statuses() == [500]
    assert not callee.got()


@pytest.mark.rfc3261("18.2.1-1")
@pytest.mark.parametrize("transport", ["udp", "tcp", "tls", "wss"])
def test_what_we_hand_out_leads_to_a_listener_by_rfc_3263(tmp_path: Path, transport: str) -> None:
    """With port and transport in each URI, DNS has no say in them: whose address a name has is all it is asked."""
    world = World(tmp_path)
    caller = Phone(world, "192.0.2.10", "alice", 40000, getattr(world, transport))
    provider = Phone(world, "192.0.2.20", "provider")
    caller.invite("sip:4930@example.com")
    [invite] = provider.requests()
    listeners = {
        (table.local.transport, table.local.host, table.local.port) for table in world.engine.core.flows
    }
    handed_out = invite.all_values("record-route")
    assert len(handed_out) == (1 if transport == "udp" else 2)
    for value in handed_out:
        route = parse_name_addr(value)
        assert route is not None
        target = hop_of(world.engine.core, route.uri, route.uri)
        assert target is not None
        # RFC 7118 §5.2: in URIs WebSocket is "ws", with TLS below it or not.
        asked = "WSS" if target.transport == "WS" else target.transport
        assert (asked, target.host, target.port) in listeners
    named = LocalText(Local("TCP", "sip.example.com", 5070, 4)).route_prefix
    target = hop_of(world.engine.core, named.removeprefix("<"), "")
    assert target is not None
    assert target.question == ("sip.example.com", 5070, "TCP", False)
