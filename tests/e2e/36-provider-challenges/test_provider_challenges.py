"""The provider challenges the caller: that is between the two of them, and counts as neither success nor failure."""

from __future__ import annotations

from functools import partial

from tests.e2e.net import Net
from tests.e2e.phone import parameters
from tests.e2e.service import Tariff
from tests.e2e.stage import Stage

TARIFFS = {"has-an-account-there": Tariff({"fail_calls": "1 per 1h", "success_calls": "1 per 1h"})}


def test_the_callers_answer_reaches_the_provider(stage: Stage) -> None:
    provider = stage.provider()
    callee = stage.callee(provider, "challenges")
    caller = stage.caller(
        "digest-caller", who="has-an-account-there", number=provider.number, host=Net.TRUSTED
    )
    caller.succeeds()
    callee.succeeds()
    # RFC 3261 §22.3: credentials of another realm than ours are not ours to take out.
    second = callee.received("INVITE ")[-1]
    assert parameters(second.value("Proxy-Authorization"))["realm"] == "provider.example"
    records = partial(stage.callgate.records, caller.call_id)
    stage.callgate.until("both are on record", lambda: len(records()) == 2)
    assert [record["outcome"] for record in records()] == ["rejected", "success"]
    assert caller.received("SIP/2.0 402") == []
