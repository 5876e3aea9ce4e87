"""Twenty INVITEs at once on five lines: exactly five get through, and the rest hears why."""

from __future__ import annotations

import pytest

from tests.e2e.net import TRANSPORTS, Transport
from tests.e2e.service import Tariff
from tests.e2e.stage import Stage

LINES, CALLS = 5, 20
TARIFFS = {f"five-lines-{transport}": Tariff({"lines": LINES}, mode="gateway") for transport in TRANSPORTS}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_exactly_as_many_as_there_are_lines(stage: Stage, transport: Transport) -> None:
    who = f"five-lines-{transport}"
    provider = stage.provider(transport)
    # Room for all: were more let through, more would be answered.
    callee = stage.callee(provider, calls=CALLS)
    caller = stage.caller(
        "through-or-refused",
        who=who,
        number=provider.number,
        transport=transport,
        calls=CALLS,
        at_once=CALLS,
        hold_s=1,
    )
    caller.succeeds()

    assert len({invite.call_id for invite in callee.received("INVITE ")}) == LINES
    refusals = {answer.call_id: answer for answer in caller.received("SIP/2.0 486")}
    assert len(refusals) == CALLS - LINES
    # They were at once: all were asked for before the first was over.
    assert max(invite.at for invite in caller.sent("INVITE ")) < min(bye.at for bye in caller.sent("BYE "))
    for refusal in refusals.values():
        assert refusal.start == "SIP/2.0 486 No lines for call"
        assert refusal.value("Warning").endswith('"lines reached: the limit on simultaneous calls is 5"')

    # All lines are free again, and the refused calls hold none.
    again = stage.caller(
        who=who, number=provider.number, transport=transport, calls=LINES, at_once=LINES, hold_s=0.3
    )
    again.succeeds()
