"""Trunks of several servers: what shares them out exactly, and what one failure says and does not say of a server."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest

from policies.lease import Outcome
from policies.verdicts import Admitted
from proxy.engine import trunks
from proxy.engine.events import FlowFailed, Started
from proxy.engine.finding import Server, drawn
from proxy.engine.reach import RETRY_AFTER_MAX
from tests.engine.test_finding import NAMED, cluster, in_turn, servers
from tests.engine.test_trunks import NUMBER, invites, state, world_of
from tests.engine.world import Phone, World

DRAWS = 6_000
CHI_SQUARE = 20.5
"""Five degrees of freedom: one correct draw in a thousand is farther off."""


def far_off(seen: Counter[tuple[str, ...]], weights: dict[str, int]) -> float:
    """Chi-square of how often each order was drawn, against the chance that RFC 2782 gives it."""

    def chance(order: tuple[str, ...]) -> float:
        if not order:
            return 1.0
        return weights[order[0]] / sum(weights[one] for one in order) * chance(order[1:])

    orders = [(a, b, c) for a in weights for b in weights for c in weights if len({a, b, c}) == 3]
    assert sum(map(chance, orders)) == pytest.approx(1.0)
    return sum((seen[one] - DRAWS * chance(one)) ** 2 / (DRAWS * chance(one)) for one in orders)


def test_targets_of_a_priority_are_ordered_by_chance_in_proportion_to_their_weights(tmp_path: Path) -> None:
    weights = {"sip:192.0.2.20": 1, "sip:192.0.2.21": 1, "sip:192.0.2.22": 4}
    written = ", ".join(f'{{uri: "{uri}", priority: 1, weight: {weight}}}' for uri, weight in weights.items())
    world, _, _ = world_of(tmp_path, f"[{written}]")
    trunk = world.engine.core.snapshot.catalog.trunks["provider"]
    seen = Counter(tuple(trunks.order(world.engine.core, trunk)) for _ in range(DRAWS))
    assert far_off(seen, weights) < CHI_SQUARE


def test_servers_of_a_name_are_ordered_so_too() -> None:
    weights = {"a": 1, "b": 1, "c": 4}
    found = [Server(0, weight, "UDP", 5060, [name]) for name, weight in weights.items()]
    rng = Random(2782)
    seen = Counter(tuple(server.addresses[0] for server in drawn(found, rng)) for _ in range(DRAWS))
    assert far_off(seen, weights) < CHI_SQUARE


def test_weight_0_has_its_small_chance_wherever_it_stands() -> None:
    """RFC 2782: of weights 0 and 4 the drawn number is one of five, and 0 is the first record's."""
    found = [Server(0, weight, "UDP", 5060, [str(weight)]) for weight in (4, 0)]
    rng = Random(1)
    first = Counter(drawn(found, rng)[0].weight for _ in range(1000))
    assert 150 < first[0] < 250


# What is down is not used --------------------------------------------------------------------------------------------


def rests(phone: Phone, seconds: int = 100) -> None:
    """It asks to be left alone."""
    phone.answer(phone.requests()[0], 503, "Service Unavailable", "t1", f"Retry-After: {seconds}")


def test_not_even_when_the_others_fail(tmp_path: Path) -> None:
    world, caller, (first, second, _) = world_of(tmp_path)
    caller.invite(NUMBER, "c1")
    rests(first)
    first.got()
    second.got()
    caller.got()
    caller.invite(NUMBER, "c2")
    [invite] = [request for request in second.requests() if request.call_id == "c2"]
    second.answer(invite, 503, "Service Unavailable")
    assert caller.statuses() == [100, 500]
    assert not invites(first)
    assert world.released == [("alice@example.com", Outcome.FAIL)]


def test_nor_by_a_call_that_was_being_admitted_when_it_went_down(tmp_path: Path) -> None:
    world, caller, (first, _, _) = world_of(tmp_path, '["sip:192.0.2.20"]')
    world.auto = None
    for call_id in ("c1", "c2"):
        caller.invite(NUMBER, call_id)
    one, two = world.asked
    world.decide(one, Admitted(one.lease))
    rests(first)
    first.got()
    world.decide(two, Admitted(two.lease))
    assert not first.got()
    assert [record.reason for record in world.records] == ["", "trunk_down"]
    # The second one never left: as if it never was.
    assert [outcome for _, outcome in world.released] == [Outcome.FAIL, Outcome.VOID]


def test_nor_for_requests_that_are_no_calls(tmp_path: Path) -> None:
    _, caller, (first, _, _) = world_of(tmp_path, '["sip:192.0.2.20"]')
    caller.invite(NUMBER, "c1")
    rests(first)
    first.got()
    caller.got()
    caller.request("MESSAGE", NUMBER, "m1", 1, "<sip:alice@example.com>;tag=m", f"<{NUMBER}>")
    assert not first.got()
    assert caller.statuses() == [500]


# For how long --------------------------------------------------------------------------------------------------------


def test_nobody_goes_away_for_ever(tmp_path: Path) -> None:
    world, caller, (first, _, _) = world_of(tmp_path)
    caller.invite(NUMBER, "c1")
    rests(first, 10_000_000)
    world.advance(RETRY_AFTER_MAX - 1)
    assert state(world) == "down"
    world.advance(2)
    assert state(world) == "up"


def test_with_block_0s_nothing_is_blocked_whatever_the_server_asks(tmp_path: Path) -> None:
    """The operator knows his only provider: a call that is refused there costs nothing."""
    world, caller, (first, _, _) = world_of(tmp_path, '["sip:192.0.2.20"]', more=", block: 0s")
    for call_id in ("c1", "c2"):
        caller.invite(NUMBER, call_id)
        rests(first, 60)
        assert caller.statuses() == [100, 500]
        first.got()
    assert state(world) == "up"


def test_what_fails_besides_does_not_shorten_its_rest(tmp_path: Path) -> None:
    """Two calls are there already; one is told 503, the other's connection breaks."""
    world, caller, (first, _, _) = world_of(tmp_path, more=", block: 5s")
    caller.invite(NUMBER, "c1")
    caller.invite(NUMBER, "c2")
    rests(first, 60)
    world.handle(FlowFailed(first.flow))
    assert state(world) == "down"
    world.advance(59)
    assert state(world) == "down"
    world.advance(2)
    assert state(world) == "up"


def test_nor_does_an_answer_to_what_was_asked_before(tmp_path: Path) -> None:
    world, caller, (first, _, _) = world_of(tmp_path, more=", health: {every: 30s}")
    world.handle(Started())
    world.advance(1)
    [options] = {request.via.branch: request for request in first.requests()}.values()
    caller.invite(NUMBER, "c1")
    rests(first, 60)
    first.answer(options, 200, "OK")
    assert state(world) == "down"


# What is no failure of the server -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rang", [False, True])
def test_a_408_that_somebody_sent_is_an_answer(tmp_path: Path, rang: bool) -> None:
    """RFC 3263 §4.3: a dead server is one "without ever having received any response"."""
    world, caller, (first, second, _) = world_of(tmp_path)
    caller.invite(NUMBER, "c1")
    [invite] = first.requests()
    if rang:
        first.answer(invite, 180, "Ringing")
    first.answer(invite, 408, "Request Timeout")
    assert caller.statuses()[-1] == 408
    assert not invites(second)
    assert state(world) == "up"


def test_and_of_the_servers_of_a_name_no_other_is_tried(tmp_path: Path) -> None:
    world = World(tmp_path, NAMED)
    caller, (first, second, _) = cluster(world)
    caller.invite(NUMBER)
    servers(world, *in_turn("192.0.2.20", "192.0.2.21"))
    first.answer(first.requests()[0], 408, "Request Timeout")
    assert caller.statuses()[-1] == 408
    assert not invites(second)
    assert not world.engine.core.reach.outages


def test_who_rang_and_fell_silent_is_no_dead_server(tmp_path: Path) -> None:
    """Timer C cancels it, and nothing comes any more."""
    world, caller, (first, second, _) = world_of(tmp_path, more=", block: 1h")
    caller.invite(NUMBER, "c1")
    first.answer(first.requests()[0], 180, "Ringing")
    world.advance(400)
    assert caller.statuses()[-1] in (408, 487)
    assert not invites(second)
    assert state(world) == "up"
