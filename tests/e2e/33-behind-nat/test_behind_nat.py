"""A phone behind NAT says an address that nobody reaches; all that goes to it takes the flow it came by."""

from __future__ import annotations

import pytest

from tests.e2e.net import TRANSPORTS, Net, Transport
from tests.e2e.service import Tariff
from tests.e2e.stage import Stage

TARIFFS = {
    "calls-natted": Tariff(),
    **{f"natted-{transport}": Tariff({"call_duration": "1s"}) for transport in TRANSPORTS},
    **{f"natted-callee-{transport}": Tariff() for transport in TRANSPORTS},
}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_its_own_call_is_cut_where_it_can_hear_it(stage: Stage, transport: Transport) -> None:
    who = f"natted-{transport}"
    provider = stage.provider(transport)
    callee = stage.callee(provider)
    caller = stage.caller(
        "calls-from-behind-nat", who=who, number=provider.number, host=Net.SOFTPHONE, transport=transport
    )
    caller.succeeds()
    callee.succeeds()
    # RFC 3261 §12.2.1.1: in the BYE stands the contact it gave, out of reach as it is.
    assert caller.one("BYE ").start == f"BYE sip:{who}@10.0.0.9:5060;transport={transport} SIP/2.0"
    # RFC 3581 §4.
    via = caller.received("SIP/2.0 100")[0].value("Via")
    assert f";rport={caller.port}" in via
    assert f";received={caller.host}" in via


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_it_is_called_where_it_registered_from(stage: Stage, transport: Transport) -> None:
    who = f"natted-callee-{transport}"
    callee = stage.registered(who, "registered-behind-nat", transport=transport)
    caller = stage.caller(who="calls-natted", number=who, transport=transport, call_id=callee.call_id)
    caller.succeeds()
    callee.succeeds()
    # The caller's ACK and BYE named the unreachable contact and reached it all the same.
    assert caller.sent("BYE ")[0].start.split()[1].startswith("sip:callee@10.0.0.9:5060")
