"""A trunk with two targets: when the first cannot take the call, the second is tried, in a transaction of its own."""

from __future__ import annotations

from tests.e2e.service import Tariff
from tests.e2e.stage import Stage

TARIFFS = {"persistent": Tariff({"fail_calls": "1 per 1h"})}


def test_a_provider_that_is_out_of_order_is_passed_over(stage: Stage) -> None:
    first, second = stage.two_providers()
    refusing = stage.callee(first, "out-of-order")
    answering = stage.callee(second)
    caller = stage.caller(who="persistent", number=first.number)
    caller.succeeds()
    answering.succeeds()
    refusing.succeeds()

    tried, taken = refusing.one("INVITE "), answering.one("INVITE ")
    assert tried.values("Via")[0] != taken.values("Via")[0]
    assert tried.values("Via")[1] == taken.values("Via")[1]
    # The caller saw one call, and one call was counted: a success.
    assert caller.received("SIP/2.0 503") == []
    assert stage.callgate.record(caller.call_id)["outcome"] == "success"


def test_a_provider_where_nobody_listens_is_passed_over(stage: Stage) -> None:
    first, second = stage.two_providers()
    answering = stage.callee(second)
    caller = stage.caller(who="persistent", number=first.number)
    caller.succeeds()
    answering.succeeds()
    # At once and not after Timer B: the kernel says that the port is dead.
    assert answering.one("INVITE ").at - caller.sent("INVITE ")[0].at < 5


def test_a_provider_that_is_out_of_order_is_not_the_callers_dead_server(stage: Stage) -> None:
    """RFC 3261 §16.7 step 6: a 503 of a branch would tell the caller that callgate is down; it becomes a 500."""
    first, second = stage.two_providers()
    both = [stage.callee(provider, "out-of-order") for provider in (first, second)]
    caller = stage.caller("refused", who="persistent", number=first.number)
    caller.succeeds()
    for provider in both:
        provider.succeeds()
    assert caller.one("SIP/2.0 5").status == 500
    assert stage.callgate.record(caller.call_id)["outcome"] == "fail"
