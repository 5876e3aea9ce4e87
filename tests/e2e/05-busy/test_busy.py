"""The callee is busy: its 486 reaches the caller as it is, and the call was a failure."""

from __future__ import annotations

import pytest

from tests.e2e.net import TRANSPORTS, Transport
from tests.e2e.service import Tariff
from tests.e2e.stage import Stage

TARIFFS = {"meets-busy": Tariff({"fail_calls": "5 per 1h"})}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_busy_is_passed_on_and_is_a_failure(stage: Stage, transport: Transport) -> None:
    provider = stage.provider(transport)
    callee = stage.callee(provider, "busy")
    caller = stage.caller("refused", who="meets-busy", number=provider.number, transport=transport)
    caller.succeeds()
    callee.succeeds()

    answer = caller.one("SIP/2.0 486")
    # It is the callee's word, not ours.
    assert (answer.start, answer.values("Warning")) == ("SIP/2.0 486 Busy Here", [])
    record = stage.callgate.record(answer.call_id)
    assert (record["decision"], record["outcome"], record["status"]) == ("admitted", "fail", 486)
    assert (record["reason"], record["ended_by"]) == ("", "callee")
