"""Durations, counts and the rest, read from text and written back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from config.tariffs import CountPer, DurationPer
from config.units import (
    DURATION_MAX_MS,
    Amount,
    bool_of,
    count_of,
    domain_of,
    duration_ms_of,
    duration_text,
    host_of,
    host_port_of,
    instant_id,
    instant_of,
    instant_text,
)

DURATIONS = {
    "200ms": 200,
    "90s": 90_000,
    "2m": 120_000,
    "1h30m": 5_400_000,
    "00:02:00": 120_000,
    "00:00:01": 1_000,
    "100:00:00": 360_000_000,
    "30d": 2_592_000_000,
    "1w": 604_800_000,
    "1d12h": 129_600_000,
    " 2m ": 120_000,
}


@pytest.mark.parametrize("text", DURATIONS)
def test_durations_are_read(text: str) -> None:
    assert duration_ms_of(text) == DURATIONS[text]


@pytest.mark.parametrize(
    "text", ["", "m", "2", "2 m", "2m1h", "1m2m", "2M", "1.5h", "02:00", "1:2:3", "-1s", "１s"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        duration_ms_of(text)


@given(st.integers(min_value=0, max_value=DURATION_MAX_MS))
def test_a_duration_survives_being_written_and_read(ms: int) -> None:
    assert duration_ms_of(duration_text(ms)) == ms


@given(st.text(max_size=20))
def test_no_text_breaks_a_reader_in_another_way_than_value_error(text: str) -> None:
    for reader in (duration_ms_of, count_of, bool_of, instant_of, host_of, host_port_of):
        try:
            reader(text)
        except ValueError:
            pass


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("30m per 1d", Amount(1_800_000, 86_400_000)),
        ("00:30:00   per  1d", Amount(1_800_000, 86_400_000)),
        ("100h per 30d", Amount(360_000_000, 2_592_000_000)),
        ("unlimited", Amount(None)),
        ("Unlimited", Amount(None)),
    ],
)
def test_talk_time_per_period(text: str, amount: Amount) -> None:
    assert TypeAdapter(DurationPer).validate_python(text) == amount


def test_calls_per_period() -> None:
    assert TypeAdapter(CountPer).validate_python("5 per 1h") == Amount(5, 3_600_000)
    with pytest.raises(ValidationError, match="at least 1"):
        TypeAdapter(CountPer).validate_python("0 per 1h")


def test_words_of_yaml_1_1_are_yes_and_no() -> None:
    assert [bool_of(word) for word in ("yes", "Yes", "true", "on", "no", "NO", "false", "off")] == [
        True
    ] * 4 + [False] * 4


def test_instants_without_an_offset_are_utc() -> None:
    assert instant_of("1970-01-02") == 86_400
    assert instant_of("1970-01-02T01:00:00+01:00") == 86_400
    assert instant_of("1970-01-02 00:00") == 86_400
    assert instant_text(86_400) == "1970-01-02T00:00:00Z"
    assert instant_id(86_400) == "19700102T000000Z"


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("127.0.0.1:5060", ("127.0.0.1", 5060)),
        ("[::1]:5060", ("::1", 5060)),
        ("[2001:DB8::1]", ("2001:db8::1", 5061)),
        ("Proxy.Example.COM", ("proxy.example.com", 5061)),
    ],
)
def test_host_and_port(text: str, pair: tuple[str, int]) -> None:
    assert host_port_of(text, 5061) == pair


@pytest.mark.parametrize(
    "text", ["", ":", "host:", "::1:5060:", "[::1", "[::1]5060x", "host:99999", "a b:1", "-a:1", "1.2.3:4"]
)
def test_what_is_no_host_and_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        host_port_of(text, 5060)


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("Example.COM", "example.com"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0::1", "[2001:db8::1]"),
        ("[::1]", "[::1]"),
    ],
)
def test_a_domain_is_written_as_in_a_uri(text: str, domain: str) -> None:
    assert domain_of(text) == domain
