"""Names and packing: what is sent is what Redis reads, and all keys of a payer stay together on a Cluster."""

from __future__ import annotations

import re
import struct
from typing import Any

import hiredis
import pytest

from policies import keys
from policies.scripts import shipped_scripts
from tests.policies.scripted import limit, limits, unpacked

HOUR = 3_600_000


def parsed(packed: bytes) -> Any:
    reader = hiredis.Reader()
    reader.feed(packed)
    return reader.gets()


def test_a_command_is_read_back_as_it_was_meant() -> None:
    assert parsed(keys.command(b"ECHO", b"", b"two\r\nlines", "\u00eb".encode())) == [
        b"ECHO",
        b"",
        b"two\r\nlines",
        b"\xc3\xab",
    ]


@pytest.mark.parametrize(
    "head", ["admit", "admit_callee", "admit_digest", "answered", "ended", "late", "bindings"]
)
def test_a_head_announces_what_follows(head: str) -> None:
    packed: bytes = getattr(keys.Heads(shipped_scripts()), head)
    missing = int(re.match(rb"\*(\d+)", packed)[1]) - 3  # type: ignore[index]
    name, sha, count, *rest = parsed(packed + keys.number(7) * missing)
    script = getattr(shipped_scripts(), head.partition("_")[0])
    assert (name, sha, count) == (b"EVALSHA", script.sha.encode(), b"%d" % script.keys)
    assert rest == [b"7"] * missing


@pytest.mark.parametrize("payer", ["alice", "group alice", "odd}name{", "\u00eb"])
def test_all_keys_of_a_payer_have_one_hash_tag(payer: str) -> None:
    names = unpacked(keys.call_keys(payer, "gateway"))
    for packed in (
        keys.state_key(payer, "softphone"),
        keys.accounts_key(payer, "gateway"),
        keys.bindings_key(payer, "a@x"),
        keys.nonce_key(payer, "n"),
    ):
        names += unpacked(packed)
    tags = {re.match(rb"[^{]*\{([^}]+)\}", name)[1] for name in names}  # type: ignore[index]
    assert len(tags) == 1
    assert len(set(names)) == len(names)


def test_limits_as_the_scripts_read_them() -> None:
    tariff = limits(
        total=limit("total_duration", 90_000, 24 * HOUR, "both"), fail=limit("fail_calls", 5, HOUR), lines=2
    )
    amounts, names = unpacked(keys.limit_arguments(tariff, 77))
    assert struct.unpack("<11d", amounts) == (90_000, 24 * HOUR, 3, 5, HOUR, 1, 0, 0, 0, 2, 77)
    assert names.decode().split("\n") == [
        "basic@20260101T000000Z:gateway:total_duration",
        "basic@20260101T000000Z:gateway:fail_calls",
        "",
        f"3 {24 * HOUR}",
    ]


def test_a_lease_of_a_call_that_waits_for_another_leg_is_half_a_ms_longer() -> None:
    assert unpacked(keys.lease_life(30_000)) == [b"30000"]
    assert unpacked(keys.lease_life(30_000, tentative=True)) == [b"30000.5"]


def test_a_state_key_tells_its_payer() -> None:
    for payer in ("alice", "group:alice:bob"):
        assert keys.payer_of(unpacked(keys.state_key(payer, "gateway"))[0].decode()) == (payer, "gateway")


def test_keys_say_who_and_never_how_much() -> None:
    few, many = (limits(fail=limit("fail_calls", value, HOUR)) for value in (5, 50))
    assert unpacked(keys.limit_arguments(few, 1))[1] == unpacked(keys.limit_arguments(many, 1))[1]
