"""The two sides speak different transports: each finds callgate by its own (RFC 5658, double Record-Route)."""

from __future__ import annotations

import pytest

from tests.e2e.net import Transport
from tests.e2e.service import Tariff
from tests.e2e.stage import Stage

TARIFFS = {"bridged": Tariff()}


@pytest.mark.parametrize(("of_caller", "of_callee"), [("UDP", "TCP"), ("TCP", "UDP")])
def test_a_call_changes_its_transport_on_the_way(
    stage: Stage, of_caller: Transport, of_callee: Transport
) -> None:
    provider = stage.provider(of_callee)
    callee = stage.callee(provider)
    caller = stage.caller(who="bridged", number=provider.number, transport=of_caller)
    caller.succeeds()
    callee.succeeds()

    invite = callee.one("INVITE ")
    routes = ", ".join(invite.values("Record-Route")).split(",")
    # Topmost is the one the callee uses.
    assert [";transport=tcp" in route for route in routes] == [of_callee == "TCP", of_caller == "TCP"]
    assert invite.values("Via")[0].startswith(f"SIP/2.0/{of_callee} ")


@pytest.mark.parametrize(("of_caller", "of_callee"), [("UDP", "TCP"), ("TCP", "UDP")])
def test_the_callee_hangs_up_across_transports(
    stage: Stage, of_caller: Transport, of_callee: Transport
) -> None:
    provider = stage.provider(of_callee)
    callee = stage.callee(provider, "callee-hangs-up")
    caller = stage.caller("hung-up-on", who="bridged", number=provider.number, transport=of_caller)
    caller.succeeds()
    callee.succeeds()
    assert stage.callgate.record(caller.call_id)["ended_by"] == "callee"
