"""Five failures an hour: the sixth attempt is refused with 402, and is told how long to wait."""

from __future__ import annotations

import re

import pytest

from tests.e2e.net import TRANSPORTS, Transport
from tests.e2e.service import Tariff
from tests.e2e.stage import Stage

TARIFFS = {f"five-failures-{transport}": Tariff({"fail_calls": "5 per 1h"}) for transport in TRANSPORTS}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_sixth_is_refused_with_the_seconds_to_wait(stage: Stage, transport: Transport) -> None:
    who = f"five-failures-{transport}"
    provider = stage.provider(transport)
    callee = stage.callee(provider, "busy", calls=5)
    caller = stage.caller("refused", who=who, number=provider.number, transport=transport, calls=5)
    caller.succeeds()
    callee.succeeds()
    assert len({answer.call_id for answer in caller.received("SIP/2.0 486 Busy Here")}) == 5

    sixth = stage.caller("refused", who=who, number=provider.number, transport=transport)
    sixth.succeeds()
    refusal = sixth.one("SIP/2.0 402")
    assert refusal.start == "SIP/2.0 402 Amount of fail calls is exceeded"
    found = re.fullmatch(
        r'399 \S+ "fail_calls reached: the limit on failed calls is 5 per 1h; resets in (\d+) s \(\w+\)"',
        refusal.value("Warning"),
    )
    assert found is not None, refusal.value("Warning")
    # The hour began with the first failure, some seconds ago.
    assert 3600 - 60 <= int(found[1]) <= 3600
    record = stage.callgate.record(sixth.call_id)
    assert (record["decision"], record["reason"], record["status"]) == ("refused", "fail_calls", 402)
