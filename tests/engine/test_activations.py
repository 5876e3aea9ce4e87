"""An activation that starts or ends while calls run, and the plan that activates by itself."""

from __future__ import annotations

from pathlib import Path

from proxy.engine.effects import CallAnswered, PlanActivated
from tests.engine.tariff import at, bought, changed, cut_for, plans, waits
from tests.engine.world import SUBSCRIBERS, Phone, World, answered, set_up


class TestActivations:
    def test_one_that_ends_while_a_call_runs(self, tmp_path: Path) -> None:
        world = World(tmp_path, subscribers=bought(f"{{plan: office, since: 2026-01-01, until: {at(100)}}}"))
        caller, callee, _, _ = set_up(world)
        world.advance(99.9)
        assert not callee.got()
        world.advance(0.2)
        cut_for("no active tariff plan any more", callee, caller)
        world.idle()

    def test_one_that_ends_leaves_what_the_others_grant(self, tmp_path: Path) -> None:
        small = "  small: {categories: {softphone: {call_duration: 200s}}}\n"
        activations = (
            f"{{plan: office, since: 2026-01-01, until: {at(100)}}}",
            "{plan: small, since: 2026-01-01}",
        )
        world = World(tmp_path, plans=plans("call_duration: 1h", small), subscribers=bought(*activations))
        caller, callee, _, _ = set_up(world)
        world.advance(199)
        assert not callee.got()
        world.advance(1.1)
        cut_for("call_duration reached", callee, caller)
        world.idle()

    def test_one_that_starts_raises_the_limit(self, tmp_path: Path) -> None:
        small = "  small: {categories: {softphone: {call_duration: 200s, total_duration: 1h per 1d}}}\n"
        office = "call_duration: 300s, total_duration: 2h per 1d"
        activations = f"{{plan: office, since: {at(100)}}}", "{plan: small, since: 2026-01-01}"
        world = World(tmp_path, plans=plans(office, small), subscribers=bought(*activations))
        caller, callee, _, _ = set_up(world)
        world.advance(100.5)
        [new] = changed(world)
        # The newly winning activation brings its own counter.
        assert new.total_duration is not None
        assert new.total_duration.counter.startswith("office@2026")
        world.advance(199)
        assert not callee.got()
        world.advance(0.6)
        cut_for("call_duration reached", callee, caller)
        world.idle()

    def test_several_in_a_row_each_at_its_moment(self, tmp_path: Path) -> None:
        activations = [
            f"{{plan: office, since: {at(100 * i)}, until: {at(100 * i + 100)}, "
            f"options: {{softphone.call_duration: {i + 1}h}}}}"
            for i in range(3)
        ]
        office = plans("call_duration: {value: 9h, mutable: yes}")
        world = World(tmp_path, plans=office, subscribers=bought(*activations))
        caller, callee, _, _ = set_up(world)
        for i in range(3):
            [leg] = next(iter(world.engine.core.calls.values())).legs
            assert leg.limits.call_duration is not None
            assert leg.limits.call_duration.value == (i + 1) * 3_600_000
            world.advance(100)
        cut_for("no active tariff plan any more", callee, caller)
        assert len(changed(world)) == 2
        world.idle()

    def test_the_wall_clock_is_set_while_a_plan_is_waited_for(self, tmp_path: Path) -> None:
        """The timer runs by the monotonic clock; what it waits for is a moment of the other one."""
        world = World(tmp_path, subscribers=bought(f"{{plan: office, since: 2026-01-01, until: {at(3000)}}}"))
        caller, callee, _, _ = set_up(world)
        world.advance(100)
        world.engine.core.wall_offset += 2850
        world.advance(49.9)
        assert not callee.got()
        world.advance(0.2)
        cut_for("no active tariff plan any more", callee, caller)
        world.idle()

    def test_nothing_is_waited_for_when_nobody_calls(self, tmp_path: Path) -> None:
        world = World(tmp_path, subscribers=bought(f"{{plan: office, since: 2026-01-01, until: {at(9000)}}}"))
        caller, callee, _, ok = set_up(world)
        caller.within("BYE", ok, 2)
        [bye] = callee.requests()
        callee.answer(bye, 200, "OK")
        caller.got()
        assert waits(world)
        world.advance(61)
        assert not waits(world)
        world.idle()


class TestTheFreePlan:
    FREE = "  free: {auto_activate: true, categories: {softphone: {call_duration: 2m}}}\n"

    def test_it_activates_by_itself_at_first_use_and_says_so_once(self, tmp_path: Path) -> None:
        world = World(tmp_path, plans=plans("lines: 1", self.FREE).replace("{lines: 1}", "{}"))
        nobody, callee = Phone(world, "192.0.2.10", "nobody"), Phone(world, "192.0.2.20", "provider")
        assert world.of(PlanActivated) == []
        for call_id in ("c1", "c2"):
            answered(nobody, callee, call_id)
        world.reload()
        answered(nobody, callee, "c3")
        set_up(world, "c4")
        assert [(told.subscriber, told.plans) for told in world.of(PlanActivated)] == [
            ("nobody", ("free",)),
            ("alice", ("free",)),
        ]
        assert len(world.of(CallAnswered)) == 4

    def test_whom_it_was_told_of_is_remembered_as_long_as_there_are_such_subscribers(
        self, tmp_path: Path
    ) -> None:
        world = World(tmp_path, plans=plans("call_duration: 1h", self.FREE))
        set_up(world)
        assert world.engine.core.told == {"alice"}
        world.reload(subscribers=SUBSCRIBERS.replace("  alice:", "  eve:").replace("alice", "eve"))
        assert world.engine.core.told == set()
