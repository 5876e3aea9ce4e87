"""A tariff that changes while calls run, as the operator has it read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.lease import Outcome
from policies.verdicts import Admitted
from proxy.engine import replan
from proxy.sip.message import Response
from tests.engine.tariff import bought, changed, cut_for, plans
from tests.engine.world import PLANS, SUBSCRIBERS, Phone, World, answered, ringing, set_up


class TestCallDuration:
    def test_a_raised_limit_extends_a_running_call(self, world: World) -> None:
        caller, callee, _, _ = set_up(world)
        world.advance(3000)
        world.reload(plans=plans("call_duration: 2h"))
        world.advance(4199)
        assert not callee.got()
        world.advance(1.1)
        cut_for("call_duration reached", callee, caller)
        world.idle()

    def test_a_lowered_one_is_counted_from_the_answer(self, world: World) -> None:
        caller, callee, _, _ = set_up(world)
        world.advance(600)
        world.reload(plans=plans("call_duration: 20m"))
        world.advance(599)
        assert not callee.got()
        world.advance(1.1)
        cut_for("call_duration reached", callee, caller)
        world.idle()

    def test_one_that_is_past_already_cuts_at_once(self, world: World) -> None:
        caller, callee, _, _ = set_up(world)
        world.advance(600)
        world.reload(plans=plans("call_duration: 5m"))
        cut_for("call_duration reached", callee, caller)
        assert world.released == [("alice@example.com", Outcome.SUCCESS)]
        world.idle()

    def test_unlimited_lifts_it_and_a_new_one_comes_into_force(self, world: World) -> None:
        caller, callee, _, ok = set_up(world)
        world.reload(plans=plans("call_duration: unlimited"))
        world.advance(50_000)
        assert not callee.got()
        world.reload(plans=plans("call_duration: 15h"))
        world.advance(3_999)
        assert not callee.got()
        world.advance(1.1)
        cut_for("call_duration reached", callee, caller)
        world.idle()
        assert ok.status == 200

    def test_of_two_legs_the_lower_limit_holds(self, world: World) -> None:
        world.auto = lambda leg: Admitted(leg.lease, [] if leg.direction == "out" else None)
        caller, callee, _, _ = set_up(world)
        call = next(iter(world.engine.core.calls.values()))
        assert [leg.limits.payer for leg in call.legs] == ["alice"]
        world.reload(plans=plans("call_duration: {value: 1s, counts: incoming}"))
        # Its only leg is an outgoing one, so the new limit does not apply.
        world.advance(9_000)
        assert not callee.got()
        world.reload(plans=plans("call_duration: {value: 1s, counts: outgoing}"))
        cut_for("call_duration reached", callee, caller)
        world.idle()

    def test_a_mutable_option_changed_in_the_activation(self, tmp_path: Path) -> None:
        office = "plans: {office: {categories: {softphone: {call_duration: {value: 1h, mutable: yes}}}}}"
        world = World(tmp_path, plans=office, subscribers=bought("{plan: office, since: 2026-01-01}"))
        caller, callee, _, _ = set_up(world)
        chosen = "{plan: office, since: 2026-01-01, options: {softphone.call_duration: 10m}}"
        world.reload(subscribers=bought(chosen))
        world.advance(599)
        assert not callee.got()
        world.advance(1.1)
        cut_for("call_duration reached", callee, caller)
        world.idle()


class TestCallsNotYetAnswered:
    def test_a_call_that_rings_is_answered_under_the_new_limits(self, world: World) -> None:
        caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
        invite = ringing(caller, callee)
        world.reload(plans=plans("call_duration: 5m"))
        world.advance(50)
        callee.answer(invite, 200, "OK")
        [ok] = caller.got()
        assert isinstance(ok, Response)
        caller.within("ACK", ok, 1)
        callee.got()
        world.advance(299)
        assert not callee.got()
        world.advance(1.1)
        cut_for("call_duration reached", callee, caller)
        world.idle()

    def test_so_is_one_whose_admission_is_under_way(self, world: World) -> None:
        world.auto = None
        caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
        caller.invite("sip:4930@example.com")
        [leg] = world.asked
        world.reload(plans=plans("call_duration: 5m"))
        assert leg.limits.call_duration is not None
        assert leg.limits.call_duration.value == 300_000
        # The limiter hears of it before the verdict comes.
        assert changed(world) == [leg.limits]
        world.decide(leg, Admitted(leg.lease))
        [invite] = callee.requests()
        callee.answer(invite, 200, "OK")
        caller.got()
        world.advance(300.1)
        assert [request.method for request in callee.requests()] == ["BYE"]

    def test_one_whose_payer_has_no_plan_any_more_is_given_up(self, world: World) -> None:
        caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
        invite = ringing(caller, callee)
        world.reload(subscribers=bought())
        [refused] = caller.got()
        assert isinstance(refused, Response)
        assert (refused.status, refused.reason) == (402, "SIP account has disallowed settings")
        assert "no active tariff plan contains the mode softphone" in (refused.value("warning") or "")
        [cancel] = callee.requests()
        assert cancel.method == "CANCEL"
        callee.answer(cancel, 200, "OK")
        callee.answer(invite, 487, "Request Terminated")
        callee.got()
        assert world.released == [("alice@example.com", Outcome.FAIL)]
        world.idle()

    def test_and_one_whose_admission_is_under_way_as_well(self, world: World) -> None:
        world.auto = None
        caller = Phone(world, "192.0.2.10", "alice")
        caller.invite("sip:4930@example.com")
        [leg] = world.asked
        world.reload(subscribers=bought())
        assert caller.statuses() == [100, 402]
        world.decide(leg, Admitted(leg.lease))
        assert world.released == [("alice@example.com", Outcome.FAIL)]
        world.idle()


class TestTotalDuration:
    def test_the_limiter_is_told_once_and_its_new_plan_holds(self, world: World) -> None:
        calls = [set_up(world, f"c{i}") for i in range(3)]
        caller, callee = calls[0][:2]
        [old] = {leg.limits for call in world.engine.core.calls.values() for leg in call.legs}
        world.budget(old, 100.0, 1)
        world.reload(plans=plans("total_duration: 20h per 1d"))
        [new] = changed(world)
        assert new.total_duration is not None
        assert (new.payer, new.mode, new.total_duration.value) == ("alice", "softphone", 72_000_000)
        assert {leg.limits for call in world.engine.core.calls.values() for leg in call.legs} == {new}
        # What was planned under the lower limit ends nobody, though the store has not answered yet.
        world.advance(200)
        assert not callee.got()
        world.budget(new, 50.0, 2)
        world.advance(50.1)
        byes = callee.requests()
        assert [bye.value("reason") for bye in byes] == ['SIP ;cause=402 ;text="total_duration reached"'] * 3
        for bye in [*byes, *caller.requests()]:
            (callee if bye in byes else caller).answer(bye, 200, "OK")
        world.idle()

    def test_a_lowered_limit_keeps_the_old_moment_until_the_store_has_planned_anew(
        self, world: World
    ) -> None:
        caller, callee, _, _ = set_up(world)
        [leg] = next(iter(world.engine.core.calls.values())).legs
        world.budget(leg.limits, 100.0, 1)
        world.reload(plans=plans("total_duration: 1h per 1d"))
        world.advance(99)
        assert not callee.got()
        world.advance(1.1)
        cut_for("total_duration reached", callee, caller)
        world.idle()

    def test_an_unlimited_budget_has_no_end(self, world: World) -> None:
        _, callee, _, _ = set_up(world)
        [leg] = next(iter(world.engine.core.calls.values())).legs
        before = leg.limits
        world.budget(before, 100.0, 1)
        world.reload(plans=plans("total_duration: unlimited"))
        # A plan that was under way when the tariff changed comes late.
        world.budget(before, 10.0, 2)
        world.advance(5_000)
        assert not callee.got()

    def test_a_call_joins_a_budget_that_was_not_there_when_it_was_answered(self, tmp_path: Path) -> None:
        world = World(tmp_path, plans=plans("call_duration: unlimited"))
        caller, callee, _, _ = set_up(world)
        [leg] = next(iter(world.engine.core.calls.values())).legs
        world.budget(leg.limits, 1.0, 1)
        world.advance(5)
        assert not callee.got()
        world.reload(plans=plans("total_duration: 10s per 1d"))
        [new] = changed(world)
        world.budget(new, 5.0, 2)
        world.advance(5.1)
        cut_for("total_duration reached", callee, caller)
        world.idle()

    def test_only_calls_that_count_are_cut(self, world: World) -> None:
        caller, callee, _, _ = set_up(world)
        world.reload(plans=plans("total_duration: {value: 10s per 1d, counts: incoming}"))
        [new] = changed(world)
        world.budget(new, 1.0, 1)
        world.advance(2)
        assert not callee.got()
        assert not caller.got()


class TestWhoIsTouched:
    def test_a_reload_that_changes_nothing_is_felt_by_nobody(self, world: World) -> None:
        set_up(world)
        world.reload()
        assert changed(world) == []

    def test_nor_what_only_new_calls_feel(self, world: World) -> None:
        _, callee, _, _ = set_up(world)
        office = PLANS.replace("softphone: {", "softphone: {sip_accounts: 1, ")
        world.reload(plans=office.replace("    categories:", "    all_workers: yes\n    categories:"))
        assert changed(world) == []
        world.advance(3_599)
        assert not callee.got()

    def test_numbers_of_calls_reach_the_limiter_and_cut_nothing(self, world: World) -> None:
        _, callee, _, _ = set_up(world)
        world.reload(plans=PLANS.replace("success_calls: 100 per 1d", "success_calls: 1 per 1d"))
        [new] = changed(world)
        assert new.success_calls is not None
        assert new.success_calls.value == 1
        assert not callee.got()

    def test_many_payers_are_re_planned_in_turns(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(replan, "PAYERS_A_TURN", 2)
        names = [f"s{i}" for i in range(5)]
        accounts = "".join(
            f"  {name}:\n    accounts: [{{user: {name}, password: x, mode: softphone}}]\n"
            "    activations: [{plan: office, since: 2026-01-01}]\n"
            for name in names
        )
        world = World(tmp_path, subscribers=f"subscribers:\n{accounts}")
        callee = Phone(world, "192.0.2.20", "provider")
        for name in names:
            answered(Phone(world, "192.0.2.10", name), callee, name)
        world.reload(plans=plans("call_duration: 2h"))
        assert len(changed(world)) == 2
        world.advance(1.0)
        assert sorted(limits.payer for limits in changed(world)) == names
        # A second reload in between begins anew and forgets nobody.
        world.reload(plans=plans("call_duration: 3h"))
        world.reload(plans=plans("call_duration: 4h"))
        world.advance(1.0)
        for call in world.engine.core.calls.values():
            limit = call.legs[0].limits.call_duration
            assert limit is not None
            assert limit.value == 4 * 3_600_000


class TestNoPlan:
    def test_a_payer_without_a_plan_keeps_no_call(self, world: World) -> None:
        caller, callee, _, _ = set_up(world)
        world.reload(subscribers=bought())
        cut_for("no active tariff plan any more", callee, caller)
        [record] = world.records
        assert (record.cut, record.reason, record.outcome) == (True, "no_plan", "success")
        world.idle()

    def test_nor_does_a_subscriber_who_is_gone(self, world: World) -> None:
        caller, callee, _, _ = set_up(world)
        world.reload(subscribers=SUBSCRIBERS.replace("  alice:", "  eve:").replace("alice", "eve"))
        cut_for("no active tariff plan any more", callee, caller)
        world.idle()
