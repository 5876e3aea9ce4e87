"""An outside caller calls an account of ours: only the callee's leg is charged, to the callee's payer."""

from __future__ import annotations

from tests.e2e.net import Net
from tests.e2e.service import Tariff
from tests.e2e.stage import Stage

TARIFFS = {
    "one-line-in": Tariff({"lines": 1, "fail_calls": "1 per 1h"}, mode="gateway"),
    "cut-when-called": Tariff({"call_duration": "1s"}),
}


def test_the_callees_lines_are_taken_by_who_calls_it(stage: Stage) -> None:
    callee = stage.registered("one-line-in")
    caller = stage.caller(
        who="stranger", number="one-line-in", host=Net.OUTSIDE, call_id=callee.call_id, hold_s=1
    )
    callee.await_message("ACK ")
    assert stage.callgate.metric("callgate_calls_active", mode="gateway") >= 1
    refused = stage.caller("refused", who="stranger", number="one-line-in", host=Net.OUTSIDE)
    refused.succeeds()
    assert refused.one("SIP/2.0 486").start == "SIP/2.0 486 No lines for call"
    # Its own call out needs a line too.
    provider = stage.provider()
    out = stage.caller("refused", who="one-line-in", number=provider.number)
    out.succeeds()
    assert out.one("SIP/2.0 486").start == "SIP/2.0 486 No lines for call"
    caller.succeeds()
    callee.succeeds()

    record = stage.callgate.record(caller.call_id)
    assert (record["payers"], record["direction"], record["caller"]) == (["one-line-in"], "in", "stranger")


def test_the_callees_limit_cuts_the_call(stage: Stage) -> None:
    callee = stage.registered("cut-when-called")
    caller = stage.caller(
        "hung-up-on", who="stranger", number="cut-when-called", host=Net.OUTSIDE, call_id=callee.call_id
    )
    caller.succeeds()
    callee.succeeds()
    for side in (caller, callee):
        assert "call_duration" in side.one("BYE ").value("Reason")
