"""OPTIONS to callgate itself: what monitoring and neighbours ask to see whether it lives."""

from __future__ import annotations

import pytest

from tests.e2e.net import TRANSPORTS, Net, Transport
from tests.e2e.stage import Stage


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_it_says_what_it_can_do(stage: Stage, transport: Transport) -> None:
    asker = stage.caller("options", who="", number="", host=Net.SOFTPHONE, transport=transport)
    asker.succeeds()
    answer = asker.one("SIP/2.0 200")
    # RFC 3261 §11.2.
    assert {"INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "REGISTER"} <= set(answer.value("Allow").split(", "))
    assert answer.values("Accept")
    assert answer.values("Supported")
