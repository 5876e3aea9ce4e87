"""Header names in all their spellings, and a table of spellings that peers cannot grow without bound."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.sip.grammar import COMPACT, HEADER_KEYS, SPELLINGS_MAX, header_key

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Via", "via"),
        ("VIA", "via"),
        ("vIa", "via"),
        ("v", "via"),
        ("V", "via"),
        ("V ", "via"),
        ("Call-ID", "call-id"),
        ("call-id \t", "call-id"),
        ("i", "call-id"),
        ("l", "content-length"),
        ("X-Custom", "x-custom"),
        ("NewFangledHeader", "newfangledheader"),
        # RFC 4475 §3.1.1.5: %-escapes mean nothing in a name.
        ("C%6Fntact", "c%6fntact"),
        ("extensionHeader-!.%*+_`'~", "extensionheader-!.%*+_`'~"),
    ],
)
def test_names(name: str, key: str) -> None:
    assert header_key(name) == key
    assert header_key(name) == key


@pytest.mark.parametrize(
    "name", ["", " ", " Via", "\tVia", "Foobar roobar", "Vi\xe4", "a/b", "a\x00", "Via\n"]
)
def test_what_is_no_name(name: str) -> None:
    assert header_key(name) == ""


def test_every_compact_form_names_a_header() -> None:
    for short, name in COMPACT.items():
        assert header_key(short) == header_key(short.upper()) == header_key(name) == name


def test_peers_cannot_grow_the_table_without_bound() -> None:
    before = dict(HEADER_KEYS)
    try:
        for number in range(2 * SPELLINGS_MAX):
            assert header_key(f"X-Header-{number}") == f"x-header-{number}"
        assert len(HEADER_KEYS) <= SPELLINGS_MAX
        header_key("X-" + "a" * 5000)
        assert max(map(len, HEADER_KEYS)) < 100
    finally:
        HEADER_KEYS.clear()
        HEADER_KEYS.update(before)


def test_no_group_is_possessive() -> None:
    """Python before 3.11.5 loses its place after a possessive group that fails half way: on Debian's 3.11.2
    `(?:;a)*+` takes the lone semicolon of "x;" for a match. Single characters and classes are not concerned."""
    sources = [file for folder in ("proxy", "policies", "config") for file in (ROOT / folder).rglob("*.py")]
    assert sources
    for file in sources:
        assert not re.search(r"\)[*+?]\+|\(\?>", file.read_text()), file
