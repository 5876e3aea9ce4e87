"""Requests that are no calls, MESSAGE above all: from and to whom they pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.world import SUBSCRIBERS, Phone, World

NUMBER = "sip:4930@example.com"


def sends(world: World, user: str, uri: str) -> tuple[list[int], int]:
    """What the sender hears, and how many got through."""
    caller, provider = Phone(world, "192.0.2.10", user), Phone(world, "192.0.2.20", "provider")
    caller.request("MESSAGE", uri, f"m-{user}", 1, f"<sip:{user}@example.com>;tag=1", f"<{uri}>")
    return caller.statuses(), len(provider.requests())


def test_a_message_passes_by_the_routes(world: World) -> None:
    assert sends(world, "alice", NUMBER) == ([], 1)


def test_who_has_bought_nothing_sends_nothing(world: World) -> None:
    """SPEC §2: a service that was not bought. Providers charge for messages, too."""
    assert sends(world, "nobody", NUMBER) == ([402], 0)


@pytest.mark.parametrize(("user", "uri"), [("alice", NUMBER), ("bob", "sip:alice@example.com")])
def test_an_account_that_is_switched_off_neither_sends_nor_is_sent_to(
    tmp_path: Path, user: str, uri: str
) -> None:
    off = SUBSCRIBERS.replace("user: alice, password: secret", "user: alice, disabled: yes, password: secret")
    assert sends(World(tmp_path, subscribers=off), user, uri) == ([403], 0)
