"""callgate is killed with -9 in the middle of calls: they are taken up from Redis and still cut on time, both sides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from load.processes import Processes
from tests.e2e.net import Net
from tests.e2e.service import Callgate, Settings, Tariff, settings_of
from tests.e2e.sipp import Sipp
from tests.e2e.stage import Stage
from tests.redis import PrivateRedis, private_redis

LIMIT_S, BUDGET_S, CALLS = 7.0, 12.0, 3
TARIFFS = {
    "taken-up": Tariff({"lines": CALLS, "call_duration": f"{LIMIT_S:g}s"}, mode="gateway"),
    "shares-taken-up": Tariff({"lines": CALLS, "total_duration": f"{BUDGET_S:g}s per 1h"}, mode="gateway"),
    "outlived": Tariff({"lines": CALLS, "call_duration": f"{LIMIT_S:g}s"}, mode="gateway"),
    "shares-outlived": Tariff({"lines": CALLS, "total_duration": f"{BUDGET_S:g}s per 1h"}, mode="gateway"),
    "hangs-up-later": Tariff({"lines": 1}, mode="gateway"),
}


@pytest.fixture
def redis() -> Iterator[PrivateRedis]:
    """Of these instances alone: any other on the same store would take up what they leave."""
    with private_redis() as server:
        yield server


@pytest.fixture
def instance(
    net: Net, redis: PrivateRedis, tariffs: dict[str, Tariff], processes: Processes, tmp_path: Path
) -> Callable[[int, str], Callgate]:
    def made(host: int, lease: str) -> Callgate:
        settings: Settings = settings_of(net, redis.url, host)
        settings["store"]["lease"] = lease
        callgate = Callgate(processes, tmp_path / str(host), settings, tariffs)
        callgate.start()
        return callgate

    return made


def up(stage: Stage, who: str, calls: int) -> tuple[Sipp, Sipp]:
    """So many calls, answered and acknowledged, hung up by nobody."""
    provider = stage.provider()
    callee = stage.callee(provider, calls=calls)
    caller = stage.caller("hung-up-on", who=who, number=provider.number, calls=calls, at_once=calls)
    stage.callgate.until("all are up", lambda: len(callee.received("ACK ")) == calls)
    return caller, callee


def assert_cut(caller: Sipp, callee: Sipp, after_s: float, reason: str, calls: int) -> None:
    caller.succeeds()
    callee.succeeds()
    for side in (caller, callee):
        byes = side.received("BYE ")
        assert len(byes) == calls
        answered = min(ok.at for ok in caller.received("SIP/2.0 200"))
        for bye in byes:
            assert after_s - 0.05 <= bye.at - answered <= after_s + 1.5
            assert reason in bye.value("Reason")


@pytest.mark.parametrize(
    ("who", "after_s", "reason"),
    [("taken-up", LIMIT_S, "call_duration"), ("shares-taken-up", BUDGET_S / CALLS, "total_duration")],
)
def test_started_again_it_takes_its_calls_up_and_cuts_them(
    instance: Callable[[int, str], Callgate],
    stage_of: Callable[[Callgate], Stage],
    who: str,
    after_s: float,
    reason: str,
) -> None:
    callgate = instance(15, "30s")
    stage = stage_of(callgate)
    caller, callee = up(stage, who, CALLS)
    callgate.kill()
    callgate.start()
    # They are its own again: no line is free.
    refused = stage.caller("refused", who=who, number=stage.provider().number)
    refused.succeeds()
    assert_cut(caller, callee, after_s, reason, CALLS)
    admitted = {"payers": [who], "decision": "admitted", "reason": reason}
    callgate.until(
        "each has its record",
        lambda: sum(admitted.items() <= record.items() for record in callgate.records()) == CALLS,
    )
    assert callgate.metric("callgate_leases_total", event="taken_over") == CALLS


def test_started_again_it_knows_who_hangs_up(
    instance: Callable[[int, str], Callgate], stage_of: Callable[[Callgate], Stage]
) -> None:
    callgate = instance(16, "30s")
    stage = stage_of(callgate)
    provider = stage.provider()
    callee = stage.callee(provider)
    caller = stage.caller(who="hangs-up-later", number=provider.number, hold_s=3)
    callee.await_message("ACK ")
    callgate.kill()
    callgate.start()
    caller.succeeds()
    callee.succeeds()
    record = callgate.record(caller.call_id)
    assert (record["outcome"], record["ended_by"]) == ("success", "caller")
    again = stage.caller(who="hangs-up-later", number=provider.number)
    again.await_message("SIP/2.0 100")


@pytest.mark.parametrize(
    ("who", "after_s", "reason"),
    [("outlived", LIMIT_S, "call_duration"), ("shares-outlived", BUDGET_S / CALLS, "total_duration")],
)
def test_another_instance_cuts_the_calls_of_a_dead_one(
    instance: Callable[[int, str], Callgate],
    stage_of: Callable[[Callgate], Stage],
    who: str,
    after_s: float,
    reason: str,
) -> None:
    dead, other = instance(17, "2s"), instance(18, "2s")
    caller, callee = up(stage_of(dead), who, CALLS)
    dead.kill()
    assert_cut(caller, callee, after_s, reason, CALLS)
    assert other.metric("callgate_leases_total", event="taken_over") == CALLS
