"""maddr in URIs: ours goes (RFC 3261 §16.4), another is a dialog's next hop (RFC 3263 §4), and opens no relay."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.engine.effects import AskName
from proxy.engine.targets import take_own_routes
from proxy.sip.flow import FlowTable
from proxy.sip.message import Request, Response
from proxy.sip.parse import parse
from tests.engine.test_own_requests import NUMBER, answer
from tests.engine.world import CALLGATE, Phone, World


def seen(world: World, uri: str, table: FlowTable, *lines: str) -> str:
    """The Request-URI that callgate goes by when this one comes to that listener."""
    source = table.get("203.0.113.9", 40000)
    via = f"Via: SIP/2.0/{table.local.transport} 203.0.113.9;branch=z9hG4bK1"
    ids = ("From: <sip:a@b>;tag=1", "To: <sip:c@d>;tag=2", "Call-ID: c1", "CSeq: 1 BYE", "Content-Length: 0")
    request = parse("\r\n".join([f"BYE {uri} SIP/2.0", via, *lines, *ids, "", ""]).encode())
    assert isinstance(request, Request)
    take_own_routes(world.engine.core, request, source)
    return request.uri


@pytest.mark.rfc3261("16.4-4", "16.4-5")
@pytest.mark.parametrize(
    ("uri", "transport", "left"),
    [
        ("sip:bob@far.example;maddr=192.0.2.1", "udp", "sip:bob@far.example"),
        ("sip:bob@far.example:5060;maddr=192.0.2.1;x=1", "udp", "sip:bob@far.example:5060;x=1"),
        ("sip:far.example;Maddr=Example.COM;transport=udp", "udp", "sip:far.example;transport=udp"),
        (
            "sip:bob@far.example;transport=tcp;maddr=192.0.2.1;user=phone",
            "tcp",
            "sip:bob@far.example;user=phone",
        ),
        ("sip:bob@[2001:db8::9]:5061;maddr=192.0.2.1;transport=tls", "tls", "sip:bob@[2001:db8::9]:5061"),
        ("sip:bob@far.example:443;maddr=192.0.2.1;transport=ws", "wss", "sip:bob@far.example"),
        ("sip:;maddr=9@far.example;maddr=192.0.2.1", "udp", "sip:;maddr=9@far.example"),
    ],
)
def test_a_maddr_that_is_us_goes_with_what_it_came_by(
    world: World, uri: str, transport: str, left: str
) -> None:
    assert seen(world, uri, getattr(world, transport)) == left


@pytest.mark.rfc3261("16.4-4")
@pytest.mark.parametrize(
    ("uri", "transport"),
    [
        ("sip:bob@far.example;maddr=192.0.2.1", "tcp"),
        ("sip:bob@far.example;maddr=192.0.2.1;transport=tcp", "udp"),
        ("sip:bob@far.example:5070;maddr=192.0.2.1", "udp"),
        ("sip:bob@example.com;maddr=192.0.2.66", "udp"),
        ("sip:bob@example.com;maddr=", "udp"),
        ("sip:bob@example.com;maddr=[", "udp"),
    ],
)
def test_another_maddr_or_one_that_came_otherwise_stays(world: World, uri: str, transport: str) -> None:
    assert seen(world, uri, getattr(world, transport)) == uri


def test_a_maddr_behind_a_strict_router_is_looked_at_as_well(world: World) -> None:
    route = "Route: <sip:192.0.2.98;lr>, <sip:bob@far.example;maddr=192.0.2.1>"
    assert seen(world, "sip:192.0.2.1:5060;lr", world.udp, route) == "sip:bob@far.example"


def dialog(world: World, contact: str) -> tuple[Phone, Response]:
    """alice's call to the provider, whose 200 has this Contact, before the ACK."""
    caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
    caller.invite(NUMBER)
    [invite] = callee.requests()
    answer(callee, invite, contact=f"<{contact}>")
    ok = caller.got()[-1]
    assert isinstance(ok, Response)
    return caller, ok


@pytest.mark.parametrize(
    ("contact", "host", "port"),
    [
        ("sip:x@192.0.2.20;maddr=192.0.2.77", "192.0.2.77", 5060),
        ("sip:x@far.example:5070;maddr=192.0.2.77", "192.0.2.77", 5070),
        ("sip:x@192.0.2.20:5060;maddr=192.0.2.1", "192.0.2.20", 5060),
        ("sip:x@192.0.2.20;maddr=", "192.0.2.20", 5060),
    ],
)
def test_within_a_dialog_it_is_the_next_hop(world: World, contact: str, host: str, port: int) -> None:
    caller, ok = dialog(world, contact)
    there = world.udp.get(host, port)
    caller.within("ACK", ok, 1)
    caller.within("BYE", ok, 2)
    ack, bye = world.take(there)
    assert isinstance(ack, Request)
    assert isinstance(bye, Request)
    assert (ack.method, bye.method) == ("ACK", "BYE")
    assert ack.uri == bye.uri == contact.removesuffix(";maddr=192.0.2.1")
    assert not world.of(AskName)


def test_within_a_dialog_a_name_in_maddr_is_what_is_looked_up(world: World) -> None:
    caller, ok = dialog(world, "sip:x@192.0.2.20;maddr=sip.far.example")
    caller.within("BYE", ok, 2)
    [asked] = world.of(AskName)
    assert asked.question.host == "sip.far.example"


def test_within_a_dialog_a_maddr_that_is_no_host_leads_nowhere(world: World) -> None:
    caller, ok = dialog(world, "sip:x@192.0.2.20;maddr=/")
    caller.within("INFO", ok, 2)
    assert caller.statuses() == [404]


def test_what_starts_something_goes_where_the_routes_say(world: World) -> None:
    caller, provider = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
    other = world.udp.get("203.0.113.66", 5060)
    caller.invite("sip:4930@example.com;maddr=203.0.113.66")
    [invite] = provider.requests()
    assert invite.uri == "sip:4930@192.0.2.20:5060"
    caller.got()
    caller.invite("sip:carol@elsewhere.example;maddr=203.0.113.66", "c2")
    assert caller.statuses() == [404]
    stranger = Phone(world, "198.51.100.5", "alice")
    stranger.invite("sip:4930@example.com;maddr=203.0.113.66", "c3")
    assert stranger.statuses() == [407]
    assert not world.take(other)
    assert not world.of(AskName)


def test_a_target_of_a_trunk_may_have_one(tmp_path: Path) -> None:
    target = "sip:provider.example;maddr=192.0.2.20"
    world = World(tmp_path, CALLGATE.replace('"sip:192.0.2.20:5060", "sip:192.0.2.21:5060"', f'"{target}"'))
    caller, provider = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
    caller.invite(NUMBER)
    [invite] = provider.requests()
    assert invite.uri == "sip:4930@provider.example;maddr=192.0.2.20"
