"""A caller on IPv6 reaches a provider on IPv4: callgate stands in both families and says so in both routes."""

from __future__ import annotations

import pytest

from tests.e2e.net import TRANSPORTS, Transport
from tests.e2e.service import Tariff
from tests.e2e.stage import Stage

TARIFFS = {"sixth": Tariff({"call_duration": "1h"})}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_call_from_one_family_to_the_other(stage: Stage, transport: Transport) -> None:
    provider = stage.provider(transport)
    callee = stage.callee(provider)
    caller = stage.caller(
        "digest-caller", who="sixth", number=provider.number, transport=transport, ipv6=True
    )
    caller.succeeds()
    callee.succeeds()
    invite = callee.one("INVITE ")
    inner, outer = ", ".join(invite.values("Record-Route")).split(", ")
    assert inner.startswith("<sip:127.")
    assert outer.startswith("<sip:[::1]:")
    assert invite.values("Via")[1].startswith(f"SIP/2.0/{transport} [::1]:")
    assert stage.callgate.record(caller.call_id)["payers"] == ["sixth"]


def test_a_call_within_ipv6(stage: Stage) -> None:
    """To a phone that registered by IPv6."""
    callee = stage.registered("sixth", ipv6=True)
    caller = stage.caller("digest-caller", who="sixth", number="sixth", ipv6=True, call_id=callee.call_id)
    caller.succeeds()
    callee.succeeds()
    assert callee.one("INVITE ").value("Record-Route").startswith("<sip:[::1]:")
