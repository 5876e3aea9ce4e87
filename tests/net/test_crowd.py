"""Who has most connections, or handshakes under way, makes room for others; of IPv6 a /64 is one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import cast

import pytest

from config.schema import Bounds
from proxy.net.connection import Connection
from proxy.net.crowd import Crowd
from proxy.net.handshakes import Handshakes
from proxy.net.sink import NetCounters

NETWORK = "2001:db8:1:2::"


class Client:
    """A connection, its transport, and a handshake."""

    def __init__(self) -> None:
        self.proven, self.idle, self.transport, self.closed = True, 0.0, self, False

    def abort(self) -> None:
        self.closed = True

    give_up = abort


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def test_all_addresses_of_an_ipv6_network_have_one_share_of_the_connections() -> None:
    """Each of a stranger's 2^64 addresses had a share of its own: he took all connections, one from each."""
    crowd, his = Crowd(), [Client() for _ in range(3)]
    for n, client in enumerate(his):
        crowd.add(cast(Connection, client), f"{NETWORK}{n}")
    assert crowd.make_room("203.0.113.5")
    assert [client.closed for client in his] == [True, False, False]
    assert not crowd.make_room(f"{NETWORK}9")
    for n, client in enumerate(his):
        crowd.remove(cast(Connection, client), f"{NETWORK}{n}")
    assert not crowd.make_room("203.0.113.5")


def test_newcomers_of_one_moment_get_a_place_each() -> None:
    """A connection that is aborted is told lost later; until then it made room for any number of others."""
    crowd, greedy = Crowd(), [Client() for _ in range(5)]
    for client in greedy:
        crowd.add(cast(Connection, client), "203.0.113.66")
    for n in range(3):
        assert crowd.make_room(f"203.0.113.{n}")
        assert sum(client.closed for client in greedy) == n + 1
        crowd.add(cast(Connection, Client()), f"203.0.113.{n}")


def test_all_addresses_of_an_ipv6_network_have_one_share_of_the_handshakes(
    loop: asyncio.AbstractEventLoop,
) -> None:
    handshakes = Handshakes(Bounds(handshakes_max=3), loop, NetCounters())
    his = [Client() for _ in range(3)]
    for n, client in enumerate(his):
        assert handshakes.begin(client, f"{NETWORK}{n}")
    assert handshakes.begin(Client(), "203.0.113.5")
    assert [client.closed for client in his] == [True, False, False]
    assert not handshakes.begin(Client(), f"{NETWORK}9")
    handshakes.close()
