"""The scripts: read from lua/, includes put in, number of keys checked, SHA-1 known before Redis has seen them.

A script is `<name>-<number of keys>.lua`. A line `-- @include <name>` stands for lua/lib/<name>.lua: Redis has no
modules, and what several scripts share is written once. Comments do not travel to Redis.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).with_name("lua")

_INCLUDE = re.compile(r"^-- @include ([a-z]+)$", re.MULTILINE)
_FILE = re.compile(r"([a-z]+)-([0-9]+)\.lua")
_COMMENT = re.compile(r"^\s*--.*\n", re.MULTILINE)


class ScriptError(Exception):
    """A script file contradicts itself: a defect of this program."""


@dataclass(frozen=True, slots=True)
class Script:
    """One script as Redis gets it."""

    name: str
    keys: int
    """How many of its arguments are keys."""
    text: bytes
    sha: str
    """SHA-1 of the text, in hex: what EVALSHA asks for."""


@dataclass(frozen=True, slots=True)
class Scripts:
    """All scripts, by what they are for; their headers say what they take and give."""

    admit: Script
    answered: Script
    ended: Script
    renew: Script
    late: Script
    register: Script
    bindings: Script
    hold: Script
    usage: Script
    release: Script
    inherit: Script
    beat: Script
    turn: Script

    def all(self) -> tuple[Script, ...]:
        """Every one of them, for loading."""
        return tuple(getattr(self, field.name) for field in fields(self))


def load_scripts(folder: Path = FOLDER, fragments: Mapping[str, str] | None = None) -> Scripts:
    """Every script of the folder. `fragments` replaces fragments of lib/ by name; tests give `clock` that way, to move
    time as they like.

    Raises: ScriptError when a name, a header or an include does not hold, or a script is missing or not known.
    """
    found = {
        script.name: script
        for script in (read_script(path, fragments) for path in sorted(folder.glob("*.lua")))
    }
    try:
        return Scripts(**found)
    except TypeError as error:
        raise ScriptError(f"{folder}: {error}") from error


@cache
def shipped_scripts() -> Scripts:
    """The scripts of this package."""
    return load_scripts()


def read_script(path: Path, fragments: Mapping[str, str] | None = None) -> Script:
    """One script. Raises: ScriptError."""
    named = _FILE.fullmatch(path.name)
    if not named:
        raise ScriptError(f"{path.name}: a script's name is <name>-<number of keys>.lua")
    name, keys = named[1], int(named[2])
    source = path.read_text(encoding="utf-8")
    listed = _keys_in_header(path.name, source)
    if listed != keys:
        raise ScriptError(f"{path.name}: the name says {keys} keys, the header lists {listed}")
    text = _COMMENT.sub("", _included(path, source, dict(fragments or {}))).encode()
    return Script(name, keys, text, hashlib.sha1(text, usedforsecurity=False).hexdigest())


def _keys_in_header(name: str, source: str) -> int:
    """The highest number of the header's KEYS paragraph. Purpose, KEYS, ARGV and Output must all be there."""
    header = re.match(r"(?:--.*\n)+", source)
    text = header[0] if header else ""
    parts = re.fullmatch(
        r"-- \S(?:.*\n)+?--\n-- KEYS (?P<keys>(?:.*\n)+?)-- ARGV (?:.*\n)+?-- Output: (?:.*\n)+", text
    )
    if not parts:
        raise ScriptError(f"{name}: the header must give its purpose, KEYS, ARGV and Output, in this order")
    numbers = [int(number) for number in re.findall(r"(?:^ |\s{2})([0-9]+) ", parts["keys"])]
    if numbers != list(range(1, len(numbers) + 1)):
        raise ScriptError(f"{name}: the header's KEYS are not numbered one by one: {numbers}")
    return len(numbers)


def _included(path: Path, source: str, fragments: Mapping[str, str]) -> str:
    def fragment(match: re.Match[str]) -> str:
        text = fragments.get(match[1])
        if text is None:
            file = path.parent / "lib" / f"{match[1]}.lua"
            if not file.is_file():
                raise ScriptError(f"{path.name}: includes {match[1]}, and there is no lib/{file.name}")
            text = file.read_text(encoding="utf-8")
        return _included(path, text.rstrip("\n"), fragments)

    return _INCLUDE.sub(fragment, source)
