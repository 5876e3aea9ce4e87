"""An account with two phones: both ring, one answers, the other is cancelled; it is one call."""

from __future__ import annotations

import pytest

from tests.e2e.net import TRANSPORTS, Transport
from tests.e2e.service import Tariff
from tests.e2e.stage import Stage

TARIFFS = {
    "calls-two-phones": Tariff({"lines": 1, "success_calls": "2 per 1h"}, mode="gateway"),
    **{f"two-phones-{transport}": Tariff({"sip_accounts": 1}) for transport in TRANSPORTS},
}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_all_ring_and_one_gets_the_call(stage: Stage, transport: Transport) -> None:
    who = f"two-phones-{transport}"
    answering = stage.registered(who, "registered-and-answers", transport=transport)
    ringing = stage.registered(
        who, "registered-and-cancelled", transport=transport, call_id=answering.call_id
    )
    caller = stage.caller(who="calls-two-phones", number=who, transport=transport, call_id=answering.call_id)
    caller.succeeds()
    answering.succeeds()
    ringing.succeeds()

    branches = {phone.one("INVITE ").values("Via")[0] for phone in (answering, ringing)}
    assert len(branches) == 2
    # RFC 3261 §16.7 step 10: cancelled because another branch answered, after it rang for 300 ms, and not before.
    assert ringing.one("CANCEL ").at - answering.sent("SIP/2.0 180")[0].at > 0.25
    record = stage.callgate.record(caller.call_id)
    assert (record["outcome"], record["ended_by"]) == ("success", "caller")
