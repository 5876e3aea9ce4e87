"""Bans: for floods, lifted by an operator, bounded; and what they never touch."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.engine import guard
from proxy.engine.abuse import BanCause
from proxy.engine.effects import Shun, Unshun
from proxy.engine.events import FloodSeen, MessageIn, Unban
from proxy.engine.guard import FLOOD_BAN
from proxy.sip.message import Response
from tests.engine.test_guard import GUARD, STRANGER, Client, banned, world_of
from tests.engine.world import Phone


def test_a_flood_is_banned_while_it_goes_on(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    world.handle(FloodSeen(STRANGER))
    [shun] = world.of(Shun)
    assert (shun.cause, shun.seconds) == (BanCause.FLOOD, FLOOD_BAN)
    world.advance(FLOOD_BAN - 1)
    world.handle(FloodSeen(STRANGER))
    world.advance(FLOOD_BAN - 1)
    assert len(world.of(Shun)) == 1
    assert not world.of(Unshun)
    world.advance(1.1)
    assert len(world.of(Unshun)) == 1
    assert not banned(world)


def test_an_operator_lifts_bans(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    for host in ("203.0.113.1", "203.0.113.2", "203.0.113.3"):
        world.handle(FloodSeen(host))
    world.handle(Unban("203.0.113.2"))
    assert [one.host for one in world.of(Unshun)] == ["203.0.113.2"]
    assert [ban["address"] for ban in world.engine.core.guard.shown(world.now)] == [
        "203.0.113.1",
        "203.0.113.3",
    ]
    world.handle(Unban("198.51.100.200"))
    world.handle(Unban(""))
    assert not banned(world)
    world.advance(700)
    # Their timers ring for nothing.
    assert len(world.of(Unshun)) == 3


def test_tables_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "SOURCES_MAX", 10)
    monkeypatch.setattr(guard, "BANS_MAX", 5)
    monkeypatch.setattr(guard, "ACCOUNTS_MAX", 5)
    world = world_of(tmp_path)
    for n in range(50):
        Client(world, f"198.18.1.{n}", f"user{n}").guess("wrong")
        world.handle(FloodSeen(f"198.18.2.{n}"))
    assert len(world.engine.core.guard._sources) <= 10
    assert len(world.engine.core.guard._accounts) <= 5
    assert banned(world) == [f"198.18.2.{n}" for n in range(45, 50)]
    assert len(world.of(Unshun)) == 45


def test_a_dialog_goes_on_whatever_its_address_has_asked(tmp_path: Path) -> None:
    """Requests of a dialog we know are never counted."""
    world = world_of(tmp_path)
    stranger = Client(world, STRANGER)
    for _ in range(25):
        stranger.register()
    stranger.phone.got()
    caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
    caller.invite("sip:4930@example.com")
    [invite] = callee.requests()
    callee.answer(invite, 200, "OK")
    ok = caller.got()[-1]
    assert isinstance(ok, Response)
    caller.within("ACK", ok, 1)
    for cseq in range(2, 60):
        caller.within("INFO", ok, cseq)
    assert len(callee.requests()) == 59
    world.handle(MessageIn(b"\r\n\r\n", caller.flow))
    assert not banned(world)


def test_who_is_known_by_the_flow_he_registered_from_pays_nothing(tmp_path: Path) -> None:
    world = world_of(tmp_path, GUARD + "auth: {invite: registered_source}\n")
    phone = Phone(world, STRANGER, "alice")
    world.engine.core.sources.put(phone.flow, "alice@example.com", 3600.0, 0.0)
    for n in range(60):
        phone.invite("sip:4930@example.com", f"c{n}")
    assert len([status for status in phone.statuses() if status == 100]) == 60
    assert not banned(world)
