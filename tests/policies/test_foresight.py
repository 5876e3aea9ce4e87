"""What is foreseen from a payer's usage is what the store then says."""

from __future__ import annotations

import pytest

from policies import keys
from policies.account import Limits
from policies.foresight import foreseen
from policies.lease import Outcome
from policies.scripts import shipped_scripts
from policies.verdicts import Admitted, Refused
from tests.policies.limited import DAY, HOUR, Bench, Play, leg
from tests.policies.scripted import limit, limits

CASES: dict[str, Limits] = {
    "lines": limits(lines=2),
    "success_calls": limits(success=limit("success_calls", 2, DAY)),
    "fail_calls": limits(fail=limit("fail_calls", 2, HOUR)),
    "total_duration": limits(total=limit("total_duration", 1, DAY, "both")),
    "of incoming calls only": limits(fail=limit("fail_calls", 1, HOUR, "incoming"), lines=9),
    "several": limits(
        lines=3, success=limit("success_calls", 3, DAY), fail=limit("fail_calls", 2, HOUR, "both")
    ),
    "none": limits(),
}


@pytest.mark.parametrize("case", CASES)
def test_it_comes_true(case: str, play: Play) -> None:
    payer = CASES[case]

    async def check(b: Bench) -> None:
        refused = 0
        for end in ("answered", "pending", Outcome.FAIL, Outcome.SUCCESS, "pending", "answered"):
            usage = await b.limiter.payers.usage(payer)
            said = foreseen(payer, "out", usage)
            one = leg(payer)
            verdict = await b.admit(one)
            if isinstance(verdict, Admitted):
                assert said is None, verdict
            else:
                assert isinstance(verdict, Refused)
                if said is None:
                    # A budget ran out between the two questions; a refusal has moved nothing.
                    said = foreseen(payer, "out", await b.limiter.payers.usage(payer))
                assert said is not None, verdict
                assert (said.reason, said.limit) == (verdict.reason, verdict.limit)
                # Both or neither; and not further apart than the two questions.
                ours, theirs = said.resets_in_ms, verdict.resets_in_ms
                assert (ours is None) == (theirs is None)
                assert ours is None or theirs is None or abs(ours - theirs) < 2_000
                refused += 1
                continue
            if end in ("answered", Outcome.SUCCESS):
                b.limiter.answered(one)
            if isinstance(end, Outcome):
                b.limiter.release(one, end)
        assert (refused > 0) == (case not in ("none", "of incoming calls only"))

    play(check)


def test_the_state_ends_with_the_names_of_its_counters(play: Play) -> None:
    """What tells a reader whose counters they are, without a script that would put others in force."""
    text = shipped_scripts().usage.text.decode()
    assert f"string.sub(state, {keys.STATE_BYTES + 1})" in text

    async def check(b: Bench) -> None:
        payer = CASES["several"]
        await b.admit(leg(payer))
        state = b.admin.get("cg:{alice}:gateway:state")
        assert isinstance(state, bytes)
        assert state[keys.STATE_BYTES :] == keys.counter_names(payer)

    play(check)
