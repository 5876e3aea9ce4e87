"""Several trunks at one address, told apart by a header of theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.world import CALLGATE, Phone, World

TRUNKS = """
  two: {from: ["192.0.2.30/32"], identity: from, match_header: {name: X-Trunk, value: two}}
  one: {from: ["192.0.2.30/32"], identity: from, match_header: {name: X-Trunk, value: one}}
"""
REST = """
  rest: {from: ["192.0.2.30/32"], identity: none}
"""


def world(folder: Path, trunks: str) -> World:
    return World(folder, CALLGATE.replace("routes:", trunks + "routes:"))


@pytest.mark.parametrize(
    ("trunks", "header", "trunk"),
    [
        (TRUNKS, "X-Trunk: one", "one"),
        (TRUNKS, "x-trunk:   two ", "two"),
        (REST + TRUNKS, "X-Trunk: one", "one"),
        (REST + TRUNKS, "X-Trunk: One", "rest"),
        (REST + TRUNKS, "X-Other: one", "rest"),
    ],
)
def test_whose_it_is_says_the_header(tmp_path: Path, trunks: str, header: str, trunk: str) -> None:
    stand = world(tmp_path, trunks)
    Phone(stand, "192.0.2.30", "alice").invite("sip:bob@example.com", "c1", header)
    # Nobody is registered here, so the call is over: its record names the trunk it came by.
    [record] = stand.records
    assert record.trunk == trunk


def test_without_any_of_them_it_is_nobodys(tmp_path: Path) -> None:
    stand = world(tmp_path, TRUNKS)
    phone = Phone(stand, "192.0.2.30", "alice")
    phone.invite("sip:bob@example.com", "c1", "X-Trunk: three")
    assert phone.statuses() == [407]
