"""A call reaches its limit while something is wrong with one side: the other is hung up on in time all the same."""

from __future__ import annotations

from tests.e2e.phone import digest, parameters
from tests.e2e.service import CREDENTIALS, Tariff
from tests.e2e.sipp import Sipp
from tests.e2e.stage import Stage

LIMIT_S = 1.0
TARIFFS = {"cut-soon": Tariff({"call_duration": "1s"})}


def assert_hung_up_in_time(side: Sipp, answered: float) -> None:
    assert LIMIT_S - 0.05 <= side.one("BYE ").at - answered <= LIMIT_S + 1.0, side.story()


def test_the_callee_has_died(stage: Stage) -> None:
    provider = stage.provider()
    callee = stage.callee(provider)
    caller = stage.caller("hung-up-on", who="cut-soon", number=provider.number)
    callee.await_message("ACK ")
    callee.child.stop(0)
    caller.succeeds()
    assert_hung_up_in_time(caller, caller.one("SIP/2.0 200").at)


def test_the_caller_has_died(stage: Stage) -> None:
    provider = stage.provider("TCP")
    callee = stage.callee(provider)
    caller = stage.caller("hung-up-on", who="cut-soon", number=provider.number, transport="TCP")
    callee.await_message("ACK ")
    caller.child.stop(0)
    callee.succeeds()
    assert_hung_up_in_time(callee, callee.sent("SIP/2.0 200")[0].at)


def test_the_ack_is_still_missing(stage: Stage) -> None:
    """RFC 3261 §15: the caller's BYE waits for its ACK, the callee's does not."""
    provider = stage.provider()
    callee = stage.callee(provider, "hung-up-on-before-the-ack")
    caller = stage.caller("acknowledges-late", who="cut-soon", number=provider.number, hold_s=1.5)
    caller.succeeds()
    callee.succeeds()
    assert_hung_up_in_time(callee, callee.sent("SIP/2.0 200")[0].at)
    ack = caller.sent("ACK ")[-1]
    assert 0 <= caller.one("BYE ").at - ack.at < 1.0
    assert stage.callgate.record(caller.call_id)["reason"] == "call_duration"


def test_the_provider_asks_who_hangs_up(stage: Stage) -> None:
    provider = stage.provider()
    callee = stage.callee(provider, "challenges-the-bye")
    caller = stage.caller("hung-up-on", who="cut-soon", number=provider.number)
    caller.succeeds()
    callee.succeeds()
    first, second = callee.received("BYE ")
    assert second.cseq == first.cseq + 1
    said = parameters(second.value("Authorization"))
    assert said["username"] == CREDENTIALS["username"]
    assert said["response"] == digest(
        "MD5",
        CREDENTIALS["username"],
        CREDENTIALS["password"],
        "provider.example",
        "BYE",
        second.start.split()[1],
        "Zm9yIG9uY2U",
        said["nc"],
        said["cnonce"],
    )
