"""UDP phones whose port is not the one they hear at, or changes in the middle of a call."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.engine.events import Hangup
from proxy.sip.message import Request, Response
from tests.engine.world import CALLGATE, Phone, World

HOME = "203.0.113.5"
NUMBER = "sip:4930@example.com"


@pytest.fixture
def world(tmp_path: Path) -> World:
    """alice's phone is known by where it registered from."""
    return World(tmp_path, CALLGATE + "auth: {invite: registered_source}\n")


def talking(world: World, sends: Phone, hears: Phone, *, rport: bool) -> tuple[Phone, Request, Response]:
    """Its call to the provider, answered and acknowledged."""
    world.engine.core.sources.put(sends.flow, "alice@example.com", world.now + 3600, world.now)
    callee = Phone(world, "192.0.2.20", "provider")
    sends.invite(NUMBER, branch="z9hG4bK-first" + ";rport" * rport)
    [invite] = callee.requests()
    callee.answer(invite, 200, "OK")
    ok = hears.got()[-1]
    assert isinstance(ok, Response)
    sends.within("ACK", ok, 1)
    callee.got()
    return callee, invite, ok


def test_a_caller_that_sends_from_another_port_is_reached_where_it_hears(world: World) -> None:
    """RFC 3261 §18.2.2: no rport, so the port of its Via; old Cisco phones are so. The BYE went where it sends from."""
    sends, hears = Phone(world, HOME, "alice", 49152), Phone(world, HOME, "alice")
    sends.address = hears.address
    callee, invite, ok = talking(world, sends, hears, rport=False)
    sends.within("INFO", ok, 2)
    callee.answer(callee.requests()[0], 200, "OK")
    assert hears.statuses() == [200]
    callee.back("BYE", invite, "t1", 7)
    assert [request.method for request in hears.requests()] == ["BYE"]
    assert sends.got() == []


def test_a_phone_whose_nat_gives_it_another_port_is_reached_there(world: World) -> None:
    """From its next request on; the BYE of a cut went to the old one, where nobody is."""
    phone, moved = (Phone(world, HOME, "alice", port) for port in (40000, 40001))
    callee, _, ok = talking(world, phone, phone, rport=True)
    moved.within("INFO", ok, 2, branch="z9hG4bK-moved;rport")
    callee.answer(callee.requests()[0], 200, "OK")
    assert moved.statuses() == [200]
    world.handle(Hangup("c1"))
    assert [request.method for request in moved.requests()] == ["BYE"]
    assert phone.got() == []


def test_who_registered_anew_from_another_port_is_cut_there_when_the_old_one_is_silent(world: World) -> None:
    """Its Contact, which was tried next, is an address behind its NAT."""
    phone, moved = (Phone(world, HOME, "alice", port) for port in (40000, 40001))
    phone.address = "10.0.0.5:5060"
    talking(world, phone, phone, rport=True)
    world.engine.core.sources.put(moved.flow, "alice@example.com", world.now + 3600, world.now)
    world.handle(Hangup("c1"))
    assert {request.method for request in phone.requests()} == {"BYE"}
    world.advance(33)
    assert [request.method for request in moved.requests()][:1] == ["BYE"]


def test_nobody_elsewhere_takes_a_dialog_over_by_its_tags(world: World) -> None:
    phone, other = Phone(world, HOME, "alice", 40000), Phone(world, "203.0.113.9", "alice", 40000)
    callee, _, ok = talking(world, phone, phone, rport=True)
    other.within("INFO", ok, 2, branch="z9hG4bK-other;rport")
    callee.got()
    world.handle(Hangup("c1"))
    assert [request.method for request in phone.requests()] == ["BYE"]
    assert other.got() == []
