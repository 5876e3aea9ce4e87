"""Route patterns: what people write passes, what a caller could make slow does not."""

from __future__ import annotations

import pytest

from config.patterns import PATTERN_MAX, compile_route

USUAL = [
    r"^\+?[0-9]+$",
    r"^(?:0049|\+49|0)[1-9][0-9]{3,14}$",
    r"^00[1-9]",
    r"^1\d{10}$",
    r"^(112|110|911)$",
    r"^sip-[a-z]+\.[0-9]*$",
    r"^\(?0\)?[0-9]+$",
    r"^[][+*(]x$",
    r"^\*[0-9]{2,3}#$",
    r"^a+?b$",
    r"^7?[0-9]{10}$",
    "alice",
]

SLOW = {
    r"^(a+)+$": "repeats a group",
    r"^(a|aa)*$": "repeats a group",
    r"^(?:a?){30}a{30}$": "repeats a group",
    r"^" + "a?" * 30 + "a" * 30: "too many ways",
    r"^.*.*.*$": "too many ways",
    r".*x.*y": "too many ways",
    r"^" + "(a|a)" * 20: "too many ways",
    r"^a{1,60}a{1,60}a{1,60}$": "too many ways",
    r"^(a*)\1$": "back-reference",
    r"^(?=a)a": "lookaround",
    r"(?i)abc": "flag",
    r"(?P<x>a)": "named group",
    "a" * (PATTERN_MAX + 1): "longer than",
    "(": "not a regular expression",
    "a{2,1}": "not a regular expression",
}


@pytest.mark.parametrize("pattern", USUAL)
def test_usual_patterns_pass(pattern: str) -> None:
    assert compile_route(pattern).pattern == pattern


@pytest.mark.parametrize("pattern", SLOW)
def test_slow_patterns_are_refused_in_words(pattern: str) -> None:
    with pytest.raises(ValueError, match=SLOW[pattern]):
        compile_route(pattern)
