"""Regular expressions of routes, kept to those that a caller cannot use to hang the process.

The user part comes from the network and Python's `re` backtracks. So a pattern's worst case is counted from its text:
each repeat, optional part and alternative multiplies the ways to match, and STEPS_MAX bounds the product. At the bound
a search was seen to take 3 ms; the patterns people write stay far below it.
"""

from __future__ import annotations

import re
from typing import Final

ROUTE_USER_MAX: Final = 64
"""Longer user parts match no route. E.164 has 15 digits; dial strings and names stay far below 64."""

PATTERN_MAX: Final = 512
STEPS_MAX: Final = 2**16

_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?.?|\{\d*,?\d*\}|.", re.DOTALL)
_REPEAT = re.compile(r"[*+?]|\{(\d*)(,?)(\d*)\}")


def compile_route(pattern: str) -> re.Pattern[str]:
    """The compiled pattern, to be used with `search` on at most ROUTE_USER_MAX characters.

    Raises: ValueError, in words for the person who wrote it.
    """
    if len(pattern) > PATTERN_MAX:
        raise ValueError(f"is longer than {PATTERN_MAX} characters")
    try:
        compiled = re.compile(pattern, re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"not a regular expression: {error}") from None
    if _steps(pattern) > STEPS_MAX:
        raise ValueError(
            "has too many ways to match: a caller could make it slow; start it with ^ or use {1,15}"
        )
    return compiled


def _steps(pattern: str) -> int:
    """Upper bound of the ways to match, for a valid pattern."""
    steps = 1 if pattern.startswith("^") else ROUTE_USER_MAX
    alternatives = [1]  # of each open group; the first is the pattern itself
    before = ""
    for token in _TOKEN.findall(pattern):
        if _REPEAT.fullmatch(token):
            if _REPEAT.fullmatch(before):
                continue  # the lazy or possessive mark of the repeat before it
            if before == ")" and token != "?":
                raise ValueError("repeats a group: a caller could make it slow; only ? may follow a group")
            steps *= _ways(token)
        elif token in ("(", "(?:"):
            alternatives.append(1)
        elif token.startswith("(?") or re.fullmatch(r"\\[1-9]", token):
            raise ValueError(
                "may use no lookaround, named group, flag or back-reference: a caller could make it slow"
            )
        elif token == "|":
            alternatives[-1] += 1
        elif token == ")":
            steps *= alternatives.pop()
        before = token
    return steps * alternatives[0]


def _ways(repeat: str) -> int:
    """How many lengths a repeat can have."""
    if repeat == "?":
        return 2
    match = _REPEAT.fullmatch(repeat)
    low, comma, high = match.groups() if match else (None, None, None)
    if low is None or (comma and not high):
        return ROUTE_USER_MAX
    return int(high or 0) - int(low or 0) + 1 if comma else 1
