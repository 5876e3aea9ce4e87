"""A call of one of our accounts to a provider: carried, talked, ended by the caller."""

from __future__ import annotations

import pytest

from tests.e2e.net import TRANSPORTS, Transport
from tests.e2e.service import Tariff
from tests.e2e.stage import Stage

TARIFFS = {"plain-caller": Tariff({"call_duration": "1h", "fail_calls": "5 per 1h"})}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_call_is_carried_to_its_end(stage: Stage, transport: Transport) -> None:
    provider = stage.provider(transport)
    callee = stage.callee(provider)
    caller = stage.caller(who="plain-caller", number=provider.number, transport=transport, hold_s=0.3)
    caller.succeeds()
    callee.succeeds()

    invite = callee.one("INVITE ")
    assert invite.start == f"INVITE sip:{provider.number}@{provider.address[0]}:{provider.address[1]}" + (
        ";transport=tcp SIP/2.0" if transport == "TCP" else " SIP/2.0"
    )
    # RFC 3261 §16.6: one hop less, our Via on top of the caller's, and ourselves in the route.
    assert invite.value("Max-Forwards") == "69"
    assert len(invite.values("Via")) == 2
    assert ";lr" in invite.value("Record-Route")
    # RFC 3261 §16.12: in the dialog, the Request-URI is the callee's own contact and no Route is left.
    bye = callee.one("BYE ")
    assert bye.start.startswith(f"BYE sip:callee@{provider.address[0]}:")
    assert bye.values("Route") == []

    record = stage.callgate.record(invite.call_id)
    assert (record["decision"], record["outcome"], record["status"]) == ("admitted", "success", 200)
    assert (record["ended_by"], record["cut"], record["payers"]) == ("caller", False, ["plain-caller"])
    assert 0.25 <= record["duration_s"] < 3
