"""After four calls (talked, busy, refused, cut): metrics, records and log tell of each, and of nothing else."""

from __future__ import annotations

from functools import partial

from tests.e2e.service import Callgate, Tariff
from tests.e2e.stage import Stage

TARIFFS = {
    "seen-talking": Tariff({"fail_calls": "1 per 1h"}),
    "seen-cut": Tariff({"call_duration": "1s"}),
}
COUNTED = {
    "admitted": ("callgate_admissions_total", {"decision": "admitted", "mode": "softphone"}),
    "refused": ("callgate_admissions_total", {"decision": "refused", "reason": "fail_calls"}),
    "success": ("callgate_call_outcomes_total", {"outcome": "success", "mode": "softphone"}),
    "fail": ("callgate_call_outcomes_total", {"outcome": "fail", "mode": "softphone"}),
    "cuts": ("callgate_cuts_total", {"reason": "call_duration"}),
    "setups": ("callgate_setup_delay_seconds_count", {}),
    "invites in": ("callgate_requests_total", {"direction": "in", "method": "INVITE"}),
    "invites out": ("callgate_requests_total", {"direction": "out", "method": "INVITE"}),
    "byes out": ("callgate_requests_total", {"direction": "out", "method": "BYE"}),
}


def counts(callgate: Callgate) -> dict[str, float]:
    return {what: callgate.metric(name, **labels) for what, (name, labels) in COUNTED.items()}


def test_metrics_records_and_log_agree(stage: Stage) -> None:
    callgate = stage.callgate
    before = counts(callgate)
    provider, busy = stage.provider(), stage.provider()
    callee = stage.callee(provider, calls=2)
    at_busy = stage.callee(busy, "busy")
    talked = stage.caller(who="seen-talking", number=provider.number, hold_s=0.5)
    callee.await_message("ACK ")
    assert callgate.metric("callgate_calls_active", mode="softphone") >= 1
    talked.succeeds()
    failed = stage.caller("refused", who="seen-talking", number=busy.number)
    failed.succeeds()
    refused = stage.caller("refused", who="seen-talking", number=provider.number)
    refused.succeeds()
    cut = stage.caller("hung-up-on", who="seen-cut", number=provider.number)
    cut.succeeds()
    callee.succeeds()
    at_busy.succeeds()

    told = {
        sipp: (record["outcome"], record["status"], record["reason"], record["cut"], record["ended_by"])
        for sipp in (talked, failed, refused, cut)
        for record in (callgate.record(sipp.call_id),)
    }
    assert told == {
        talked: ("success", 200, "", False, "caller"),
        failed: ("fail", 486, "", False, "callee"),
        refused: ("refused", 402, "fail_calls", False, "callgate"),
        cut: ("success", 200, "call_duration", True, "callgate"),
    }
    after = counts(callgate)
    assert {what: after[what] - before[what] for what in COUNTED} == {
        "admitted": 3,
        "refused": 1,
        "success": 2,
        "fail": 1,
        "cuts": 1,
        "setups": 3,
        "invites in": 4,
        "invites out": 3,
        "byes out": 3,
    }
    # SPEC §6: one line a call in the log, with the same words.
    for sipp, (outcome, *_) in told.items():
        callgate.until("the log's line", partial(lines_of, callgate, sipp.call_id))
        (line,) = lines_of(callgate, sipp.call_id)
        assert line["outcome"] == outcome


def lines_of(callgate: Callgate, call_id: str) -> list[dict[str, object]]:
    return [line for line in callgate.log() if line.get("call_id") == call_id]
