"""RFC 5626: flows of devices, the first hop, Path (RFC 3327), and dialogs that no call remembers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from policies.verdicts import Admitted, Registered
from proxy.engine.bindings import Binding, to_record
from proxy.engine.effects import AskBindings
from proxy.engine.events import BindingsFound, FlowFailed, RegisterDecided
from proxy.sip.flow import Flow
from proxy.sip.message import Request, Response
from tests.engine.registering import World as Registering
from tests.engine.registering import ask_in, binding_in, response_in
from tests.engine.test_passing import Stand
from tests.engine.world import WALL, Phone, World

DEVICE = '+sip.instance="<urn:uuid:1>"'
OUTBOUND = "Supported: path, outbound"


@pytest.mark.rfc3261("8.2.4-4")
def test_a_flow_is_known_by_its_device_and_number_whatever_its_contact() -> None:
    world = Registering()
    ask = ask_in(world.register(f"Contact: <sip:alice@10.0.0.5:5062>;{DEVICE};reg-id=1", OUTBOUND))
    assert [key for key, _, _ in ask.contacts] == ["<urn:uuid:1>|1"]
    response = world.decide(ask, Registered([ask.contacts[0][2]]))
    assert response.values("require") == ["outbound"]
    # Over UDP the client's own 24 to 29 s are right (RFC 5626 §4.4.2).
    assert response.values("flow-timer") == []
    contact = response.value("contact") or ""
    assert "reg-id=1" in contact
    assert DEVICE in contact


def test_over_a_stream_the_answer_says_how_often_to_ping() -> None:
    world = Registering(nat={"flow_timer": 90})
    flow = world.tcp.get("203.0.113.9", 40000, 7)
    answer = world.registered(f"Contact: <sip:a@10.0.0.5>;{DEVICE};reg-id=1", OUTBOUND, flow=flow)
    assert answer.values("flow-timer") == ["90"]


@pytest.mark.parametrize(
    "parameters",
    [DEVICE, "reg-id=1", f"{DEVICE};reg-id=0", f"{DEVICE};reg-id=x", f"{DEVICE};reg-id=12345678901"],
)
def test_without_both_it_is_a_plain_contact(parameters: str) -> None:
    world = Registering()
    ask = ask_in(world.register(f"Contact: <sip:alice@10.0.0.5:5062>;{parameters}", OUTBOUND))
    assert "|" not in ask.contacts[0][0]
    assert world.decide(ask, Registered([ask.contacts[0][2]])).values("require") == []


@pytest.mark.rfc3261("8.2.4-1", "8.2.4-2", "8.2.4-5")
def test_a_client_that_does_not_say_outbound_is_not_told_of_it() -> None:
    world = Registering()
    ask = ask_in(world.register(f"Contact: <sip:alice@10.0.0.5:5062>;{DEVICE};reg-id=1"))
    assert ask.contacts[0][0] == "<urn:uuid:1>|1"
    assert world.decide(ask, Registered([ask.contacts[0][2]])).values("require") == []


def test_one_flow_at_a_time() -> None:
    world = Registering()
    contacts = f"Contact: <sip:a@10.0.0.5>;{DEVICE};reg-id=1, <sip:a@10.0.0.6>"
    assert response_in(world.register(contacts, OUTBOUND)).status == 400
    # Taking others back with it is allowed.
    contacts = f"Contact: <sip:a@10.0.0.5>;{DEVICE};reg-id=1, <sip:a@10.0.0.6>;expires=0"
    assert len(ask_in(world.register(contacts, OUTBOUND)).contacts) == 2


class TestBehindAProxy:
    VIA = "Via: SIP/2.0/UDP 192.0.2.99:5060;branch=z9hG4bKx"
    CONTACT = f"Contact: <sip:a@10.0.0.5>;{DEVICE};reg-id=1"

    def test_that_keeps_no_flow_the_client_hears_it(self) -> None:
        for path in ((), ("Path: <sip:192.0.2.99;lr>",)):
            answer = response_in(Registering().register(self.CONTACT, OUTBOUND, self.VIA, *path))
            assert answer.status == 439

    @pytest.mark.rfc3261("8.2.4-2")
    def test_a_client_without_outbound_registers_a_plain_contact(self) -> None:
        ask = ask_in(Registering().register(self.CONTACT, self.VIA))
        assert "|" not in ask.contacts[0][0]

    def test_that_keeps_the_flow_its_path_is_kept_and_told(self) -> None:
        world = Registering()
        paths = ("Path: <sip:far.example.net;lr>", "Path: <sip:tok@192.0.2.99;lr;ob>")
        ask = ask_in(world.register(self.CONTACT, OUTBOUND, self.VIA, *paths))
        assert ask.contacts[0][0] == "<urn:uuid:1>|1"
        assert binding_in(ask).path == "<sip:far.example.net;lr>, <sip:tok@192.0.2.99;lr;ob>"
        response = response_in(world.handle(RegisterDecided(ask, Registered([ask.contacts[0][2]]))))
        assert response.values("path") == ["<sip:far.example.net;lr>, <sip:tok@192.0.2.99;lr;ob>"]
        assert response.values("require") == ["outbound"]

    def test_a_path_that_cannot_be_read_is_refused(self) -> None:
        for path in ("nonsense", "<tel:+4930;lr>", "sip:192.0.2.99;lr"):
            assert response_in(Registering().register(self.CONTACT, self.VIA, f"Path: {path}")).status == 400

    @pytest.mark.rfc3261("16.6-22")
    def test_a_path_by_a_strict_router_is_refused_in_words(self) -> None:
        loose, strict = "<sip:192.0.2.98;lr>", "<sip:192.0.2.99>;lr"
        for path in (f"Path: {strict}, {loose}", f"Path: {loose}, {strict}"):
            refused = response_in(Registering().register(self.CONTACT, self.VIA, path))
            assert (refused.status, refused.reason) == (400, "Path Wants lr")


def binding(flow: Flow, updated: float = 0.0, number: str = "", path: str = "") -> str:
    return to_record(
        Binding(
            uri="sip:bob@10.0.0.5:5062",
            contact="<sip:bob@10.0.0.5:5062>",
            q=1000,
            expires_at=WALL + 600,
            updated_at=WALL + updated,
            transport=flow.transport,
            host=flow.host,
            port=flow.port,
            conn=flow.conn,
            local_host="192.0.2.1",
            local_port=5060,
            instance="test",
            sip_instance="<urn:uuid:1>" if number else "",
            reg_id=number,
            path=path,
        )
    )


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_when_one_flow_fails_the_device_is_called_over_the_other(world: World) -> None:
    caller = Phone(world, "192.0.2.10", "alice")
    first, second = world.tcp.get("203.0.113.5", 1, 1), world.tcp.get("203.0.113.5", 2, 2)
    first.open = second.open = True
    records = [binding(second, 0.0, "2"), binding(first, 5.0, "1")]
    world.auto = lambda leg: Admitted(leg.lease, records if leg.aor else None)
    caller.invite("sip:bob@example.com", "c1")
    assert [item.flow for item in world.sent if item.flow is not caller.flow] == [first]
    world.handle(FlowFailed(first))
    assert [item.flow for item in world.sent if item.flow is not caller.flow] == [first, second]
    assert caller.statuses() == [100]


def test_an_answer_of_the_device_is_its_answer_over_any_flow(world: World) -> None:
    caller = Phone(world, "192.0.2.10", "alice")
    device = Phone(world, "203.0.113.5", "bob", 40000)
    other = world.udp.get("203.0.113.5", 40001)
    records = [binding(device.flow, 5.0, "1"), binding(other, 0.0, "2")]
    world.auto = lambda leg: Admitted(leg.lease, records if leg.aor else None)
    caller.invite("sip:bob@example.com", "c1")
    [invite] = device.requests()
    device.answer(invite, 486, "Busy Here")
    assert caller.statuses() == [100, 486]
    assert [item for item in world.sent if item.flow is other] == []


def test_a_proxy_that_says_430_is_passed_over_for_the_other_flow(world: World) -> None:
    caller = Phone(world, "192.0.2.10", "alice")
    edge, other = Phone(world, "203.0.113.5", "edge", 40000), Phone(world, "203.0.113.6", "edge", 40000)
    records = [binding(edge.flow, 5.0, "1"), binding(other.flow, 0.0, "2")]
    world.auto = lambda leg: Admitted(leg.lease, records if leg.aor else None)
    caller.invite("sip:bob@example.com", "c1")
    [invite] = edge.requests()
    edge.answer(invite, 430, "Flow Failed")
    assert [request.method for request in other.requests()] == ["INVITE"]


@pytest.mark.rfc3261("16.6-24")
def test_a_call_takes_the_path_that_was_registered(world: World) -> None:
    caller = Phone(world, "192.0.2.10", "alice")
    edge = Phone(world, "203.0.113.5", "edge", 5060)
    record = binding(edge.flow, path="<sip:tok@203.0.113.5;lr;ob>")
    world.auto = lambda leg: Admitted(leg.lease, [record] if leg.aor else None)
    caller.invite("sip:bob@example.com", "c1")
    [invite] = edge.requests()
    assert invite.uri == "sip:bob@10.0.0.5:5062"
    assert invite.values("route") == ["<sip:tok@203.0.113.5;lr;ob>"]


@pytest.mark.rfc3261("16.6-23")
def test_the_path_of_the_called_goes_before_the_route_that_the_account_may_keep(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    stand.registered()
    record = binding(stand.phone.flow, path="<sip:tok@203.0.113.7;lr>")
    stand.world.auto = lambda leg: Admitted(leg.lease, [record] if leg.aor else None)
    stand.phone.request(
        "INVITE",
        "sip:bob@192.0.2.1:5060",
        "out",
        1,
        "<sip:alice@pbx.example.net>;tag=a",
        "<sip:bob@192.0.2.1>",
        "Contact: <sip:alice@10.0.0.5:5062>",
        "Route: <sip:192.0.2.1:5060;lr>, <sip:192.0.2.20;lr;home>",
    )
    trying, invite = stand.phone.got()
    assert isinstance(trying, Response)
    assert isinstance(invite, Request)
    assert invite.all_values("route") == ["<sip:tok@203.0.113.7;lr>", "<sip:192.0.2.20;lr;home>"]


class TestSubscriptions:
    """Dialogs without a call: their Record-Route says where the clients are."""

    def subscribe(self, world: World, method: str = "SUBSCRIBE") -> tuple[Phone, Phone, Request]:
        pbx = Phone(world, "192.0.2.10", "alice")
        bob = Phone(world, "203.0.113.5", "bob", 40000)
        pbx.request(
            method,
            "sip:bob@example.com",
            "s1",
            1,
            "<sip:alice@example.com>;tag=a",
            "<sip:bob@example.com>",
            "Contact: <sip:alice@192.0.2.10>",
        )
        [ask] = world.of(AskBindings)
        world.handle(BindingsFound([binding(bob.flow)], ask.user))
        [request] = bob.requests()
        return pbx, bob, request

    def test_a_request_to_the_client_goes_over_its_flow(self, world: World) -> None:
        pbx, bob, request = self.subscribe(world)
        upper, lower = request.all_values("record-route")
        # The trunk is where its URIs say; the client is where it registered from.
        assert re.fullmatch(r"<sip:192\.0\.2\.1:5060;lr;s=[0-9a-f]{16}>", upper)
        assert re.match(r"<sip:192\.0\.2\.1:5060;lr;s=[0-9a-f]{16};f=", lower)
        pbx.request(
            "SUBSCRIBE",
            "sip:bob@10.0.0.5:5062",
            "s1",
            2,
            "<sip:alice@example.com>;tag=a",
            "<sip:bob@example.com>;tag=b",
            f"Route: {lower}",
            f"Route: {upper}",
        )
        [again] = bob.requests()
        assert (again.uri, again.values("route")) == ("sip:bob@10.0.0.5:5062", [])

    def test_one_from_the_client_goes_where_its_uri_says(self, world: World) -> None:
        pbx, bob, request = self.subscribe(world)
        upper, lower = request.all_values("record-route")
        bob.request(
            "NOTIFY",
            "sip:alice@192.0.2.10",
            "s1",
            1,
            "<sip:bob@example.com>;tag=b",
            "<sip:alice@example.com>;tag=a",
            f"Route: {upper}, {lower}",
        )
        assert [one.method for one in pbx.requests()] == ["NOTIFY"]

    @pytest.mark.rfc3261("16.6-20")
    @pytest.mark.parametrize("method", ["NEWMETHOD", "REFER", "NOTIFY"])
    def test_a_method_that_nobody_knows_may_begin_one(self, world: World, method: str) -> None:
        pbx, bob, request = self.subscribe(world, method)
        routes = ", ".join(request.all_values("record-route"))
        sender, to = "<sip:bob@example.com>;tag=b", "<sip:alice@example.com>;tag=a"
        bob.request("ANOTHER", "sip:alice@192.0.2.10", "s1", 1, sender, to, f"Route: {routes}")
        assert [one.method for one in pbx.requests()] == ["ANOTHER"]

    @pytest.mark.parametrize("method", ["MESSAGE", "OPTIONS", "PUBLISH"])
    def test_a_method_known_to_begin_none_gets_no_way_back(self, world: World, method: str) -> None:
        _, _, request = self.subscribe(world, method)
        assert not request.has("record-route")

    @pytest.mark.parametrize("seal", ["", ";s=0123456789abcdef", ";c=0123456789abcdef"])
    @pytest.mark.parametrize("method", ["MESSAGE", "NOTIFY", "INFO", "REFER", "OPTIONS"])
    def test_a_route_that_only_looks_like_ours_is_no_way_through(
        self, world: World, method: str, seal: str
    ) -> None:
        """A stranger with a made-up To tag would have us carry anything to anybody."""
        stranger, victim = Phone(world, "198.51.100.9", "stranger"), Phone(world, "198.51.100.10", "victim")
        stranger.request(
            method,
            "sip:victim@198.51.100.10",
            "made-up",
            1,
            "<sip:alice@example.com>;tag=a",
            "<sip:victim@198.51.100.10>;tag=b",
            f"Route: <sip:192.0.2.1:5060;lr{seal}>",
        )
        assert stranger.statuses() == [481]
        assert victim.got() == []

    def test_a_seal_is_good_for_its_own_dialog_only(self, world: World) -> None:
        pbx, bob, request = self.subscribe(world)
        upper, lower = request.all_values("record-route")
        bob.request(
            "MESSAGE",
            "sip:alice@192.0.2.10",
            "another",
            1,
            "<sip:bob@example.com>;tag=b",
            "<sip:alice@example.com>;tag=a",
            f"Route: {upper}, {lower}",
        )
        assert bob.statuses() == [481]
        assert pbx.got() == []

    def test_a_token_that_was_tampered_with_is_forbidden(self, world: World) -> None:
        pbx, bob, request = self.subscribe(world)
        _, lower = request.all_values("record-route")
        broken = lower.replace("f=", "f=AA")
        pbx.request(
            "SUBSCRIBE",
            "sip:bob@10.0.0.5:5062",
            "s1",
            2,
            "<sip:alice@example.com>;tag=a",
            "<sip:bob@example.com>;tag=b",
            f"Route: {broken}",
        )
        assert pbx.statuses() == [403]
        assert bob.got() == []
