"""A call reaches its limit of three seconds: BYE to both sides, each within a second of the limit, with the Reason."""

from __future__ import annotations

from tests.e2e.net import Transport
from tests.e2e.service import Tariff
from tests.e2e.sipp import Sipp
from tests.e2e.stage import Stage

LIMIT_S = 3.0
TARIFFS = {"three-seconds": Tariff({"call_duration": "3s"})}
PAIRS: tuple[tuple[Transport, Transport], ...] = (
    ("UDP", "UDP"),
    ("TCP", "TCP"),
    ("UDP", "TCP"),
    ("TCP", "UDP"),
)


def test_both_sides_are_hung_up_at_the_limit(stage: Stage) -> None:
    """All pairs of transports at once, for the waiting is the same."""
    before = stage.callgate.metric("callgate_cuts_total", reason="call_duration")
    calls = []
    for of_caller, of_callee in PAIRS:
        provider = stage.provider(of_callee)
        callee = stage.callee(provider)
        caller = stage.caller("hung-up-on", who="three-seconds", number=provider.number, transport=of_caller)
        calls.append((caller, callee))

    for caller, callee in calls:
        caller.succeeds()
        callee.succeeds()
        answered = caller.one("SIP/2.0 200").at
        for side in (caller, callee):
            assert LIMIT_S - 0.05 <= side.one("BYE ").at - answered <= LIMIT_S + 1.0, side.story()
        assert_byes_are_what_the_other_side_would_have_sent(caller, callee)
        record = stage.callgate.record(caller.call_id)
        assert (record["outcome"], record["cut"], record["reason"]) == ("success", True, "call_duration")
        assert record["ended_by"] == "callgate"
        assert LIMIT_S <= record["duration_s"] < LIMIT_S + 1.0
    assert stage.callgate.metric("callgate_cuts_total", reason="call_duration") - before == len(PAIRS)


def assert_byes_are_what_the_other_side_would_have_sent(caller: Sipp, callee: Sipp) -> None:
    """SPEC §4: in the dialog, a higher CSeq than that side has seen, and the Reason (RFC 3326)."""
    answer = caller.one("SIP/2.0 200")
    to_caller, to_callee = caller.one("BYE "), callee.one("BYE ")
    assert to_callee.cseq > callee.one("INVITE ").cseq
    assert (to_callee.value("From"), to_callee.value("To")) == (answer.value("From"), answer.value("To"))
    assert (to_caller.value("From"), to_caller.value("To")) == (answer.value("To"), answer.value("From"))
    assert to_caller.start.split()[1].startswith(f"sip:three-seconds@{caller.host}:{caller.port}")
    assert to_callee.start.split()[1].startswith(f"sip:callee@{callee.host}:{callee.port}")
    for bye in (to_caller, to_callee):
        assert bye.value("Reason") == 'SIP ;cause=402 ;text="call_duration reached"'
