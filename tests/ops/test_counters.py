"""Messages are told apart by their first bytes, calls by their records, registrations by their verdicts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.reasons import Reason
from policies.verdicts import (
    Registered,
    RegisterOutOfOrder,
    RegisterRefused,
    RegisterVerdict,
    Replayed,
    Unavailable,
)
from proxy.engine.record import CallRecord
from proxy.ops.counters import METHODS, OTHER, CallCounters, RegisterResult, Traffic


def record(mode: str = "gateway") -> CallRecord:
    made = CallRecord("id", "tag", "alice@example.com", "bob@example.com", 0.0)
    made.mode = mode
    return made


@pytest.mark.parametrize("method", METHODS[:-1])
def test_each_method_has_its_own_count(method: str) -> None:
    traffic = Traffic()
    traffic.count(method.encode() + b" sip:bob@example.com SIP/2.0\r\n")
    requests = traffic.requests()
    assert requests.pop(method) == 1
    assert set(requests.values()) == {0}
    assert set(traffic.responses().values()) == {0}


@pytest.mark.parametrize("status", [100, 183, 200, 302, 486, 503, 603, 699])
def test_a_response_counts_under_its_first_digit(status: int) -> None:
    traffic = Traffic()
    traffic.count(b"SIP/2.0 %d Any Words\r\n" % status)
    responses = traffic.responses()
    assert responses.pop(f"{status // 100}xx") == 1
    assert set(responses.values()) == set(traffic.requests().values()) == {0}


@pytest.mark.parametrize(
    "data", [b"", b" ", b"IN", b"SIP/2.0", b"invite sip:a SIP/2.0", b"FOO sip:a SIP/2.0", b"\r\n"]
)
def test_what_is_no_known_method_is_other(data: bytes) -> None:
    traffic = Traffic()
    traffic.count(data)
    assert traffic.requests()[OTHER] == 1


@given(st.one_of(st.binary(max_size=40), st.binary(max_size=4).map(lambda tail: b"SIP/2.0 " + tail)))
def test_any_bytes_count_exactly_once_and_make_no_series(data: bytes) -> None:
    traffic = Traffic()
    traffic.count(data)
    assert sum(traffic.heads.values()) + sum(traffic.statuses) == 1
    assert tuple(traffic.requests()) == METHODS


def test_a_call_of_two_legs_is_admitted_once() -> None:
    """The first leg's verdict leaves the decision open; the last one's brings it and the delay with it."""
    calls, call = CallCounters(), record()
    calls.decided(call, False)
    assert calls.admitted["gateway"] == 0
    call.decision, call.setup_delay = "admitted", 0.0015
    calls.decided(call, False)
    assert calls.admitted["gateway"] == 1
    assert calls.admitted_unchecked["gateway"] == 0
    assert sum(calls.setup_delay.counts) == 1


def test_a_call_let_through_unchecked_is_told_apart() -> None:
    calls, call = CallCounters(), record("softphone")
    call.decision = "admitted"
    calls.decided(call, True)
    assert (calls.admitted["softphone"], calls.admitted_unchecked["softphone"]) == (0, 1)


@pytest.mark.parametrize("reason", Reason)
def test_a_refused_call_is_counted_by_its_reason(reason: Reason) -> None:
    calls, call = CallCounters(), record("")
    call.decision, call.outcome, call.reason = "refused", "refused", reason.value
    calls.decided(call, False)
    calls.over(call)
    assert calls.refused[reason.value, ""] == 1
    assert calls.outcomes["refused", ""] == 1
    assert sum(calls.refused.values()) == sum(calls.outcomes.values()) == 1
    assert sum(calls.admitted.values()) == sum(calls.cuts.values()) == 0


def test_a_cut_call_is_a_cut_and_no_refusal() -> None:
    calls, call = CallCounters(), record()
    call.decision, call.outcome, call.cut, call.reason = "admitted", "success", True, "call_duration"
    calls.over(call)
    assert calls.cuts["call_duration"] == 1
    assert sum(calls.refused.values()) == 0
    assert calls.outcomes["success", "gateway"] == 1


@pytest.mark.parametrize(
    ("verdict", "result"),
    [
        (Registered([]), RegisterResult.ACCEPTED),
        (RegisterRefused(Reason.SIP_ACCOUNTS), RegisterResult.REFUSED),
        (RegisterOutOfOrder(), RegisterResult.OUT_OF_ORDER),
        (Replayed(), RegisterResult.REPLAYED),
        (Unavailable(), RegisterResult.UNAVAILABLE),
    ],
)
def test_each_verdict_on_a_register_has_its_result(verdict: RegisterVerdict, result: RegisterResult) -> None:
    calls = CallCounters()
    calls.registered(verdict)
    assert calls.registrations.pop(result) == 1
    assert set(calls.registrations.values()) == {0}
