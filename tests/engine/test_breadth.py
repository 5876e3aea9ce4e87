"""RFC 5393 §5.3: Max-Breadth is shared by what rings at once; who gets none waits for its turn."""

from __future__ import annotations

from policies.verdicts import Admitted
from tests.engine.world import Phone, World, bound


def bobs(world: World, count: int) -> list[Phone]:
    records = bound(*((f"192.0.2.{30 + i}", "1000") for i in range(count)))
    world.auto = lambda leg: Admitted(leg.lease, records if leg.aor else None)
    return [Phone(world, f"192.0.2.{30 + i}", "bob") for i in range(count)]


def test_who_says_nothing_gets_sixty_and_it_is_divided(world: World) -> None:
    phones = bobs(world, 7)
    Phone(world, "192.0.2.10", "alice").invite("sip:bob@example.com")
    shares = [int(phone.requests()[0].value("max-breadth") or 0) for phone in phones]
    assert sum(shares) == 60
    assert min(shares) == 8


def test_a_single_target_gets_all_of_it_but_never_more_than_sixty(world: World) -> None:
    caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
    for number, (came, went) in enumerate(
        ((None, "60"), ("12", "12"), ("999", "60"), ("9" * 30, "60"), ("many", "60"))
    ):
        extra = (f"Max-Breadth: {came}",) if came is not None else ()
        caller.invite("sip:4930@example.com", f"c{number}", *extra)
        [invite] = callee.requests()
        assert invite.values("max-breadth") == [went]


def test_those_beyond_it_are_tried_afterwards(world: World) -> None:
    caller = Phone(world, "192.0.2.10", "alice")
    first, second, third = bobs(world, 3)
    caller.invite("sip:bob@example.com", "c1", "Max-Breadth: 2")
    [at_first], [at_second] = first.requests(), second.requests()
    assert not third.got()
    assert [at_first.value("max-breadth"), at_second.value("max-breadth")] == ["1", "1"]
    first.answer(at_first, 486, "Busy Here", "a")
    second.answer(at_second, 486, "Busy Here", "b")
    [at_third] = third.requests()
    # §5.3.3.1: what the others used is free again.
    assert at_third.value("max-breadth") == "2"
    third.answer(at_third, 200, "OK", "c")
    assert caller.statuses()[-1] == 200


def test_with_nothing_left_it_goes_nowhere_and_costs_nothing(world: World) -> None:
    caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
    world.auto = None
    caller.invite("sip:4930@example.com", "c1", "Max-Breadth: 0")
    assert caller.statuses() == [440]
    assert not world.asked
    assert not callee.got()
    world.idle()


def test_a_message_is_bounded_like_a_call(world: World) -> None:
    caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
    to = "<sip:4930@example.com>"
    frm = "<sip:alice@example.com>;tag=1"
    caller.request("MESSAGE", "sip:4930@example.com", "m1", 1, frm, to)
    assert callee.requests()[0].value("max-breadth") == "60"
    caller.request("MESSAGE", "sip:4930@example.com", "m2", 1, frm, to, "Max-Breadth: 0")
    assert caller.statuses() == [440]
