"""RFC 3261 §16.7: what goes up of the answers that several branches give, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.verdicts import Admitted
from proxy.engine.events import FlowFailed
from proxy.sip.message import Request, Response
from tests.engine.world import CALLGATE, Phone, World, bound

BASIC = 'WWW-Authenticate: Basic realm="one"'
DIGEST = 'Proxy-Authenticate: Digest realm="two", nonce="n"'


def forked(world: World) -> tuple[Phone, list[Phone], list[Request]]:
    """alice calls bob, whose two phones ring at once."""
    records = bound(("192.0.2.30", "1000"), ("192.0.2.31", "1000"))
    world.auto = lambda leg: Admitted(leg.lease, records if leg.aor else None)
    caller = Phone(world, "192.0.2.10", "alice")
    bobs = [Phone(world, f"192.0.2.{30 + i}", "bob") for i in range(2)]
    caller.invite("sip:bob@example.com")
    assert caller.statuses() == [100]
    return caller, bobs, [bob.requests()[0] for bob in bobs]


@pytest.mark.rfc3261("16.7-15")
def test_no_100_goes_up(world: World) -> None:
    caller, bobs, invites = forked(world)
    for bob, invite in zip(bobs, invites, strict=True):
        bob.answer(invite, 100, "Trying")
    assert not caller.got()


@pytest.mark.rfc3261("16.7-13")
def test_a_provisional_and_a_2xx_go_up_at_once(world: World) -> None:
    caller, bobs, invites = forked(world)
    bobs[0].answer(invites[0], 183, "Session Progress", "a")
    assert caller.statuses() == [183]
    bobs[1].answer(invites[1], 200, "OK", "b")
    assert caller.statuses() == [200]
    # Both answered: each 2xx goes up, though a final response was sent.
    bobs[0].answer(invites[0], 200, "OK", "a")
    assert caller.statuses() == [200]


@pytest.mark.rfc3261("16.7-17", "16.7-18", "16.7-20", "16.7-23")
@pytest.mark.parametrize("preferred", [401, 407, 415, 420, 484])
def test_when_all_have_answered_what_the_caller_can_act_on_goes_up(world: World, preferred: int) -> None:
    caller, bobs, invites = forked(world)
    bobs[0].answer(invites[0], 404, "Not Found", "a")
    assert not caller.got()
    bobs[1].answer(invites[1], preferred, "Reason", "b")
    assert caller.statuses() == [preferred]


@pytest.mark.rfc3261("16.7-31")
def test_challenges_of_all_branches_go_up_together(world: World) -> None:
    caller, bobs, invites = forked(world)
    bobs[0].answer(invites[0], 401, "Unauthorized", "a", BASIC)
    bobs[1].answer(invites[1], 407, "Proxy Authentication Required", "b", DIGEST)
    [answer] = caller.got()
    assert isinstance(answer, Response)
    assert answer.status in (401, 407)
    assert {BASIC, DIGEST} <= set(answer.lines)


@pytest.mark.rfc3261("16.7-19")
def test_when_nobody_answers_it_is_a_408(world: World) -> None:
    caller, _, _ = forked(world)
    world.advance(32.1)
    assert caller.statuses() == [408]


@pytest.mark.rfc3261("16.8-3")
def test_timer_c_without_any_answer_is_a_408(tmp_path: Path) -> None:
    # Timer B would come after 640 s.
    world = World(tmp_path, CALLGATE + "timers: {t1: 10s}\n")
    caller, _, _ = forked(world)
    world.advance(180.9)
    assert not caller.got()
    world.advance(0.2)
    assert caller.statuses() == [408]


@pytest.mark.rfc3261("16.7-39")
def test_the_server_transaction_repeats_what_went_up(world: World) -> None:
    caller, bobs, invites = forked(world)
    for bob, invite in zip(bobs, invites, strict=True):
        bob.answer(invite, 486, "Busy Here", "a")
    assert caller.statuses() == [486]
    world.advance(1.6)
    assert caller.statuses() == [486, 486]


@pytest.mark.rfc3261("16.9-1", "16.9-2")
def test_a_branch_whose_transport_fails_leaves_the_others_alone(world: World) -> None:
    caller, bobs, invites = forked(world)
    bobs[1].answer(invites[1], 180, "Ringing", "b")
    world.handle(FlowFailed(bobs[0].flow))
    assert not bobs[1].got()
    bobs[1].answer(invites[1], 486, "Busy Here", "b")
    # A 503 would be no better than that.
    assert caller.statuses() == [180, 486]


@pytest.mark.rfc3261("16.10-1", "16.10-2", "16.10-3")
def test_a_cancel_ends_every_branch(world: World) -> None:
    caller, bobs, invites = forked(world)
    for bob, invite in zip(bobs, invites, strict=True):
        bob.answer(invite, 180, "Ringing", "a")
    caller.got()
    caller.cancel("sip:bob@example.com")
    assert caller.statuses() == [200]
    for bob, invite in zip(bobs, invites, strict=True):
        [cancel] = bob.requests()
        assert (cancel.method, cancel.via.branch) == ("CANCEL", invite.via.branch)
