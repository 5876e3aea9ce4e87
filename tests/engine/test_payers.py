"""Who pays, as the engine does it: each leg is asked of its payer's limits, or refused before anybody is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.lease import Leg, Outcome
from policies.verdicts import Admitted
from proxy.engine.effects import AskBindings, LimitsChanged
from proxy.engine.events import BindingsFound
from proxy.sip.message import Response
from tests.engine.world import CALLGATE, Phone, World, bound

WORKERS = """
workers:
  free: {kind: official, free: true}
  paid: {kind: official}
  w2: {kind: private, owner: alice, granted_to: [group alice]}
"""
TRUNKS = CALLGATE.replace(
    "routes:\n",
    """  voice: {from: ["192.0.2.30/32"], identity: from, worker: w2, targets: ["sip:192.0.2.30"]}
  paid: {targets: ["sip:192.0.2.40"], worker: paid}
  free: {targets: ["sip:192.0.2.41"], worker: free}
routes:
  - {match: "^7", to: voice}
  - {match: "^8", to: paid}
  - {match: "^9", to: free}
""",
)
PLANS = """
plans:
  free: {auto_activate: true, categories: {softphone: {call_duration: 2m}, gateway: {call_duration: 2m}}}
  company:
    all_workers: yes
    group_size: 2
    categories: {softphone: {total_duration: 10h per 1d, call_duration: 1h}, gateway: {lines: 9}, group: {}}
"""
SUBSCRIBERS = """
subscribers:
  alice:
    accounts: [{user: alice, password: x, mode: softphone}, {user: pbx, password: x, mode: gateway, worker: w2}]
    activations: [{plan: company, since: 2026-01-01}]
    group: {members: [bob, carol]}
  bob: {accounts: [{user: bob, password: x, mode: softphone, users: [alice]}]}
  carol: {accounts: [{user: carol, password: x, mode: softphone}]}
  dave: {accounts: [{user: dave, password: x, mode: softphone, users: [bob]}]}
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path, TRUNKS + WORKERS, PLANS, SUBSCRIBERS)
    world.auto = None
    return world


def asked(world: World, who: str, number: str, host: str = "192.0.2.10") -> list[tuple[str, str]]:
    """(payer, mode) of the legs that a call of `who` asks for, all admitted; [] when it is refused."""
    Phone(world, host, who).invite(f"sip:{number}@example.com", f"{who}-{number}-{host}-{world.now}")
    found: list[Leg] = []
    while world.asked:
        leg = world.asked.pop()
        found.append(leg)
        world.decide(leg, Admitted(leg.lease, []))
    world.advance(1)
    return [(leg.limits.payer, leg.limits.mode) for leg in found]


def refusal(world: World, who: str, number: str) -> tuple[int, str, str]:
    """(status, phrase, warning) of what a call of `who` is answered."""
    phone = Phone(world, "192.0.2.10", who)
    phone.invite(f"sip:{number}@example.com", f"refused-{who}-{number}")
    [answer] = phone.got()
    assert isinstance(answer, Response)
    assert not world.asked, "the limiter was asked for a call that is refused anyway"
    return answer.status, answer.reason, (answer.value("warning") or "").partition('"')[2].rstrip('"')


def test_each_leg_is_asked_of_its_own_payer(world: World) -> None:
    # No Worker: the accounts' own subscribers.
    assert asked(world, "bob", "493") == [("bob", "softphone")]
    assert asked(world, "bob", "carol") == [("bob", "softphone"), ("carol", "softphone")]
    # By the route's Worker, by the far account's, by that of the trunk it comes from.
    assert asked(world, "bob", "71") == [("group:alice", "softphone")]
    assert asked(world, "bob", "pbx") == [("group:alice", "softphone"), ("alice", "gateway")]
    assert asked(world, "carol", "493", "192.0.2.30") == [("group:alice", "softphone")]
    # Both members draw on one pool; the owner pays alone.
    assert asked(world, "carol", "71") == [("group:alice", "softphone")]
    assert asked(world, "alice", "71") == [("alice", "softphone")]
    # A free Worker changes nothing, and a leg has one payer.
    assert asked(world, "dave", "91") == [("dave", "softphone")]
    # What two members do together over the owner's Worker is twice the group's.
    assert asked(world, "bob", "carol", "192.0.2.30") == [("group:alice", "softphone")] * 2


def test_counters_for_each_member(world: World) -> None:
    world.reload(
        subscribers=SUBSCRIBERS.replace(
            "members: [bob, carol]", "members: [bob, carol], counters: per_member"
        )
    )
    assert asked(world, "bob", "71") == [("group:alice:bob", "softphone")]
    assert asked(world, "carol", "71") == [("group:alice:carol", "softphone")]


def test_the_limits_asked_with_are_those_that_the_group_is_lent(world: World) -> None:
    Phone(world, "192.0.2.10", "bob").invite("sip:71@example.com")
    [leg] = world.asked
    assert leg.limits.total_duration is not None
    assert leg.limits.total_duration.counter == "company@20260101T000000Z:softphone:total_duration"
    assert leg.limits.call_duration is not None
    assert leg.limits.call_duration.value == 3_600_000
    assert leg.limits.lines is None


def test_a_worker_that_the_payer_may_not_use_is_named(world: World) -> None:
    assert refusal(world, "dave", "81") == (
        402,
        "SIP account has disallowed settings",
        "worker: the payer may not use the Worker paid: it is not free, and no active plan of the payer has "
        "all_workers",
    )
    status, _, words = refusal(world, "dave", "71")
    assert (status, words) == (
        402,
        "worker: the payer may not use the Worker w2: it is private and was not granted to dave",
    )
    assert [record.reason for record in world.records] == ["worker", "worker"]
    assert [record.payers for record in world.records] == [["dave"], ["dave"]]
    world.idle()


def test_the_callees_payer_is_looked_at_too(world: World) -> None:
    # dave may call anybody, but not over alice's Worker, and it is the far end that names it.
    assert refusal(world, "dave", "pbx")[0] == 402
    # An outside caller pays nothing: the callee's payer alone must be allowed the Worker.
    outside = Phone(world, "192.0.2.20", "outside")
    outside.invite("sip:pbx@example.com", "c-in")
    [leg] = world.asked
    assert (leg.limits.payer, leg.direction) == ("alice", "in")


def test_a_group_with_too_many_members_refuses_their_group_calls(world: World) -> None:
    world.reload(subscribers=SUBSCRIBERS.replace("members: [bob, carol]", "members: [bob, carol, dave]"))
    assert refusal(world, "bob", "71") == (
        403,
        "Group is disabled",
        "group_disabled: more members with access than the owner's plans allow: 3, and group_size is 2",
    )
    # Calls that the group does not pay are not its matter, and the owner is no member.
    assert asked(world, "bob", "493") == [("bob", "softphone")]
    assert asked(world, "alice", "71") == [("alice", "softphone")]
    # One leaves, and the group is back.
    world.reload(subscribers=SUBSCRIBERS)
    assert asked(world, "bob", "71") == [("group:alice", "softphone")]


def test_who_calls_with_an_account_is_not_who_pays(world: World) -> None:
    # alice may call with bob's account and bob with dave's; the accounts' owners are whom the tariff asks about.
    assert asked(world, "bob", "71") == [("group:alice", "softphone")]
    assert asked(world, "dave", "71") == []
    assert asked(world, "dave", "493") == [("dave", "softphone")]


class TestACalleeForWhomTheGroupPays:
    """Its bindings are with its own subscriber's keys, out of reach of the script that admits its leg."""

    def called(self, world: World) -> tuple[Phone, AskBindings]:
        """An outside caller calls bob's PBX account on alice's Worker: admitted, and where bob is is asked for."""
        world.reload(subscribers=SUBSCRIBERS.replace("{user: bob,", "{user: bob, worker: w2,"))
        outside = Phone(world, "192.0.2.20", "outside")
        outside.invite("sip:bob@example.com", "c-in")
        [leg] = world.asked
        assert (leg.limits.payer, leg.aor) == ("group:alice", "")
        world.asked.clear()
        world.decide(leg, Admitted(leg.lease))
        [asked] = world.of(AskBindings)
        assert (asked.payer, asked.aor) == ("bob", "bob@example.com")
        return outside, asked

    def test_it_is_called_where_it_registered(self, world: World) -> None:
        outside, asked = self.called(world)
        bob = Phone(world, "192.0.2.50", "bob")
        world.handle(BindingsFound(bound(("192.0.2.50", "1000")), asked.user))
        assert outside.statuses() == [100]
        assert [request.method for request in bob.requests()] == ["INVITE"]

    def test_one_who_is_not_registered_costs_nothing(self, world: World) -> None:
        outside, asked = self.called(world)
        world.handle(BindingsFound([], asked.user))
        assert outside.statuses() == [100, 480]
        assert world.released == [("bob@example.com", Outcome.VOID)]

    def test_the_store_is_away_in_between(self, world: World) -> None:
        outside, asked = self.called(world)
        world.handle(BindingsFound(None, asked.user))
        assert outside.statuses() == [100, 503]
        assert world.released == [("bob@example.com", Outcome.VOID)]

    def test_the_caller_gives_up_in_between(self, world: World) -> None:
        outside, asked = self.called(world)
        outside.cancel("sip:bob@example.com", "c-in")
        assert outside.statuses() == [100, 200, 487]
        world.handle(BindingsFound([], asked.user))
        assert world.released == [("bob@example.com", Outcome.FAIL)]
        world.idle()


class TestRunningGroupCalls:
    def answered(self, world: World, who: str = "bob") -> Phone:
        world.auto = lambda leg: Admitted(leg.lease)
        caller, callee = Phone(world, "192.0.2.10", who), Phone(world, "192.0.2.30", "voice")
        caller.invite("sip:71@example.com", f"c-{who}")
        [invite] = callee.requests()
        callee.answer(invite, 200, "OK")
        caller.got()
        return callee

    def test_they_feel_what_the_owner_changes(self, world: World) -> None:
        callee = self.answered(world)
        world.advance(600)
        world.reload(plans=PLANS.replace("call_duration: 1h", "call_duration: 10m"))
        [limits] = [effect.limits for effect in world.of(LimitsChanged)]
        assert limits.payer == "group:alice"
        assert [request.method for request in callee.requests()] == ["BYE"]

    def test_who_pays_stays_when_the_group_changes(self, world: World) -> None:
        callee = self.answered(world)
        # Counters for each member from now on; then bob is no member any more; then there are too many.
        for group in ("[bob, carol], counters: per_member", "[carol]", "[bob, carol, dave]"):
            world.reload(subscribers=SUBSCRIBERS.replace("[bob, carol]", group))
            [call] = world.engine.core.calls.values()
            assert [leg.limits.payer for leg in call.legs] == ["group:alice"]
        assert world.of(LimitsChanged) == []
        assert not callee.requests()

    def test_the_end_of_what_the_owner_lends_ends_them(self, world: World) -> None:
        callee = self.answered(world)
        world.reload(plans=PLANS.replace("group: {}", "").replace("{lines: 9}, }", "{lines: 9}}"))
        [bye] = callee.requests()
        assert bye.value("reason") == 'SIP ;cause=402 ;text="no active tariff plan any more"'
