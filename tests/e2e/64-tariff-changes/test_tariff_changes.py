"""A tariff that changes under a running call: raised and lowered by a reload, here and on another instance; a plan that
starts or ends in the middle of it. What the change cuts is cut within a second."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from load.processes import Processes
from tests.e2e.files import Files, moment, subscriber
from tests.e2e.net import PATIENCE_S, Net
from tests.e2e.service import Settings, settings_of
from tests.e2e.sipp import Sipp
from tests.e2e.stage import Stage
from tests.redis import PrivateRedis

WITHIN_S = 1.0
"""Of a change, a running call has felt it; the machine may be busy, so half a second more is let pass."""
SLACK_S = 0.5


def option(**softphone: str) -> Settings:
    return {"categories": {"softphone": softphone}}


PLANS: Settings = {
    "grows": option(call_duration="2s"),
    "shrinks": option(call_duration="1m"),
    "lifted": option(call_duration="2s", total_duration="3s per 1h"),
    "drained": option(total_duration="1h per 1d"),
    "moved": {"categories": {"softphone": {"call_duration": {"value": "1m", "mutable": True}}}},
    "ends": option(call_duration="1h"),
    "begins": option(call_duration="4s"),
    "short": option(call_duration="2s"),
    "far": option(call_duration="1m"),
    "counted": {"categories": {"softphone": {"success_calls": {"value": "1 per 1h", "mutable": True}}}},
    "more": option(success_calls="5 per 1h"),
    "free": {"auto_activate": True, "categories": {"gateway": {}}},
}
SUBSCRIBERS: Settings = {
    name: subscriber(name, plan=name) for name in ("grows", "shrinks", "lifted", "drained", "moved", "far")
}
SUBSCRIBERS |= {name: subscriber(name) for name in ("ends", "begins", "counted")}


@pytest.fixture(scope="module")
def instances(
    net: Net, redis: PrivateRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Files]]:
    with Processes() as processes:
        services = []
        for host in (22, 23):
            settings = settings_of(net, redis.url, host)
            # As other instances of one service: each with its own files.
            services.append(
                Files(
                    processes, tmp_path_factory.mktemp("instance"), settings, dict(PLANS), dict(SUBSCRIBERS)
                )
            )
            services[-1].start()
        yield services
        for service in services:
            assert service.metric("callgate_internal_errors_total") == 0, service.running.tail(60)


@pytest.fixture
def stages(instances: list[Files], stage_of: Callable[[Any], Stage]) -> list[Stage]:
    return [stage_of(instance) for instance in instances]


@pytest.fixture
def service(instances: list[Files]) -> Files:
    return instances[0]


def running(stage: Stage, who: str) -> tuple[Sipp, Sipp]:
    """A call of `who` that nobody hangs up: caller and callee, once the ACK is through."""
    provider = stage.provider()
    callee = stage.callee(provider)
    caller = stage.caller("hung-up-on", who=who, number=provider.number)
    callee.await_message("ACK ")
    return caller, callee


def cut(caller: Sipp, callee: Sipp, reason: str) -> float:
    """Both sides get their BYE, and say when: Unix seconds of the later one."""
    for side in (caller, callee):
        side.succeeds()
        assert side.one("BYE ").value("Reason") == f'SIP ;cause=402 ;text="{reason}"', side.story()
    return max(side.one("BYE ").at for side in (caller, callee))


def talked(caller: Sipp, until: float) -> float:
    return until - caller.one("SIP/2.0 200").at


def test_a_raised_call_duration_lets_the_call_go_on(stages: list[Stage], service: Files) -> None:
    caller, callee = running(stages[0], "grows")
    service.plans["grows"] = option(call_duration="4s")
    service.reload_and_wait()
    assert 4.0 - 0.05 <= talked(caller, cut(caller, callee, "call_duration reached")) <= 4.0 + WITHIN_S


def test_a_lowered_one_cuts_the_call_at_once(stages: list[Stage], service: Files) -> None:
    caller, callee = running(stages[0], "shrinks")
    # It has lasted longer than it may last then.
    service.until("1.2 s of talk", lambda: talked(caller, time.time()) > 1.2)
    service.plans["shrinks"] = option(call_duration="1s")
    at = service.reload_and_wait()
    assert cut(caller, callee, "call_duration reached") - at <= WITHIN_S + SLACK_S


def test_a_lifted_limit_leaves_the_other_one(stages: list[Stage], service: Files) -> None:
    caller, callee = running(stages[0], "lifted")
    service.plans["lifted"] = option(call_duration="unlimited", total_duration="3s per 1h")
    service.reload_and_wait()
    assert 3.0 - 0.1 <= talked(caller, cut(caller, callee, "total_duration reached")) <= 3.0 + WITHIN_S


def test_a_lowered_budget_is_drained_by_what_was_talked_before(stages: list[Stage], service: Files) -> None:
    first, second = running(stages[0], "drained"), running(stages[1], "drained")
    service.plans["drained"] = option(total_duration="3s per 1d")
    at = service.reload_and_wait()
    ends = [cut(*first, "total_duration reached")]
    # The other instance has other files: there it goes on, until these are read again, too.
    assert not second[0].received("BYE ")
    stages[1].callgate.write()
    other = stages[1].callgate
    assert isinstance(other, Files)
    other.plans["drained"] = service.plans["drained"]
    later = other.reload_and_wait()
    ends.append(cut(*second, "total_duration reached"))
    assert ends[0] - at <= 3.0 + WITHIN_S
    assert ends[1] - later <= WITHIN_S + SLACK_S


def test_a_mutable_value_is_chosen_anew(stages: list[Stage], service: Files) -> None:
    caller, callee = running(stages[0], "moved")
    service.subscribers["moved"] = subscriber("moved", plan="moved")
    service.subscribers["moved"]["activations"][0]["options"] = {"softphone.call_duration": "2s"}
    service.reload_and_wait()
    assert 2.0 - 0.05 <= talked(caller, cut(caller, callee, "call_duration reached")) <= 2.0 + WITHIN_S


def test_a_counter_outlives_its_value_and_waits_for_its_activation(
    stages: list[Stage], service: Files
) -> None:
    """One call of 1; raised to 2: one more. Another plan wins with its own counter, ends, and the two still count."""
    first = {"plan": "counted", "since": "2020-01-01"}

    def bought(*activations: Settings) -> None:
        service.subscribers["counted"] = {**subscriber("counted"), "activations": list(activations)}
        service.reload_and_wait()

    def called() -> str:
        """What a call is answered."""
        caller = stages[0].caller("through-or-refused", who="counted", number=provider.number, hold_s=0.05)
        caller.succeeds()
        finals = [one for one in caller.received("SIP/2.0 ") if one.status >= 200]
        return next(one.start.removeprefix("SIP/2.0 ") for one in finals if "INVITE" in one.value("CSeq"))

    refused = "402 Amount of success calls is exceeded"
    provider = stages[0].provider()
    stages[0].callee(provider, calls=3)
    bought(first)
    assert [called(), called()] == ["200 OK", refused]
    bought({**first, "options": {"softphone.success_calls": "2 per 1h"}})
    assert [called(), called()] == ["200 OK", refused]
    bought(first, {"plan": "more", "since": "2020-01-01"})
    assert called() == "200 OK"
    bought({**first, "options": {"softphone.success_calls": "2 per 1h"}})
    assert called() == refused


def test_callgate_reload_is_heard_by_every_instance(stages: list[Stage], instances: list[Files]) -> None:
    here, there = running(stages[0], "far"), running(stages[1], "far")
    for instance in instances:
        instance.plans["far"] = option(call_duration="1s")
        instance.write()
    said = command(instances[0], "reload")
    at = time.time()
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith(f"reloaded: {len(PLANS)} plans, {len(SUBSCRIBERS)} subscribers; ")
    for caller, callee in (here, there):
        assert cut(caller, callee, "call_duration reached") - at <= WITHIN_S + SLACK_S


def test_callgate_reload_says_what_is_wrong_and_changes_nothing(stages: list[Stage], service: Files) -> None:
    caller, callee = running(stages[0], "grows")
    service.plans["grows"] = {"categories": {"softphone": {"call_duration": "2 parsecs"}}}
    service.write()
    said = command(service, "reload")
    service.plans["grows"] = option(call_duration="4s")
    service.write()
    assert said.returncode == 2
    assert f"{service.folder / 'plans.yaml'}:" in said.stderr
    assert "plans.grows.categories.softphone.call_duration" in said.stderr
    assert 4.0 - 0.05 <= talked(caller, cut(caller, callee, "call_duration reached")) <= 4.0 + WITHIN_S


def test_a_plan_that_ends_in_the_middle_of_a_call(stages: list[Stage], service: Files) -> None:
    ends = moment(3)
    service.subscribers["ends"] = subscriber("ends")
    service.subscribers["ends"]["activations"] = [{"plan": "ends", "since": "2020-01-01", "until": ends}]
    service.reload_and_wait()
    caller, callee = running(stages[0], "ends")
    at = cut(caller, callee, "no active tariff plan any more")
    assert 0.0 <= at - unix(ends) <= WITHIN_S
    assert stages[0].callgate.record(caller.call_id)["reason"] == "no_plan"
    refused = stages[0].caller("refused", who="ends", number=stages[0].provider().number)
    refused.succeeds()
    assert refused.one("SIP/2.0 402").start == "SIP/2.0 402 SIP account has disallowed settings"


def test_a_plan_that_starts_in_the_middle_of_a_call(stages: list[Stage], service: Files) -> None:
    service.subscribers["begins"] = subscriber("begins", plan="short")
    service.subscribers["begins"]["activations"].append({"plan": "begins", "since": moment(1.5)})
    service.reload_and_wait()
    caller, callee = running(stages[0], "begins")
    assert 4.0 - 0.05 <= talked(caller, cut(caller, callee, "call_duration reached")) <= 4.0 + WITHIN_S


def test_the_plan_that_activates_by_itself_says_so_once(stages: list[Stage], service: Files) -> None:
    told = [line for line in service.log() if line["event"] == "activated by itself"]
    assert {line["plan"] for line in told} == {"free"}
    names = [line["subscriber"] for line in told]
    assert len(set(names)) == len(names)
    assert {"grows", "shrinks", "ends"} <= set(names) <= set(SUBSCRIBERS)


def command(service: Files, word: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("callgate")
    return subprocess.run(
        [str(program), word, "-c", str(service.config)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=service.folder,
        check=False,
    )


def unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
