"""The caller gives up while it rings."""

from __future__ import annotations

import pytest

from tests.e2e.net import TRANSPORTS, Transport
from tests.e2e.service import Tariff
from tests.e2e.stage import Stage

TARIFFS = {"gives-up": Tariff({"fail_calls": "5 per 1h"})}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_cancel_goes_hop_by_hop_and_the_call_is_a_failure(stage: Stage, transport: Transport) -> None:
    provider = stage.provider(transport)
    callee = stage.callee(provider, "cancelled")
    caller = stage.caller("cancels", who="gives-up", number=provider.number, transport=transport)
    caller.succeeds()
    callee.succeeds()

    # RFC 3261 §16.10, §9.1: a CANCEL of our own, in the transaction of the INVITE that went there.
    invite, cancel = callee.one("INVITE "), callee.one("CANCEL ")
    assert cancel.values("Via") == invite.values("Via")[:1]
    assert cancel.start.split()[1] == invite.start.split()[1]
    record = stage.callgate.record(invite.call_id)
    assert (record["outcome"], record["status"], record["ended_by"]) == ("fail", 487, "caller")
