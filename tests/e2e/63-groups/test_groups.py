"""Groups and Workers: who pays a member's call on the owner's Worker, and who may use which Worker at all.

Providers dialled by 1nn are reached by the Worker of `boss`, those of 2nn (TCP) by one that costs extra; two more
groups have Workers of their own, which the accounts of their members name.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from load.processes import Processes
from tests.e2e.files import Files, subscriber
from tests.e2e.net import Net
from tests.e2e.service import Settings, settings_of
from tests.e2e.stage import Stage
from tests.redis import PrivateRedis

BUDGET_S = 4.0
WORKERS: Settings = {
    "of-boss": {"kind": "private", "owner": "boss", "granted_to": ["group boss"]},
    "of-each": {"kind": "private", "owner": "each", "granted_to": ["group each"]},
    "of-crowd": {"kind": "private", "owner": "crowd", "granted_to": ["group crowd"]},
    "costs-extra": {"kind": "official"},
}
PLANS: Settings = {
    "none": {"categories": {"softphone": {}}},
    "wide": {"all_workers": True, "categories": {"softphone": {}}},
    "three-calls": {
        "all_workers": True,
        "group_size": 4,
        "categories": {"softphone": {"success_calls": "3 per 1h"}, "group": {}},
    },
    "one-call": {
        "all_workers": True,
        "group_size": 2,
        "categories": {
            "softphone": {"success_calls": "1 per 1h", "total_duration": f"{BUDGET_S:g}s per 1h"},
            "group": {},
        },
    },
}


def member(name: str, worker: str = "") -> Settings:
    """A subscriber with a plan of its own that grants no Worker; its account names this one."""
    found = subscriber(name, plan="none")
    if worker:
        found["accounts"][0]["worker"] = worker
    return found


SUBSCRIBERS: Settings = {
    "boss": subscriber("boss", plan="three-calls", group={"members": ["anna", "ben", "cleo", "pia"]}),
    "anna": member("anna"),
    "ben": member("ben"),
    "cleo": member("cleo"),
    # Her telephone is attached through the Worker of the boss.
    "pia": member("pia", "of-boss"),
    "each": subscriber(
        "each", plan="one-call", group={"members": ["dora", "emil"], "counters": "per_member"}
    ),
    "dora": member("dora", "of-each"),
    "emil": member("emil", "of-each"),
    "crowd": subscriber("crowd", plan="one-call", group={"members": ["finn", "gina", "hugo"]}),
    "finn": member("finn", "of-crowd"),
    "gina": member("gina", "of-crowd"),
    "hugo": member("hugo", "of-crowd"),
    "poor": member("poor"),
    "rich": subscriber("rich", plan="wide"),
    "by-template": subscriber(
        "by-template",
        plan="none",
        templates={"operator": {"domain": "sip.example.net", "worker": "costs-extra"}},
    ),
}
SUBSCRIBERS["by-template"]["accounts"][0]["template"] = "operator"


@pytest.fixture(scope="module")
def callgate(net: Net, redis: PrivateRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Files]:
    settings = settings_of(net, redis.url, host=21)
    settings["workers"] = WORKERS
    for name, trunk in settings["trunks"].items():
        if name.startswith("provider1"):
            trunk["worker"] = "of-boss"
        elif name.startswith("provider2"):
            trunk["worker"] = "costs-extra"
    with Processes() as processes:
        service = Files(processes, tmp_path_factory.mktemp("groups"), settings, PLANS, SUBSCRIBERS)
        service.start()
        yield service
        assert service.metric("callgate_internal_errors_total") == 0, service.running.tail(60)


def refused(stage: Stage, who: str, number: str, start: str) -> str:
    """The Warning of the refusal, which begins with `start`."""
    caller = stage.caller("refused", who=who, number=number)
    caller.succeeds()
    answer = caller.one("SIP/2.0 4")
    assert answer.start == f"SIP/2.0 {start}"
    return answer.value("Warning").partition('"')[2].rstrip('"')


def test_members_draw_on_one_pool_and_the_owner_on_his_own(stage: Stage) -> None:
    provider = stage.provider()
    callee = stage.callee(provider, calls=4)
    for who in ("anna", "ben", "cleo"):
        caller = stage.caller(who=who, number=provider.number)
        caller.succeeds()
        record = stage.callgate.record(caller.call_id)
        assert (record["payers"], record["outcome"]) == (["group:boss"], "success")
    words = refused(stage, "anna", provider.number, "402 Amount of success calls is exceeded")
    assert words.startswith("success_calls reached: the limit on answered calls is 3 per 1h; resets in ")
    owner = stage.caller(who="boss", number=provider.number)
    owner.succeeds()
    assert stage.callgate.record(owner.call_id)["payers"] == ["boss"]
    callee.succeeds()


def test_counters_for_each_member(stage: Stage) -> None:
    """Neither's calls take from the other: both talk their whole budget, and each has one call."""
    first, second = stage.two_providers()
    callee = stage.callee(first, calls=2)
    del second
    callers = [stage.caller("hung-up-on", who=who, number=first.number) for who in ("dora", "emil")]
    for who, caller in zip(("dora", "emil"), callers, strict=True):
        caller.succeeds()
        answered, bye = caller.one("SIP/2.0 200"), caller.one("BYE ")
        assert BUDGET_S - 0.5 <= bye.at - answered.at <= BUDGET_S + 1.0
        assert bye.value("Reason") == 'SIP ;cause=402 ;text="total_duration reached"'
        assert stage.callgate.record(caller.call_id)["payers"] == [f"group:each:{who}"]
        refused(stage, who, first.number, "402 Total calls duration is exceeded")
    callee.succeeds()


def test_a_group_with_too_many_members_is_disabled(stage: Stage) -> None:
    first, _ = stage.two_providers()
    words = refused(stage, "finn", first.number, "403 Group is disabled")
    assert words == (
        "group_disabled: more members with access than the owner's plans allow: 3, and group_size is 2"
    )
    assert stage.callgate.metric("callgate_admissions_total", reason="group_disabled") == 1


def test_a_worker_that_costs_extra_is_for_who_has_all_workers_or_a_template_with_it(stage: Stage) -> None:
    provider = stage.provider("TCP")
    words = refused(stage, "poor", provider.number, "402 SIP account has disallowed settings")
    assert words == (
        "worker: the payer may not use the Worker costs-extra: it is not free, and no active plan of the payer has "
        "all_workers"
    )
    callee = stage.callee(provider, calls=2)
    for who in ("rich", "by-template"):
        caller = stage.caller(who=who, number=provider.number)
        caller.succeeds()
        assert stage.callgate.record(caller.call_id)["payers"] == [who]
    callee.succeeds()


def test_a_private_worker_is_for_members_though_others_have_all_workers(stage: Stage) -> None:
    provider = stage.provider()
    words = refused(stage, "rich", provider.number, "402 SIP account has disallowed settings")
    assert (
        words == "worker: the payer may not use the Worker of-boss: it is private and was not granted to rich"
    )


def test_a_member_who_is_called_is_paid_for_and_found_where_it_registered(stage: Stage) -> None:
    callee = stage.registered("pia")
    caller = stage.caller(who="stranger", number="pia", host=Net.OUTSIDE, call_id=callee.call_id, hold_s=0.2)
    caller.succeeds()
    callee.succeeds()
    record = stage.callgate.record(caller.call_id)
    assert (record["payers"], record["direction"], record["outcome"]) == (["group:boss"], "in", "success")
