"""Redis hangs or is gone: new calls as the policy says, running ones keep their limit, nothing they did is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Literal

import pytest

from load.processes import Processes
from tests.e2e.net import Net
from tests.e2e.service import DOMAIN, Callgate, Tariff, settings_of
from tests.e2e.stage import Provider, Stage
from tests.redis import PrivateRedis, private_redis

Failure = Literal["hangs", "is-gone"]
FAILURES: tuple[Failure, ...] = ("hangs", "is-gone")
LIMIT_S, BUDGET_S = 2.0, 3.0
TARIFFS = {
    **{
        f"talks-on-{failure}": Tariff(
            {"lines": 1, "call_duration": "2s", "total_duration": "3s per 1h"}, mode="gateway"
        )
        for failure in FAILURES
    },
    "waits": Tariff(),
    "hasty": Tariff({"lines": 1}, mode="gateway"),
    **{f"let-in-{failure}": Tariff({"success_calls": "1 per 1h"}) for failure in FAILURES},
}


class Store:
    """A Redis that fails as told and comes back with what it held."""

    def __init__(self, redis: PrivateRedis) -> None:
        self._redis = redis
        self._failure: Failure = "hangs"

    def fails(self, failure: Failure) -> None:
        self._failure = failure
        if failure == "hangs":
            os.kill(self._redis.pid, signal.SIGSTOP)
        else:
            with self._redis.client() as client:
                client.save()
            self._redis.stop()

    def is_back(self) -> None:
        if self._failure == "hangs":
            os.kill(self._redis.pid, signal.SIGCONT)
        else:
            self._redis.start()


@pytest.fixture(scope="module")
def own_redis() -> Iterator[PrivateRedis]:
    with private_redis() as server:
        yield server


@pytest.fixture(scope="module")
def callgate(
    net: Net,
    own_redis: PrivateRedis,
    tariffs: dict[str, Tariff],
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Callgate]:
    """`on_store_failure` is the parameter."""
    settings = settings_of(net, own_redis.url, host=4)
    settings["store"].update(deadline="300ms", on_store_failure=request.param)
    with Processes() as processes:
        service = Callgate(processes, tmp_path_factory.mktemp("store-away"), settings, tariffs)
        service.start()
        yield service


@pytest.mark.parametrize("callgate", ["refuse"], indirect=True)
@pytest.mark.parametrize("failure", FAILURES)
def test_new_calls_are_refused_and_running_ones_are_cut_and_settled(
    stage: Stage, own_redis: PrivateRedis, failure: Failure
) -> None:
    store = Store(own_redis)
    provider = stage.provider()
    callee = stage.callee(provider)
    caller = stage.caller("hung-up-on", who=f"talks-on-{failure}", number=provider.number)
    callee.await_message("ACK ")
    store.fails(failure)

    # It takes some missed deadlines to be sure; each of them is a refusal.
    stage.callgate.until(
        "it says that it takes no calls", lambda: _turned_away(stage, provider) and not stage.callgate.ready()
    )

    caller.succeeds()
    callee.succeeds()
    for side in (caller, callee):
        bye = side.one("BYE ")
        assert LIMIT_S - 0.05 <= bye.at - caller.one("SIP/2.0 200").at <= LIMIT_S + 1.0
        assert "call_duration" in bye.value("Reason")
    assert stage.callgate.record(caller.call_id)["outcome"] == "success"

    store.is_back()
    stage.callgate.until("it takes calls again", stage.callgate.ready)
    stage.callgate.until("all is settled", lambda: stage.callgate.metric("callgate_spool_records") == 0)
    # Its end was counted: its only line is free, and what is left of its talk time is one second.
    callee = stage.callee(provider)
    caller = stage.caller("hung-up-on", who=f"talks-on-{failure}", number=provider.number)
    caller.succeeds()
    callee.succeeds()
    bye = caller.one("BYE ")
    assert "total_duration" in bye.value("Reason")
    left = BUDGET_S - LIMIT_S
    assert left - 0.6 <= bye.at - caller.one("SIP/2.0 200").at <= left + 1.0


@pytest.mark.parametrize("callgate", ["refuse"], indirect=True)
def test_who_gives_up_while_the_store_is_asked_holds_nothing(stage: Stage, own_redis: PrivateRedis) -> None:
    store = Store(own_redis)
    provider = stage.provider()
    uri = f"sip:{provider.number}@{DOMAIN}"
    with stage.phone("hasty", host=Net.TRUSTED) as phone:
        store.fails("hangs")
        invite = phone.request("INVITE", uri, f"Contact: <{phone.contact}>")
        phone.send(invite)
        phone.send(phone.cancel_of(invite))
        answers = [phone.receive() for _ in range(3)]
        phone.acknowledge(answers[-1])
        store.is_back()
    assert [answer.status for answer in answers] == [100, 200, 487]
    # The admission came through after all, and was given back: its only line is free, and nothing failed.
    callee = stage.callee(provider)
    stage.callgate.until("it takes calls", stage.callgate.ready)
    caller = stage.caller(who="hasty", number=provider.number)
    caller.succeeds()
    callee.succeeds()


@pytest.mark.parametrize("callgate", ["admit"], indirect=True)
@pytest.mark.parametrize("failure", FAILURES)
def test_calls_let_in_meanwhile_are_counted_afterwards(
    stage: Stage, own_redis: PrivateRedis, failure: Failure
) -> None:
    before = unchecked(stage)
    store = Store(own_redis)
    store.fails(failure)
    provider = stage.provider()
    callee = stage.callee(provider, calls=2)
    caller = stage.caller(who=f"let-in-{failure}", number=provider.number, calls=2)
    caller.succeeds()
    callee.succeeds()
    assert stage.callgate.ready()
    assert unchecked(stage) - before == 2

    store.is_back()
    stage.callgate.until(
        "the limit holds again", lambda: _refused(stage, f"let-in-{failure}", provider.number)
    )


def unchecked(stage: Stage) -> float:
    """Calls admitted without asking anybody."""
    return stage.callgate.metric("callgate_admissions_total", decision="admitted", reason="store_unavailable")


def _turned_away(stage: Stage, provider: Provider) -> bool:
    refused = stage.caller("refused", who="waits", number=provider.number)
    refused.succeeds()
    refusal = refused.one("SIP/2.0 503")
    assert int(refusal.value("Retry-After")) > 0
    assert "store_unavailable" in refusal.value("Warning")
    return True


def _refused(stage: Stage, who: str, number: str) -> bool:
    """Whether one more call is refused for the limit. It rings nobody: the provider has gone."""
    caller = stage.caller("refused", who=who, number=number)
    caller.succeeds()
    return caller.received("SIP/2.0 402") != []
