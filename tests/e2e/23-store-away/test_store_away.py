"""Redis hangs or is gone: new calls as the policy says, running ones keep their limit, nothing they did is lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from load.processes import Processes
from tests.e2e.net import Net, pause
from tests.e2e.service import DOMAIN, Callgate, Tariff, settings_of
from tests.e2e.stage import Provider, Stage
from tests.e2e.store import FAILURES, Failure, Store
from tests.redis import PrivateRedis, private_redis

LIMIT_S, BUDGET_S = 2.0, 3.0
THREE_SECONDS = Tariff({"lines": 1, "call_duration": "2s", "total_duration": "3s per 1h"}, mode="gateway")
TARIFFS = {
    **{f"talks-on-{failure}": THREE_SECONDS for failure in FAILURES},
    "answered-unheard": THREE_SECONDS,
    "ends-unheard": THREE_SECONDS,
    "waits": Tariff(),
    "hasty": Tariff({"lines": 1}, mode="gateway"),
    **{f"let-in-{failure}": Tariff({"success_calls": "1 per 1h"}) for failure in FAILURES},
}


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
    stage.callgate.until("the store knows of the answer", store.talking)
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
    # Its end was counted: its only line is free, and its talk time was.
    assert_one_second_is_left(stage, f"talks-on-{failure}")


@pytest.mark.parametrize("callgate", ["refuse"], indirect=True)
def test_a_call_answered_while_the_store_hangs_is_counted_from_its_answer(
    stage: Stage, own_redis: PrivateRedis
) -> None:
    store = Store(own_redis)
    provider = stage.provider()
    callee = stage.callee(provider, "answers-later")
    caller = stage.caller("hung-up-on", who="answered-unheard", number=provider.number)
    callee.await_message("INVITE ")
    store.fails("hangs")
    caller.succeeds()
    callee.succeeds()
    store.is_back()
    stage.callgate.until("it takes calls again", stage.callgate.ready)
    stage.callgate.until("all is settled", lambda: stage.callgate.metric("callgate_spool_records") == 0)
    assert_one_second_is_left(stage, "answered-unheard")


@pytest.mark.parametrize("callgate", ["refuse"], indirect=True)
def test_a_call_that_ends_while_the_store_hangs_is_counted_to_its_end(
    stage: Stage, own_redis: PrivateRedis
) -> None:
    store = Store(own_redis)
    provider = stage.provider()
    callee = stage.callee(provider)
    caller = stage.caller(who="ends-unheard", number=provider.number, hold_s=0.5)
    stage.callgate.until("the store knows of the answer", store.talking)
    store.fails("hangs")
    caller.succeeds()
    callee.succeeds()
    pause(2)
    store.is_back()
    stage.callgate.until("it takes calls again", stage.callgate.ready)
    stage.callgate.until("all is settled", lambda: stage.callgate.metric("callgate_spool_records") == 0)
    # Half a second of three was used, or little more: the limit of one call, two seconds, is reached first.
    callee = stage.callee(provider)
    caller = stage.caller("hung-up-on", who="ends-unheard", number=provider.number)
    caller.succeeds()
    callee.succeeds()
    assert "call_duration" in caller.one("BYE ").value("Reason")


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


def assert_one_second_is_left(stage: Stage, who: str) -> None:
    """Of the three of its budget; the next call says so."""
    provider = stage.provider()
    callee = stage.callee(provider)
    caller = stage.caller("hung-up-on", who=who, number=provider.number)
    caller.succeeds()
    callee.succeeds()
    bye = caller.one("BYE ")
    assert "total_duration" in bye.value("Reason")
    left = BUDGET_S - LIMIT_S
    assert left - 0.6 <= bye.at - caller.one("SIP/2.0 200").at <= left + 1.0


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
