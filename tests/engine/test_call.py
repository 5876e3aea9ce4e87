"""A whole call on the pure engine: admitted, carried, hung up."""

from __future__ import annotations

import pytest

from policies.lease import Outcome
from proxy.engine.effects import CallAnswered
from tests.engine.world import World, set_up


@pytest.mark.rfc3261("16.6-6", "16.6-8", "16.6-12", "16.6-13", "16.6-14", "16.6-37", "18.1.1-6")
def test_the_invite_leaves_as_rfc_3261_16_6_wants_it(world: World) -> None:
    _, _, invite, _ = set_up(world)
    assert invite.uri == "sip:4930@192.0.2.20:5060"
    assert invite.max_forwards() == 69
    vias = invite.all_values("via")
    assert len(vias) == 2
    assert vias[0].startswith("SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK")
    [route] = invite.all_values("record-route")
    assert route.startswith("<sip:192.0.2.1:5060;lr;c=")


@pytest.mark.rfc3261("16.4-6", "16.6-15")
def test_hung_up_by_the_caller(world: World) -> None:
    caller, callee, _, ok = set_up(world)
    assert len(world.of(CallAnswered)) == 1
    world.advance(12)
    caller.within("BYE", ok, 2)
    [bye] = callee.requests()
    assert bye.method == "BYE"
    assert bye.all_values("route") == []
    callee.answer(bye, 200, "OK")
    assert caller.statuses() == [200]
    assert world.released == [("alice@example.com", Outcome.SUCCESS)]
    [record] = world.records
    assert (record.outcome, record.ended_by, record.status) == ("success", "caller", 200)
    assert record.answered_at is not None
    assert record.ended_at - record.answered_at == 12
    world.idle()


def test_hung_up_by_the_callee(world: World) -> None:
    caller, callee, invite, _ = set_up(world)
    callee.back("BYE", invite, "t1", 7)
    [bye] = caller.requests()
    caller.answer(bye, 200, "OK")
    assert callee.statuses() == [200]
    assert world.released == [("alice@example.com", Outcome.SUCCESS)]
    assert world.records[0].ended_by == "callee"
    world.idle()
