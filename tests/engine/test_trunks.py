"""A trunk with several targets: priorities and weights, who is out and how they come back (RFC 3263 §4.3, OPTIONS)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from policies.lease import Outcome
from policies.verdicts import Admitted
from proxy.engine import trunks
from proxy.engine.effects import AskAdmission, AskName
from proxy.engine.events import FlowFailed, SnapshotChanged, Started
from proxy.engine.reach import OutageCause
from tests.engine.world import CALLGATE, Phone, World

NUMBER = "sip:4930@example.com"
TARGETS = '["sip:192.0.2.20:5060", "sip:192.0.2.21:5060"]'
HOSTS = ("192.0.2.20", "192.0.2.21", "192.0.2.22")


def world_of(folder: Path, targets: str = TARGETS, more: str = "") -> tuple[World, Phone, list[Phone]]:
    world = World(
        folder, CALLGATE.replace(TARGETS, targets).replace("identity: none", f"identity: none{more}")
    )
    return world, Phone(world, "192.0.2.10", "alice"), [Phone(world, host, "provider") for host in HOSTS]


def state(world: World, number: int = 0) -> str:
    """Of the provider's target with this number, as an operator sees it."""
    [shown] = [trunk for trunk in trunks.shown(world.engine.core, world.now) if trunk["trunk"] == "provider"]
    found: str = shown["targets"][number]["state"]
    return found


def invites(phone: Phone) -> list[str]:
    return [request.call_id for request in phone.requests() if request.method == "INVITE"]


# The order -----------------------------------------------------------------------------------------------------------


def test_plain_targets_are_tried_in_their_order(tmp_path: Path) -> None:
    _, caller, (first, second, _) = world_of(tmp_path)
    for n in range(20):
        caller.invite(NUMBER, f"c{n}")
    assert len(invites(first)) == 20
    assert not second.got()


def test_calls_are_shared_by_weight_within_a_priority(tmp_path: Path) -> None:
    targets = (
        '[{uri: "sip:192.0.2.22", priority: 2}, {uri: "sip:192.0.2.20", priority: 1, weight: 3},'
        ' {uri: "sip:192.0.2.21", priority: 1}]'
    )
    _, caller, phones = world_of(tmp_path, targets)
    for n in range(400):
        caller.invite(NUMBER, f"c{n}")
    share = [len(invites(phone)) for phone in phones]
    assert share[2] == 0
    assert 260 < share[0] < 340
    assert share[0] + share[1] == 400


def test_when_those_of_a_priority_fail_the_next_one_is_tried(tmp_path: Path) -> None:
    targets = (
        '[{uri: "sip:192.0.2.22", priority: 2}, {uri: "sip:192.0.2.20", priority: 1, weight: 3},'
        ' {uri: "sip:192.0.2.21", priority: 1}]'
    )
    world, caller, (first, second, last) = world_of(tmp_path, targets)
    caller.invite(NUMBER)
    for _ in range(2):
        [phone] = [phone for phone in (first, second) if invites(phone) == ["c1"]]
        assert not last.got()
        world.handle(FlowFailed(phone.flow))
    assert invites(last) == ["c1"]


# Calls that fail -----------------------------------------------------------------------------------------------------


def test_a_target_that_refused_its_connection_is_tried_last_for_a_while(tmp_path: Path) -> None:
    world, caller, (first, second, _) = world_of(tmp_path, more=", block: 30s")
    caller.invite(NUMBER, "c1")
    world.handle(FlowFailed(first.flow))
    assert state(world) == "suspect"
    caller.invite(NUMBER, "c2")
    assert invites(first) == ["c1"]
    came = second.requests()
    assert [invite.call_id for invite in came] == ["c1", "c2"]
    for invite in came:
        second.answer(invite, 100, "Trying")
    world.advance(29.9)
    caller.invite(NUMBER, "c3")
    assert invites(second)[-1] == "c3"
    world.advance(0.2)
    assert state(world) == "up"
    caller.invite(NUMBER, "c4")
    assert invites(first) == ["c4"]


def test_a_suspect_is_better_than_nobody(tmp_path: Path) -> None:
    world, caller, (first, second, _) = world_of(tmp_path)
    caller.invite(NUMBER, "c1")
    for phone in (first, second):
        world.handle(FlowFailed(phone.flow))
    assert caller.statuses() == [100, 500]
    caller.invite(NUMBER, "c2")
    [_, invite] = first.requests()
    first.answer(invite, 200, "OK")
    assert caller.statuses() == [100, 200]
    # And it is no suspect any more.
    assert state(world) == "up"
    assert state(world, 1) == "suspect"


def test_silence_blocks_and_a_late_word_does_not(tmp_path: Path) -> None:
    world, caller, (_, second, _) = world_of(tmp_path, more=", answer_timeout: 2s")
    caller.invite(NUMBER, "c1")
    world.advance(2.1)
    assert state(world) == "suspect"
    assert world.engine.core.counters.trunk_outages[OutageCause.TIMEOUT] == 1
    second.answer(second.requests()[0], 100, "Trying")
    # Timer C: it was alive, whoever it called was not.
    world.advance(200)
    assert state(world, 1) == "up"


@pytest.mark.parametrize("value", ["7", "7 (maintenance)", "7;duration=60"])
def test_retry_after_keeps_a_target_out_altogether(tmp_path: Path, value: str) -> None:
    world, caller, (first, second, _) = world_of(tmp_path)
    caller.invite(NUMBER, "c1")
    first.answer(first.requests()[0], 503, "Service Unavailable", "t1", f"Retry-After: {value}")
    assert state(world) == "down"
    second.answer(second.requests()[0], 503, "Service Unavailable", "t2", f"Retry-After: {value}")
    assert caller.statuses() == [100, 500]
    world.asked.clear()
    caller.invite(NUMBER, "c2")
    # Nobody is bothered, and nothing is asked of the limiter: the call costs its payer nothing.
    assert not invites(first)
    assert not invites(second)
    assert caller.statuses() == [500]
    assert [record.reason for record in world.records] == ["", "trunk_down"]
    assert world.released == [("alice@example.com", Outcome.FAIL)]
    world.advance(7.1)
    caller.invite(NUMBER, "c3")
    assert invites(first) == ["c3"]


def test_a_plain_503_fails_over_and_is_a_suspicion_only(tmp_path: Path) -> None:
    world, caller, (first, second, _) = world_of(tmp_path)
    caller.invite(NUMBER, "c1")
    first.answer(first.requests()[0], 503, "Service Unavailable")
    assert state(world) == "suspect"
    assert invites(second) == ["c1"]


def test_block_0_forgets_at_once(tmp_path: Path) -> None:
    world, caller, (first, _, _) = world_of(tmp_path, more=", block: 0s")
    caller.invite(NUMBER, "c1")
    world.handle(FlowFailed(first.flow))
    assert state(world) == "up"


def test_a_limit_is_touched_once_however_many_targets_fail(tmp_path: Path) -> None:
    world, caller, phones = world_of(tmp_path, '["sip:192.0.2.20", "sip:192.0.2.21", "sip:192.0.2.22"]')
    world.auto = None
    caller.invite(NUMBER)
    [leg] = world.asked
    world.decide(leg, Admitted(leg.lease))
    branches = set()
    for phone in phones:
        [invite] = phone.requests()
        branches.add(invite.via.branch)
        phone.answer(invite, 503, "Service Unavailable")
    assert len(branches) == 3
    assert world.asked == [leg]
    assert not world.of(AskAdmission)
    assert world.released == [("alice@example.com", Outcome.FAIL)]
    world.idle()


# OPTIONS -------------------------------------------------------------------------------------------------------------

HEALTH = ", health: {every: 30s, timeout: 4s, failures: 2}"


def checks(phone: Phone) -> list[str]:
    return [request.method for request in phone.requests()]


def test_without_health_nobody_is_asked(tmp_path: Path) -> None:
    world, _, phones = world_of(tmp_path)
    world.handle(Started())
    world.advance(300)
    assert not any(phone.got() for phone in phones)


def test_a_target_that_does_not_answer_options_gets_no_calls_until_it_does(tmp_path: Path) -> None:
    world, caller, (first, second, _) = world_of(tmp_path, more=HEALTH)
    world.handle(Started())
    world.advance(1)
    options = first.requests()[-1]
    assert (options.method, options.uri) == ("OPTIONS", "sip:192.0.2.20:5060")
    assert second.requests()
    world.advance(30)
    assert state(world) == "up"  # one failed check is none
    world.advance(5)
    assert state(world) == "down"
    caller.invite(NUMBER, "c1")
    assert not invites(first)
    assert caller.statuses() == [500]  # the second did not answer either
    first.got()
    world.advance(26)
    first.answer(max(first.requests(), key=lambda request: request.cseq), 200, "OK")
    assert state(world) == "up"
    caller.invite(NUMBER, "c2")
    assert invites(first) == ["c2"]


@pytest.mark.parametrize(
    ("status", "alive"), [(200, True), (404, True), (405, True), (483, True), (503, False)]
)
def test_any_answer_but_503_is_a_sign_of_life(tmp_path: Path, status: int, alive: bool) -> None:
    world, _, (first, _, _) = world_of(tmp_path, more=", health: {every: 30s, failures: 1}")
    world.handle(Started())
    world.advance(1)
    first.answer(first.requests()[0], status, "Whatever")
    assert state(world) == ("up" if alive else "down")


@pytest.mark.rfc3261("8.1.3.1-2")
def test_an_address_that_refuses_fails_its_check_at_once(tmp_path: Path) -> None:
    world, _, (first, _, _) = world_of(tmp_path, more=", health: {every: 30s, failures: 1}")
    world.handle(Started())
    world.advance(1)
    world.handle(FlowFailed(first.flow))
    assert state(world) == "down"


def test_a_good_check_clears_a_suspicion_but_not_a_retry_after(tmp_path: Path) -> None:
    world, caller, (first, second, _) = world_of(tmp_path, more=f"{HEALTH}, block: 1h")
    world.handle(Started())
    world.advance(1)
    for phone in (first, second):
        phone.answer(phone.requests()[0], 200, "OK")
    caller.invite(NUMBER, "c1")
    first.answer(first.requests()[0], 503, "Service Unavailable")
    second.answer(second.requests()[0], 503, "Service Unavailable", "t", "Retry-After: 100")
    assert (state(world), state(world, 1)) == ("suspect", "down")
    [ack] = second.requests()
    assert ack.method == "ACK"
    first.got()
    world.advance(30)
    first.answer(first.requests()[0], 200, "OK")
    assert (state(world), state(world, 1)) == ("up", "down")
    # It asked to be left alone, and it is.
    assert not second.got()
    world.advance(71)
    assert state(world, 1) == "up"


def test_each_server_behind_a_name_is_checked(tmp_path: Path) -> None:
    world, caller, (first, second, _) = world_of(
        tmp_path, '["sip:provider.test"]', ", health: {every: 30s, failures: 1}"
    )
    world.handle(Started())
    assert state(world) == "unknown"
    world.advance(1)
    world.found("provider.test", HOSTS[0], HOSTS[1], ttl=3600)
    second.answer(second.requests()[0], 200, "OK")
    assert checks(first) == ["OPTIONS"]
    world.advance(5)
    # One of two is out: the name still leads somewhere, to the other.
    assert state(world) == "up"
    for n in range(5):
        caller.invite(NUMBER, f"c{n}")
    assert len(invites(second)) == 5
    assert not invites(first)
    assert len(world.of(AskName)) == 1


def test_rounds_begin_apart_and_go_on_over_a_reload_that_leaves_them_alone(tmp_path: Path) -> None:
    world, _, (first, _, _) = world_of(tmp_path, more=HEALTH)
    world.handle(Started())
    for _ in range(5):
        world.handle(SnapshotChanged(world.engine.core.snapshot))
    world.advance(100)
    options = {request.via.branch for request in first.requests()}
    assert len(options) == 4


def test_a_trunk_whose_checks_are_taken_away_is_up_again(tmp_path: Path) -> None:
    world, _, (first, _, _) = world_of(tmp_path, more=", health: {every: 30s, failures: 1}")
    world.handle(Started())
    world.advance(10)
    assert state(world) == "down"
    (tmp_path / "other").mkdir()
    other, _, _ = world_of(tmp_path / "other")
    world.handle(SnapshotChanged(other.engine.core.snapshot))
    assert state(world) == "up"
    first.got()
    # What was under way when they ended says nothing any more.
    world.advance(60)
    assert state(world) == "up"
    assert {request.method for request in first.requests()} <= {"OPTIONS"}
    world.advance(400)
    assert not first.got()


def test_operators_see_each_target_and_why(tmp_path: Path) -> None:
    world, caller, (first, second, _) = world_of(tmp_path, more=HEALTH)
    world.handle(Started())
    world.advance(1)
    second.answer(second.requests()[0], 200, "OK")
    caller.invite(NUMBER)
    world.handle(FlowFailed(first.flow))
    [shown] = [trunk for trunk in trunks.shown(world.engine.core, world.now) if trunk["trunk"] == "provider"]
    suspect, well = (target["addresses"][0] for target in shown["targets"])
    assert (suspect["address"], suspect["state"], suspect["cause"]) == (
        "udp:192.0.2.20:5060",
        "suspect",
        "transport",
    )
    assert suspect["until_s"] == 30.0
    assert well["state"] == "up"
    assert well["failed_checks"] == 0
    counted = trunks.counted(world.engine.core)
    assert counted["provider", "up"] == counted["provider", "suspect"] == 1
    assert counted["provider", "down"] == counted["provider", "unknown"] == 0
    assert Counter(name for name, _ in counted) == {"pbx": 4, "provider": 4}
