"""Strangers with an IPv6 network of their own: 2^64 addresses are one source."""

from __future__ import annotations

import random
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path

import pytest

from proxy.engine.abuse import BanCause
from proxy.engine.effects import Shun
from proxy.engine.events import FloodSeen, SnapshotChanged, Unban
from proxy.engine.site import site_of
from tests.engine.test_guard import GUARD, Client, banned
from tests.engine.world import CALLGATE, World

NETWORK = "2001:db8:1:2::"


@pytest.mark.parametrize(
    ("host", "site"),
    [
        ("203.0.113.66", "203.0.113.66"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("::1", "::1"),
        ("64:ff9b::203.0.113.66", "64:ff9b::203.0.113.66"),
        ("2001:db8:1:2::/64", "2001:db8:1:2::/64"),
        ("203.0.113.66:5060", "203.0.113.66:5060"),
    ],
)
def test_whom_an_address_stands_for(host: str, site: str) -> None:
    assert site_of(host) == site


def test_sites_are_written_as_networks_are() -> None:
    rng = random.Random(64)
    for zeros in range(1 << 8):
        groups = [0 if zeros >> n & 1 else rng.randrange(0x2000, 0x3FFF) for n in range(8)]
        address = IPv6Address(":".join(f"{group:x}" for group in groups))
        if not address.is_loopback:
            assert site_of(str(address)) == str(IPv6Network((int(address) >> 64 << 64, 64)))


def test_another_address_of_the_network_is_the_same_stranger(tmp_path: Path) -> None:
    world = World(tmp_path, CALLGATE + GUARD)
    for n in range(45):
        Client(world, f"{NETWORK}{n:x}").register()
    [shun] = world.of(Shun)
    assert (shun.host, shun.cause) == (f"{NETWORK}/64", BanCause.RATE)
    # Its neighbour network is somebody else.
    client = Client(world, "2001:db8:1:3::1")
    client.register()
    assert client.challenged()
    world.handle(Unban(f"{NETWORK}9"))
    assert not banned(world)
    for n in range(8):
        guesser = Client(world, f"{NETWORK}{n:x}")
        guesser.guess("wrong")
        world.advance(9)
    assert world.engine.core.guard.bans[f"{NETWORK}/64"].cause is BanCause.BRUTE_FORCE
    world.handle(Unban(f"{NETWORK}/64"))
    assert not banned(world)
    world.handle(FloodSeen(f"{NETWORK}/64"))
    assert banned(world) == [f"{NETWORK}/64"]


@pytest.mark.parametrize("where", ["from", "target", "exempt"])
def test_a_network_with_a_trunk_in_it_is_not_shut_out_as_a_whole(tmp_path: Path, where: str) -> None:
    settings, guard = CALLGATE, GUARD
    if where == "from":
        settings = CALLGATE.replace('from: ["192.0.2.10/32"]', f'from: ["192.0.2.10/32", "{NETWORK}10/128"]')
    elif where == "target":
        settings = CALLGATE.replace('targets: ["sip:192.0.2.10"]', f'targets: ["sip:[{NETWORK}10]"]')
    else:
        guard = GUARD.replace("198.51.100.0/24", f'"{NETWORK}10/128"')
    world = World(tmp_path, settings + guard)
    for host in (f"{NETWORK}10", f"{NETWORK}/64"):
        world.handle(FloodSeen(host))
        assert not banned(world)
    world.handle(FloodSeen(f"{NETWORK}66"))
    assert banned(world) == [f"{NETWORK}66"]


def test_a_network_that_is_a_trunks_as_a_whole_does_not_flood(tmp_path: Path) -> None:
    settings = CALLGATE.replace('from: ["192.0.2.10/32"]', f'from: ["192.0.2.10/32", "{NETWORK}/64"]')
    world = World(tmp_path, settings + GUARD)
    world.handle(FloodSeen(f"{NETWORK}/64"))
    assert not banned(world)


def test_a_ban_of_one_address_is_lifted_also_when_its_network_counts_as_a_whole_since(tmp_path: Path) -> None:
    trunk = CALLGATE.replace('from: ["192.0.2.10/32"]', f'from: ["192.0.2.10/32", "{NETWORK}10/128"]')
    world = World(tmp_path, trunk + GUARD)
    world.handle(FloodSeen(f"{NETWORK}66"))
    world.handle(SnapshotChanged(World(tmp_path, CALLGATE + GUARD).engine.core.snapshot))
    assert banned(world) == [f"{NETWORK}66"]
    world.handle(Unban(f"{NETWORK}66"))
    assert not banned(world)
