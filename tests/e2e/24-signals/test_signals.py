"""What an operator says by signals: SIGTERM (no new calls, running ones go on) and SIGHUP (read the files again)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from load.processes import Processes
from tests.e2e.net import PATIENCE_S, Net
from tests.e2e.service import Callgate, Settings, Tariff, settings_of
from tests.e2e.stage import Stage
from tests.redis import PrivateRedis

TARIFFS = {"grows": Tariff({"lines": 1}, mode="gateway"), "stays": Tariff()}


@pytest.fixture(scope="module")
def callgate(
    net: Net, redis: PrivateRedis, tariffs: dict[str, Tariff], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callgate]:
    """One for all of them; the last ends it."""
    with Processes() as processes:
        folder = tmp_path_factory.mktemp("signals")
        service = Callgate(processes, folder, settings_of(net, redis.url, host=5), tariffs)
        service.start()
        yield service


def test_sighup_takes_a_new_tariff_over_and_drops_no_call(stage: Stage) -> None:
    callgate = stage.callgate
    provider = stage.provider()
    callee = stage.callee(provider, calls=2)
    running = stage.caller(who="grows", number=provider.number, hold_s=2)
    callee.await_message("ACK ")
    refused = stage.caller("refused", who="grows", number=provider.number)
    refused.succeeds()
    assert refused.one("SIP/2.0 486").start == "SIP/2.0 486 No lines for call"

    callgate.tariffs["grows"] = replace(callgate.tariffs["grows"], limits={"lines": 2})
    callgate.write()
    reload(callgate, "reloaded")
    second = stage.caller(who="grows", number=provider.number)
    second.succeeds()
    running.succeeds()
    callee.succeeds()


def test_sighup_with_a_mistake_says_where_and_changes_nothing(stage: Stage) -> None:
    callgate = stage.callgate
    callgate.tariffs["grows"] = replace(callgate.tariffs["grows"], limits={"lines": "many"})
    callgate.write()
    reload(callgate, "not reloaded")
    (said,) = [line for line in callgate.log() if line["event"] == "not reloaded"]
    assert "plans.yaml:" in said["problem"]
    assert "lines" in said["problem"]
    assert callgate.ready()
    provider = stage.provider()
    callee = stage.callee(provider)
    caller = stage.caller(who="grows", number=provider.number)
    caller.succeeds()
    callee.succeeds()


def test_sigterm_lets_running_calls_end_and_takes_no_new_ones(stage: Stage) -> None:
    callgate = stage.callgate
    provider = stage.provider()
    callee = stage.callee(provider)
    caller = stage.caller(who="stays", number=provider.number, hold_s=1.5)
    callee.await_message("ACK ")
    callgate.terminate()
    callgate.until("it is draining", lambda: callgate.get("/readyz")[0] == 503)

    refused = stage.caller("refused", who="stays", number=provider.number)
    refused.succeeds()
    refusal = refused.one("SIP/2.0 503")
    assert int(refusal.value("Retry-After")) > 0
    assert "draining" in refusal.value("Warning")
    # The running call ended by its own will, and its BYE was carried.
    caller.succeeds()
    callee.succeeds()
    assert callee.one("BYE ").values("Reason") == []
    assert callgate.running.wait(PATIENCE_S) == 0
    assert callgate.record(caller.call_id)["ended_by"] == "caller"


def test_what_runs_longer_than_the_drain_is_ended(
    net: Net,
    redis: PrivateRedis,
    serve: Callable[[Settings], Callgate],
    stage_of: Callable[[Callgate], Stage],
) -> None:
    settings = settings_of(net, redis.url, host=20)
    settings["timers"]["drain_timeout"] = "1s"
    stage = stage_of(serve(settings))
    provider = stage.provider()
    callee = stage.callee(provider)
    caller = stage.caller("hung-up-on", who="stays", number=provider.number)
    callee.await_message("ACK ")
    stage.callgate.terminate()
    caller.succeeds()
    callee.succeeds()
    for side in (caller, callee):
        assert side.one("BYE ").values("Reason") != []
    assert stage.callgate.running.wait(PATIENCE_S) == 0
    record = stage.callgate.record(caller.call_id)
    assert (record["ended_by"], record["outcome"]) == ("callgate", "success")


def reload(callgate: Callgate, outcome: str) -> None:
    """Returns when the log says how it went."""
    callgate.reload()
    callgate.until(outcome, lambda: any(line["event"] == outcome for line in callgate.log()))
