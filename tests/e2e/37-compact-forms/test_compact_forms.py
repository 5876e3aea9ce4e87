"""Compact header names (RFC 3261 §7.3.3), odd cases and spaces: read as what they are, and passed on as they came."""

from __future__ import annotations

import pytest

from tests.e2e.net import TRANSPORTS, Transport
from tests.e2e.service import Tariff
from tests.e2e.stage import Stage

TARIFFS = {"terse": Tariff({"call_duration": "1h"})}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_terse_phone_is_served_like_any_other(stage: Stage, transport: Transport) -> None:
    provider = stage.provider(transport)
    callee = stage.callee(provider, "compact-callee")
    caller = stage.caller("compact-caller", who="terse", number=provider.number, transport=transport)
    caller.succeeds()
    callee.succeeds()
    invite = callee.one("INVITE ")
    assert invite.values("m") == [f"<sip:terse@{caller.host}:{caller.port};transport={transport}>"]
    record = stage.callgate.record(invite.value("i"))
    assert (record["outcome"], record["payers"]) == ("success", ["terse"])
