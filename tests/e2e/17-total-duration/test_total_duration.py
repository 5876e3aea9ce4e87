"""Ten seconds of talk time an hour, used by three calls at once: it drains three times as fast and cuts all three."""

from __future__ import annotations

from tests.e2e.service import Tariff
from tests.e2e.stage import Stage

BUDGET_S, CALLS = 10.0, 3
EACH_S = BUDGET_S / CALLS
TARIFFS = {"ten-seconds": Tariff({"total_duration": "10s per 1h"})}


def test_three_calls_drain_one_budget_and_are_cut_together(stage: Stage) -> None:
    provider = stage.provider()
    callee = stage.callee(provider, calls=CALLS)
    caller = stage.caller("hung-up-on", who="ten-seconds", number=provider.number, calls=CALLS, at_once=CALLS)
    caller.succeeds()
    callee.succeeds()

    # They began together, as far as the machine allows: what one began late, the others had more.
    answered = {answer.call_id: answer.at for answer in caller.received("SIP/2.0 200")}
    assert max(answered.values()) - min(answered.values()) < 0.5
    for side in (caller, callee):
        byes = {bye.call_id: bye for bye in side.received("BYE ")}
        assert byes.keys() == answered.keys()
        for call_id, bye in byes.items():
            assert EACH_S - 0.5 <= bye.at - answered[call_id] <= EACH_S + 1.0, side.story()
            assert bye.value("Reason") == 'SIP ;cause=402 ;text="total_duration reached"'
    talked = sum(stage.callgate.record(call_id)["duration_s"] for call_id in answered)
    assert BUDGET_S - 0.1 <= talked <= BUDGET_S + 1.0

    refused = stage.caller("refused", who="ten-seconds", number=provider.number)
    refused.succeeds()
    assert refused.one("SIP/2.0 402").start == "SIP/2.0 402 Total calls duration is exceeded"
