"""The callee answers at the moment the caller gives up: the call is on, and is counted as answered, once."""

from __future__ import annotations

import pytest

from tests.e2e.net import TRANSPORTS, Transport
from tests.e2e.service import Tariff
from tests.e2e.stage import Stage

TARIFFS = {f"crossing-{transport}": Tariff({"lines": 1}, mode="gateway") for transport in TRANSPORTS}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_answer_wins_and_the_line_is_given_back_once(stage: Stage, transport: Transport) -> None:
    who = f"crossing-{transport}"
    provider = stage.provider(transport)
    callee = stage.callee(provider, "answers-a-cancel")
    caller = stage.caller("cancels-too-late", who=who, number=provider.number, transport=transport)
    caller.succeeds()
    callee.succeeds()

    record = stage.callgate.record(caller.call_id)
    assert (record["outcome"], record["status"], record["ended_by"]) == ("success", 200, "caller")
    # Its only line is free again, and only one: of two calls at once one gets through.
    provider = stage.provider(transport)
    callee = stage.callee(provider)
    both = stage.caller(
        "through-or-refused",
        who=who,
        number=provider.number,
        transport=transport,
        calls=2,
        at_once=2,
        hold_s=0.5,
    )
    both.succeeds()
    callee.succeeds()
    assert len(both.received("SIP/2.0 486")) == 1
