"""A missing tool is a skip on a developer's machine and a failure under CI."""

from __future__ import annotations

import pytest

from tests.tools import find, require

ABSENT = "no-such-program-as-this"


def test_the_first_tool_found_wins() -> None:
    assert require(ABSENT, "sh") == find("sh")


def test_under_ci_a_missing_tool_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=ABSENT):
        require(ABSENT)


def test_elsewhere_a_missing_tool_skips_and_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(pytest.skip.Exception, match="Debian package"):
        require(ABSENT)
