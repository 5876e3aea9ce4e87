"""Three answered calls an hour, asked for at once: an attempt holds its place until its outcome is known."""

from __future__ import annotations

from tests.e2e.service import Tariff
from tests.e2e.stage import Stage

TARIFFS = {"three-successes": Tariff({"success_calls": "3 per 1h"})}


def test_parallel_attempts_do_not_slip_past_the_counter(stage: Stage) -> None:
    provider = stage.provider()
    callee = stage.callee(provider, calls=8)
    caller = stage.caller(
        "through-or-refused", who="three-successes", number=provider.number, calls=8, at_once=8, hold_s=0.5
    )
    caller.succeeds()
    assert len({invite.call_id for invite in callee.received("INVITE ")}) == 3
    assert len({answer.call_id for answer in caller.received("SIP/2.0 402")}) == 5

    # Not a level but a count: with all of them over, the fourth is still refused.
    fourth = stage.caller("refused", who="three-successes", number=provider.number)
    fourth.succeeds()
    refusal = fourth.one("SIP/2.0 402")
    assert refusal.start == "SIP/2.0 402 Amount of success calls is exceeded"
    assert "success_calls reached: the limit on answered calls is 3 per 1h; resets in " in refusal.value(
        "Warning"
    )
