"""The callee ends the call."""

from __future__ import annotations

import pytest

from tests.e2e.net import TRANSPORTS, Transport
from tests.e2e.service import Tariff
from tests.e2e.stage import Stage

TARIFFS = {"hung-up-on": Tariff()}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_bye_of_the_callee_reaches_the_caller(stage: Stage, transport: Transport) -> None:
    provider = stage.provider(transport)
    callee = stage.callee(provider, "callee-hangs-up")
    caller = stage.caller("hung-up-on", who="hung-up-on", number=provider.number, transport=transport)
    caller.succeeds()
    callee.succeeds()

    bye = caller.one("BYE ")
    # It is the callee's own, not one of ours: its CSeq, and no Reason.
    assert (bye.cseq, bye.values("Reason")) == (7, [])
    record = stage.callgate.record(bye.call_id)
    assert (record["outcome"], record["ended_by"], record["cut"]) == ("success", "callee", False)
