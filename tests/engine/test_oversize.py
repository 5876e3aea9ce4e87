"""RFC 3261 §18.1.1: what is too large for a datagram goes by TCP where it may and where the peer takes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.verdicts import Admitted
from proxy.engine.events import FlowFailed
from proxy.engine.oversize import REFUSED_FOR
from proxy.sip.message import Request
from tests.engine.world import CALLGATE, Phone, World, bound

NUMBER = "sip:4930@example.com"
LARGE = f"X-Large: {'x' * 1300}"


class Provider:
    """Who is behind the trunk, by either transport."""

    def __init__(self, world: World) -> None:
        self.udp = Phone(world, "192.0.2.20", "provider")
        self.tcp = Phone(world, "192.0.2.20", "provider", table=world.tcp)


def call(world: World, *extra: str) -> tuple[Phone, Provider]:
    caller, provider = Phone(world, "192.0.2.10", "alice"), Provider(world)
    caller.invite(NUMBER, "c1", *extra)
    return caller, provider


def only(phone: Phone) -> Request:
    [request] = phone.requests()
    return request


def test_a_small_request_goes_by_udp(world: World) -> None:
    _, provider = call(world, f"X-Large: {'x' * 700}")
    assert only(provider.udp).method == "INVITE"
    assert provider.tcp.got() == []


@pytest.mark.rfc3261("18.1.1-2")
def test_a_large_request_goes_by_tcp_and_says_so(world: World) -> None:
    caller, provider = call(world, LARGE)
    assert provider.udp.got() == []
    invite = only(provider.tcp)
    # "the value in the top Via header field MUST be changed".
    assert invite.via.value.startswith("SIP/2.0/TCP ")
    # RFC 5658: each side finds its own socket again.
    assert [";transport=tcp" in route for route in invite.all_values("record-route")] == [True, False]
    provider.tcp.answer(invite, 200, "OK")
    assert caller.statuses() == [100, 200]
    # The dialog stays on the connection, the BYE of a cut too.
    world.advance(3601)
    assert only(provider.tcp).method == "BYE"


@pytest.mark.rfc3261("18.1.1-4")
def test_where_tcp_is_refused_it_goes_by_udp_and_the_peer_is_remembered_for_a_while(world: World) -> None:
    caller, provider = call(world, LARGE)
    first = only(provider.tcp)
    world.handle(FlowFailed(provider.tcp.flow))
    second = only(provider.udp)
    assert second.via.value.startswith("SIP/2.0/UDP ")
    assert second.via.branch != first.via.branch
    assert len(second.all_values("record-route")) == 1
    provider.udp.answer(second, 486, "Busy Here")
    assert caller.statuses() == [100, 486]
    provider.udp.got()
    caller.invite(NUMBER, "c2", LARGE)
    assert only(provider.udp).method == "INVITE"
    assert provider.tcp.got() == []
    world.advance(REFUSED_FOR)
    caller.got()
    caller.invite(NUMBER, "c3", LARGE)
    assert only(provider.tcp).method == "INVITE"


def test_when_udp_fails_too_the_next_target_is_tried(world: World) -> None:
    _, provider = call(world, LARGE)
    only(provider.tcp)
    world.handle(FlowFailed(provider.tcp.flow))
    only(provider.udp)
    world.handle(FlowFailed(provider.udp.flow))
    assert only(Phone(world, "192.0.2.21", "provider", table=world.tcp)).method == "INVITE"


def test_a_call_that_is_heard_of_over_tcp_does_not_begin_anew(world: World) -> None:
    _, provider = call(world, LARGE)
    provider.tcp.answer(only(provider.tcp), 180, "Ringing")
    world.handle(FlowFailed(provider.tcp.flow))
    assert provider.udp.got() == []


def test_one_cancelled_meanwhile_does_not_go_out_again(world: World) -> None:
    caller, provider = call(world, LARGE)
    only(provider.tcp)
    caller.cancel(NUMBER)
    world.handle(FlowFailed(provider.tcp.flow))
    assert provider.udp.got() == []
    assert caller.statuses()[-1] == 487
    world.idle()


@pytest.mark.parametrize("parameter", [";transport=udp", ";transport=UDP"])
def test_a_transport_that_was_asked_for_is_kept(tmp_path: Path, parameter: str) -> None:
    target = f"sip:192.0.2.20:5060{parameter}"
    world = World(tmp_path, CALLGATE.replace("sip:192.0.2.20:5060", target))
    _, provider = call(world, LARGE)
    assert only(provider.udp).method == "INVITE"
    assert provider.tcp.got() == []


def test_an_account_is_reached_over_its_flow_whatever_the_size(world: World) -> None:
    world.auto = lambda leg: Admitted(leg.lease, bound(("203.0.113.5", "1000")) if leg.aor else None)
    caller, bob = Phone(world, "192.0.2.10", "alice"), Phone(world, "203.0.113.5", "bob")
    caller.invite("sip:bob@example.com", "c1", LARGE)
    assert only(bob).method == "INVITE"
