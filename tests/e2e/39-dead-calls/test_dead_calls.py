"""Session timers (RFC 4028) and pings within a dialog: what a caller is told, and the end of a call one side forgot."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.net import Net
from tests.e2e.service import Callgate, Settings, Tariff, settings_of
from tests.e2e.stage import Stage
from tests.redis import PrivateRedis

TARIFFS = {
    "watched": Tariff({"success_calls": "1 per 1h", "fail_calls": "1 per 1h"}),
    "forgotten": Tariff({"lines": 1}, mode="gateway"),
}


@pytest.fixture
def watching(
    net: Net,
    redis: PrivateRedis,
    serve: Callable[[Settings], Callgate],
    stage_of: Callable[[Callgate], Stage],
) -> Stage:
    settings = settings_of(net, redis.url, host=20)
    settings["session_timers"] = {"enabled": True, "session_expires": "10m", "min_se": "2m"}
    settings["dialog_ping"] = {"enabled": True, "every": "1s"}
    return stage_of(serve(settings))


def test_a_caller_is_told_what_is_enough_and_refreshes_for_its_callee(watching: Stage) -> None:
    provider = watching.provider()
    callee = watching.callee(provider)
    caller = watching.caller("asks-for-too-little", who="watched", number=provider.number)
    caller.succeeds()
    callee.succeeds()
    assert caller.one("SIP/2.0 422").value("Min-SE") == "120"
    # Lowered to what we want; the callee knows nothing of it, so the caller is to refresh.
    assert callee.one("INVITE ").value("Session-Expires") == "600"
    answer = caller.received("SIP/2.0 200")[0]
    assert (answer.value("Session-Expires"), answer.value("Require")) == ("600;refresher=uac", "timer")
    # The 422 was no attempt: it moved no counter.
    assert watching.callgate.record(caller.call_id)["outcome"] == "success"


def test_a_call_that_its_callee_forgot_ends_on_both_sides(watching: Stage) -> None:
    provider = watching.provider()
    callee = watching.callee(provider, "forgetful-callee")
    caller = watching.caller("pinged-caller", who="forgotten", number=provider.number)
    caller.succeeds()
    callee.succeeds()
    for side in (caller, callee):
        assert side.one("BYE ").value("Reason") == 'SIP ;cause=481 ;text="dialog lost"'
    record = watching.callgate.record(caller.call_id)
    assert (record["outcome"], record["cut"], record["reason"]) == ("success", True, "dialog_lost")
    # Its line is free again.
    provider = watching.provider()
    callee = watching.callee(provider)
    watching.caller(who="forgotten", number=provider.number).succeeds()
    callee.succeeds()
