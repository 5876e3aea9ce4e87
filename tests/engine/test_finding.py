"""RFC 3263 in the engine: SRV weights, the next server with a new branch, and what stays where it was."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from policies.lease import Outcome
from policies.verdicts import Admitted
from proxy.engine.effects import AskAdmission, AskName, ReleaseLease
from proxy.engine.events import FlowFailed, NameFound
from proxy.engine.finding import STALE_MAX, STALE_TTL, Server, drawn
from proxy.sip.message import Request, Response
from tests.engine.world import CALLGATE, Phone, World, answered, ringing

NUMBER = "sip:4930@example.com"
NAMED = CALLGATE.replace('["sip:192.0.2.20:5060", "sip:192.0.2.21:5060"]', '["sip:provider.test"]')
HOSTS = ("192.0.2.20", "192.0.2.21", "192.0.2.22")


def servers(world: World, *found: Server, ttl: float = 60.0) -> None:
    """The resolver's answer to the last question."""
    world.handle(NameFound(world.of(AskName)[-1].question, found, ttl))


def cluster(world: World) -> tuple[Phone, list[Phone]]:
    return Phone(world, "192.0.2.10", "alice"), [Phone(world, host, "provider") for host in HOSTS]


def in_turn(*hosts: str) -> list[Server]:
    return [Server(rank, 0, "UDP", 5060, [host]) for rank, host in enumerate(hosts)]


def test_what_a_uri_leaves_open_is_left_to_the_look_up(tmp_path: Path) -> None:
    """RFC 3263 §4.1, §4.2: no transport: NAPTR; no port: SRV."""
    for uri, port, transport in (
        ("sip:provider.test", 0, ""),
        ("sip:provider.test;transport=tcp", 0, "TCP"),
        ("sip:provider.test:5080", 5080, ""),
        ("sip:Provider.Test.", 0, ""),
    ):
        world = World(tmp_path, NAMED.replace("sip:provider.test", uri))
        Phone(world, "192.0.2.10", "alice").invite(NUMBER)
        [ask] = world.of(AskName)
        assert ask.question == ("provider.test", port, transport, False)


def test_an_address_is_never_looked_up(world: World) -> None:
    Phone(world, "192.0.2.10", "alice").invite(NUMBER)
    assert not world.of(AskName)
    assert len(world.sent) == 2


def test_weights_hold_over_many_calls_within_one_ttl(tmp_path: Path) -> None:
    world = World(tmp_path, NAMED)
    caller, members = cluster(world)
    caller.invite(NUMBER, "c0")
    found = [Server(1, weight, "UDP", 5060, [host]) for host, weight in zip(HOSTS, (10, 30, 0), strict=True)]
    servers(world, *found, Server(2, 100, "UDP", 5060, ["192.0.2.30"]))
    for n in range(1, 400):
        caller.invite(NUMBER, f"c{n}")
    assert len(world.of(AskName)) == 1
    share = [len(member.requests()) for member in members]
    assert sum(share) == 400
    assert 60 < share[0] < 140
    assert 260 < share[1] < 340
    # RFC 2782: weight 0 is "a very small chance", and a higher number of priority none while the lower answer.
    assert share[2] < 20


def test_every_server_is_drawn_once_and_by_priority() -> None:
    rng = random.Random(7)
    found = [Server(n // 3, n % 3, "UDP", 5060, [str(n)]) for n in range(9)]
    first: Counter[int] = Counter()
    for _ in range(300):
        order = drawn(found, rng)
        assert [server.rank for server in order] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
        assert len(set(order)) == 9
        first[order[0].weight] += 1
    assert first[2] > first[1] > 0


@pytest.mark.rfc3261("16.6-34", "16.6-35", "16.6-36")
def test_the_next_server_gets_a_new_branch_and_the_limiter_one_question(tmp_path: Path) -> None:
    world = World(tmp_path, NAMED)
    caller, members = cluster(world)
    caller.invite(NUMBER)
    servers(world, *in_turn(*HOSTS))
    [first] = members[0].requests()
    members[0].answer(first, 503, "Service Unavailable")
    [second] = members[1].requests()
    world.handle(FlowFailed(members[1].flow))
    [third] = members[2].requests()
    assert len({first.via.branch, second.via.branch, third.via.branch}) == 3
    assert first.uri == second.uri == third.uri
    members[2].answer(third, 180, "Ringing")
    members[2].answer(third, 200, "OK")
    assert caller.statuses() == [100, 180, 200]
    assert not world.of(ReleaseLease)
    assert len(world.engine.core.calls) == 1


def test_one_lease_for_the_whole_attempt(tmp_path: Path) -> None:
    world = World(tmp_path, NAMED)
    world.auto = None
    caller, members = cluster(world)
    caller.invite(NUMBER)
    [leg] = world.asked
    world.decide(leg, Admitted(leg.lease))
    servers(world, *in_turn(*HOSTS))
    for member in members:
        [invite] = member.requests()
        member.answer(invite, 503, "Service Unavailable")
    # All are dead: one clean answer, one lease asked for and given back once.
    assert caller.statuses() == [100, 500]
    assert world.asked == [leg]
    assert not world.of(AskAdmission)
    assert world.released == [("alice@example.com", Outcome.FAIL)]
    world.idle()


def test_a_server_without_a_word_is_passed_over_before_timer_b(tmp_path: Path) -> None:
    world = World(tmp_path, NAMED.replace("identity: none", "identity: none, answer_timeout: 2s"))
    caller, members = cluster(world)
    caller.invite(NUMBER)
    servers(world, *in_turn(*HOSTS[:2]))
    world.advance(1.9)
    assert members[0].requests()
    assert not members[1].got()
    world.advance(0.2)
    [second] = members[1].requests()
    # The last one has no other behind it: it gets all of Timer B.
    world.advance(31)
    assert caller.statuses() == [100]
    members[1].answer(second, 200, "OK")
    assert caller.statuses() == [200]


def test_a_server_that_said_100_is_waited_for(tmp_path: Path) -> None:
    world = World(tmp_path, NAMED)
    caller, members = cluster(world)
    caller.invite(NUMBER)
    servers(world, *in_turn(*HOSTS[:2]))
    members[0].answer(members[0].requests()[0], 100, "Trying")
    world.advance(60)
    assert not members[1].got()


def given_up(tmp_path: Path) -> tuple[World, Phone, list[Phone], list[Request]]:
    """The first server was passed over, the second rings."""
    world = World(tmp_path, NAMED)
    caller, members = cluster(world)
    caller.invite(NUMBER)
    servers(world, *in_turn(*HOSTS[:2]))
    first = members[0].requests()[0]
    world.advance(4.1)
    members[0].got()
    second = members[1].requests()[0]
    members[1].answer(second, 180, "Ringing", "second")
    assert caller.statuses() == [100, 180]
    return world, caller, members, [first, second]


def test_a_slow_server_is_cancelled_when_it_rings_after_all(tmp_path: Path) -> None:
    world, caller, members, (first, second) = given_up(tmp_path)
    members[0].answer(first, 180, "Ringing", "first")
    assert [request.method for request in members[0].requests()] == ["CANCEL"]
    assert not caller.got()
    members[0].answer(first, 487, "Request Terminated", "first")
    members[1].answer(second, 200, "OK", "second")
    assert caller.statuses() == [200]
    world.advance(100)
    assert not [m for m in members[0].got() if isinstance(m, Response)]


def test_a_slow_server_that_answers_first_has_the_call(tmp_path: Path) -> None:
    world, caller, members, (first, _) = given_up(tmp_path)
    members[0].answer(first, 200, "OK", "first")
    [ok] = caller.got()
    assert isinstance(ok, Response)
    assert (ok.status, ok.to_tag) == (200, "first")
    assert [request.method for request in members[1].requests()] == ["CANCEL"]
    caller.within("ACK", ok, 1)
    assert [request.method for request in members[0].requests()] == ["ACK"]
    # Its 2xx again is the same call, not a late one.
    members[0].answer(first, 200, "OK", "first")
    assert caller.statuses() == [200]
    assert not members[0].got()
    assert not world.released


@pytest.mark.rfc3261("17.1.1.3-1")
def test_a_slow_server_that_answers_last_is_acknowledged_and_ended(tmp_path: Path) -> None:
    world, caller, members, (first, second) = given_up(tmp_path)
    members[1].answer(second, 200, "OK", "second")
    assert caller.statuses() == [200]
    members[0].answer(first, 200, "OK", "first")
    ack, bye = members[0].requests()
    assert (ack.method, bye.method) == ("ACK", "BYE")
    # RFC 3261 §13.2.2.4: the CSeq number of the INVITE, to the Contact, and a transaction of its own.
    assert (ack.cseq, ack.to_tag) == (first.cseq, "first")
    assert ack.uri == f"sip:{members[0].user}@{members[0].address}"
    assert ack.via.branch not in (first.via.branch, bye.via.branch)
    assert not caller.got()
    assert not world.released


def test_a_slow_server_that_rings_after_the_call_failed_is_cancelled(tmp_path: Path) -> None:
    _, caller, members, (first, second) = given_up(tmp_path)
    members[1].answer(second, 486, "Busy Here", "second")
    assert caller.statuses() == [486]
    members[0].answer(first, 180, "Ringing", "first")
    assert [request.method for request in members[0].requests()] == ["CANCEL"]


def test_a_callee_who_declines_is_no_dead_server(tmp_path: Path) -> None:
    world = World(tmp_path, NAMED)
    caller, members = cluster(world)
    caller.invite(NUMBER)
    servers(world, *in_turn(*HOSTS))
    members[0].answer(members[0].requests()[0], 486, "Busy Here")
    assert caller.statuses() == [100, 486]
    assert not members[1].got()


def test_a_cancelled_call_goes_nowhere_else(tmp_path: Path) -> None:
    world = World(tmp_path, NAMED)
    caller, members = cluster(world)
    caller.invite(NUMBER, branch="z9hG4bK-i")
    servers(world, *in_turn(*HOSTS))
    [invite] = members[0].requests()
    caller.cancel(NUMBER, branch="z9hG4bK-i")
    members[0].answer(invite, 503, "Service Unavailable")
    assert not members[1].got()
    assert caller.statuses() == [100, 200, 487]
    assert world.released == [("alice@example.com", Outcome.FAIL)]


def test_requests_of_the_dialog_stay_on_the_server_that_has_it(tmp_path: Path) -> None:
    """Its Contact is the name of the whole cluster: chance must not decide again."""
    world = World(tmp_path, NAMED)
    caller, members = cluster(world)
    caller.invite(NUMBER)
    found = [Server(1, 1, "UDP", 5060, [host]) for host in HOSTS]
    servers(world, *found)
    [(member, invite)] = [(member, invite) for member in members for invite in member.requests()]
    member.address = "provider.test"
    member.answer(invite, 200, "OK")
    [_, ok] = caller.got()
    assert isinstance(ok, Response)
    caller.within("ACK", ok, 1)
    for cseq in range(2, 12):
        caller.within("INFO", ok, cseq)
    assert [request.method for request in member.requests()] == ["ACK"] + 10 * ["INFO"]


def test_an_ack_waits_for_its_name(tmp_path: Path) -> None:
    world = World(tmp_path)
    caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
    invite = ringing(caller, callee)
    callee.address = "callee.test"
    callee.answer(invite, 200, "OK")
    [ok] = caller.got()
    assert isinstance(ok, Response)
    caller.within("ACK", ok, 1)
    assert not callee.got()
    world.found("callee.test", "192.0.2.99", "192.0.2.20")
    # Of the two the one that sent the 2xx.
    assert [request.method for request in callee.requests()] == ["ACK"]


def test_a_name_is_asked_for_again_when_its_ttl_is_over(tmp_path: Path) -> None:
    world = World(tmp_path, NAMED)
    caller, members = cluster(world)
    caller.invite(NUMBER, "c1")
    world.found("provider.test", HOSTS[0], ttl=5)
    world.advance(4.9)
    caller.invite(NUMBER, "c2")
    assert len(world.of(AskName)) == 1
    world.advance(0.2)
    caller.invite(NUMBER, "c3")
    assert len(world.of(AskName)) == 2
    world.found("provider.test", HOSTS[1])
    assert len({request.call_id for request in members[1].requests()}) == 1


def test_an_old_answer_is_better_than_none_while_the_name_servers_are_away(tmp_path: Path) -> None:
    world = World(tmp_path, NAMED)
    caller, members = cluster(world)
    answered_at = 0.0
    caller.invite(NUMBER, "c1")
    world.found("provider.test", HOSTS[0], ttl=5)
    assert members[0].requests()
    world.advance(6)
    caller.invite(NUMBER, "c2")
    world.found("provider.test", failed=True)
    assert [request.call_id for request in members[0].requests()][-1] == "c2"
    # Not asked again for a while, and not for ever.
    caller.invite(NUMBER, "c3")
    assert len(world.of(AskName)) == 2
    world.advance(answered_at + 5 + STALE_MAX + STALE_TTL)
    members[0].got()
    caller.got()
    caller.invite(NUMBER, "c4")
    world.found("provider.test", failed=True)
    world.advance(0.1)
    assert caller.statuses() == [100, 500]


def test_a_name_that_leads_nowhere_is_remembered_too(tmp_path: Path) -> None:
    world = World(tmp_path, NAMED)
    caller, _ = cluster(world)
    for call_id in ("c1", "c2"):
        caller.invite(NUMBER, call_id)
        if call_id == "c1":
            world.found("provider.test", ttl=30)
        world.advance(0.1)
        assert caller.statuses() == [100, 500]
    assert len(world.of(AskName)) == 1


def test_what_no_socket_of_ours_can_reach_is_left_out(tmp_path: Path) -> None:
    world = World(tmp_path, NAMED)
    caller, members = cluster(world)
    caller.invite(NUMBER)
    servers(
        world,
        Server(0, 0, "SCTP", 5060, [HOSTS[0]]),
        Server(1, 0, "UDP", 5060, ["2001:db8::1", HOSTS[1]]),
    )
    assert members[1].requests()


def test_an_answer_over_the_second_way_is_the_calls_flow(tmp_path: Path) -> None:
    """The BYE of a cut goes to the server that answered."""
    world = World(tmp_path, NAMED)
    caller, members = cluster(world)
    caller.invite(NUMBER)
    servers(world, *in_turn(*HOSTS[:2]))
    members[0].answer(members[0].requests()[0], 503, "Service Unavailable")
    [invite] = members[1].requests()
    members[1].answer(invite, 200, "OK")
    [_, ok] = caller.got()
    assert isinstance(ok, Response)
    caller.within("ACK", ok, 1)
    world.advance(3601)
    assert [request.method for request in members[1].requests()][:2] == ["ACK", "BYE"]


def test_a_call_by_name_that_is_answered_leaves_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, NAMED)
    caller, members = cluster(world)
    caller.invite(NUMBER, "c0")
    servers(world, *in_turn(*HOSTS[:1]), ttl=3600)
    members[0].answer(members[0].requests()[0], 486, "Busy Here")
    caller.got()
    members[0].got()
    _, ok = answered(caller, members[0], "c1")
    caller.within("ACK", ok, 1)
    caller.within("BYE", ok, 2)
    [_, bye] = members[0].requests()
    members[0].answer(bye, 200, "OK")
    world.idle()


@pytest.mark.parametrize("targets", ['["sip:provider.test"]', None])
def test_credentials_go_to_the_server_that_asked_for_them(tmp_path: Path, targets: str | None) -> None:
    """Its nonce may mean nothing to the others, behind one name or in one list."""
    listed = ", ".join(f'{{uri: "sip:{host}", priority: 1}}' for host in HOSTS)
    world = World(tmp_path, NAMED.replace('["sip:provider.test"]', targets or f"[{listed}]"))
    caller, members = cluster(world)
    for n in range(20):
        caller.invite(NUMBER, f"c{n}")
        if targets is not None and n == 0:
            servers(world, *(Server(1, 1, "UDP", 5060, [host]) for host in HOSTS))
        [(member, invite)] = [(member, invite) for member in members for invite in member.requests()]
        member.answer(
            invite, 407, "Proxy Authentication Required", "t", 'Proxy-Authenticate: Digest realm="p"'
        )
        assert 407 in caller.statuses()
        caller.invite(NUMBER, f"c{n}", 'Proxy-Authorization: Digest realm="p"', cseq=2)
        again = [one for one in member.requests() if one.method == "INVITE"]
        assert [one.cseq for one in again] == [2]
        member.answer(again[0], 486, "Busy Here")
        member.got()
        caller.got()
    assert not world.engine.core.finder.challengers
