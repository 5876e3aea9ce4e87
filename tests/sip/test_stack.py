"""The stack as a whole: what message belongs to which transaction, its bounds, and that no history leaks."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.sip.flow import Flow
from proxy.sip.message import Request
from proxy.sip.stack import ClientTransaction, TimerConfig
from tests.sip.transactions import LOCAL_TCP, Recorder, World, reply_to, request, response, wire


def respond(world: World, status: int, index: int = -1) -> list[bytes]:
    world.stack.respond(world.user.requests[index], status, b"%d" % status, world.now)
    return world.collect()


# RFC 3261 §17.2.3: requests


@pytest.mark.parametrize(
    "other",
    [
        request("INVITE", "z9hG4bK2"),
        request("INVITE", host="203.0.113.9"),
        request("INVITE", port=5062),
        request("INVITE", port=None),
        request("OPTIONS"),
    ],
    ids=["branch", "sent-by host", "sent-by port", "no port", "method"],
)
def test_a_request_is_new_when_branch_sent_by_or_method_differ(other: Request) -> None:
    world = World()
    world.receive(request("INVITE"))
    assert world.receive(other) == [("request", other.method)]


def test_a_request_is_a_retransmission_whatever_else_differs() -> None:
    world = World()
    world.receive(request("INVITE", host="Host.Example.com"))
    again = request("INVITE", host="host.example.COM", uri="sip:other@example.com", cseq=9, to_tag="x")
    assert world.receive(again) == []


@pytest.mark.rfc3261("16.3-3")
def test_two_copies_of_a_forked_request_are_both_let_through() -> None:
    # RFC 3261 §8.2.2.2 has a UAS answer 482 to the second; a proxy may have to forward both.
    world = World()
    assert world.receive(request("INVITE", "z9hG4bKfork1")) == [("request", "INVITE")]
    assert world.receive(request("INVITE", "z9hG4bKfork2")) == [("request", "INVITE")]


def test_an_ack_that_matches_nothing_is_for_a_2xx() -> None:
    world = World()
    world.receive(request("INVITE"))
    respond(world, 486)
    assert world.receive(request("ACK", "z9hG4bK2", to_tag="b")) == [("ack", "ACK")]
    assert world.receive(request("ACK")) == []


# RFC 3261 §17.2.3, second half: RFC 2543 clients

OLD_BRANCHES = ["", "1"]


@pytest.mark.parametrize("branch", OLD_BRANCHES)
@pytest.mark.parametrize("method", ["INVITE", "BYE"])
def test_rfc_2543_a_request_is_matched_by_its_headers(branch: str, method: str) -> None:
    world = World()
    assert world.receive(request(method, branch)) == [("request", method)]
    assert world.receive(request(method, branch)) == []
    for other in (
        request(method, branch, cseq=2),
        request(method, branch, uri="sip:carol@example.com"),
        request(method, branch, to_tag="x"),
        request(method, branch, host="203.0.113.9"),
        request("OPTIONS", branch),
    ):
        assert world.receive(other) == [("request", other.method)]


@pytest.mark.parametrize("branch", OLD_BRANCHES)
@pytest.mark.parametrize("invite_tag", ["", "b"])
def test_rfc_2543_an_ack_for_a_failure_is_matched(branch: str, invite_tag: str) -> None:
    world = World()
    invite = request("INVITE", branch, to_tag=invite_tag)
    world.receive(invite)
    world.stack.respond(world.user.requests[0], 486, reply_to(invite, 486, "b"), world.now)
    assert world.receive(request("ACK", branch, to_tag="b")) == []
    assert world.receive(request("ACK", branch, to_tag="b")) == [], "RFC 3261: a retransmission of that ACK"
    world.until(5)
    assert world.told() == [("terminated", None)]


def test_rfc_2543_an_ack_with_the_tag_of_another_response_is_for_a_2xx() -> None:
    world = World()
    invite = request("INVITE", "1")
    world.receive(invite)
    world.stack.respond(world.user.requests[0], 486, reply_to(invite, 486, "b"), world.now)
    assert world.receive(request("ACK", "1", to_tag="other")) == [("ack", "ACK")]
    assert world.receive(request("ACK", "1", to_tag="b")) == []


def test_rfc_2543_an_ack_for_a_2xx_is_passed_though_it_matches_the_invite() -> None:
    # RFC 6026 §6: such an ACK has no branch of its own.
    world = World()
    invite = request("INVITE", "")
    world.receive(invite)
    world.stack.respond(world.user.requests[0], 200, reply_to(invite, 200, "b"), world.now)
    assert world.receive(request("ACK", "", to_tag="b")) == [("ack", "ACK")]


def test_rfc_2543_a_cancel_finds_its_invite() -> None:
    world = World()
    world.receive(request("INVITE", ""))
    assert world.receive(request("CANCEL", "")) == [("cancel", True)]
    assert world.receive(request("CANCEL", "", cseq=2)) == [("cancel", False)]


# RFC 3261 §9.2: CANCEL


def test_a_cancel_has_its_own_transaction_and_finds_its_invite() -> None:
    world = World()
    world.receive(request("INVITE"))
    invite = world.user.requests[0]
    assert world.receive(request("CANCEL")) == [("cancel", True)]
    cancel = world.user.requests[1]
    assert world.user.invites == [invite]
    assert not cancel.invite
    assert respond(world, 200) == [b"200"]
    assert world.receive(request("CANCEL")) == []
    assert world.collect() == [b"200"], "a retransmission gets the same answer"
    assert invite.pending, "the stack itself cancels nothing"
    assert respond(world, 487, 0) == [b"487"]
    assert world.receive(request("ACK")) == []


def test_a_cancel_after_the_final_response_still_finds_its_invite() -> None:
    world = World()
    world.receive(request("INVITE"))
    respond(world, 200)
    assert world.receive(request("CANCEL")) == [("cancel", True)]
    invite = world.user.invites[0]
    assert invite is not None
    assert not invite.pending


def test_a_cancel_of_nothing_we_know() -> None:
    world = World()
    assert world.receive(request("CANCEL")) == [("cancel", False)]
    world.receive(request("OPTIONS", "z9hG4bK2"))
    assert world.receive(request("CANCEL", "z9hG4bK2")) == [("cancel", False)]


# RFC 3261 §17.1.3: responses


@pytest.mark.rfc3261("18.1.2-2", "18.1.2-3")
def test_a_response_is_matched_by_branch_and_method() -> None:
    world = World()
    world.stack.send("INVITE", wire(request("INVITE")), "z9hG4bK1", world.flow, None, world.now)
    assert world.receive(response(180, branch="z9hG4bK2")) == [("stray", 180)]
    assert world.receive(response(200, "BYE")) == [("stray", 200)]
    assert world.receive(response(200, "CANCEL")) == [("stray", 200)]
    assert world.counters.strays == 3
    assert world.receive(response(180)) == [("response", 180)]
    world.stack.send("CANCEL", b"CANCEL", "z9hG4bK1", world.flow, None, world.now)
    assert world.receive(response(481, "CANCEL")) == [("response", 481)]
    assert world.receive(response(200)) == [("response", 200)]


@pytest.mark.rfc3261("18.1.1-8", "18.1.1-9")
def test_a_response_may_come_by_another_connection() -> None:
    """One that the peer made to the port in our Via, where we listen, after it lost the one we made."""
    world = World("TCP")
    world.stack.send("INVITE", wire(request("INVITE")), "z9hG4bK1", world.flow, None, world.now)
    made = Flow("TCP", "198.51.100.7", 40_001, LOCAL_TCP, 2)
    assert world.receive(response(180), made) == [("response", 180)]
    assert world.receive(response(200), made) == [("response", 200)]


def test_a_branch_is_used_once() -> None:
    world = World()
    world.stack.send("BYE", b"BYE", "z9hG4bK1", world.flow, None, world.now)
    with pytest.raises(AssertionError):
        world.stack.send("BYE", b"BYE", "z9hG4bK1", world.flow, None, world.now)


# Flows


def test_a_failed_connection_fails_what_is_pending_on_it_and_nothing_else() -> None:
    world = World("TCP")
    other = Flow("TCP", "198.51.100.7", 5060, LOCAL_TCP, 2)
    for number, flow in enumerate([world.flow, world.flow, other]):
        world.stack.send("BYE", b"BYE", f"z9hG4bK{number}", flow, number, world.now)
    world.receive(response(200, "BYE", "z9hG4bK0"))
    world.told()
    world.stack.flow_failed(world.flow, world.now)
    assert world.told() == [("transport error", "BYE")]
    world.stack.flow_failed(world.flow, world.now)
    assert world.told() == []
    assert world.receive(response(200, "BYE", "z9hG4bK2")) == [("response", 200)]
    assert world.terminated()


@pytest.mark.rfc3261("18-1")
def test_a_connection_is_in_use_until_the_last_transaction_by_it_has_terminated() -> None:
    world = World("TCP")
    other = Flow("TCP", "198.51.100.7", 5060, LOCAL_TCP, 2)
    assert not world.stack.flows_in_use()
    world.receive(request("INVITE"))
    respond(world, 180)
    world.stack.send("INVITE", wire(request("INVITE")), "z9hG4bK1", other, None, world.now)
    assert world.stack.flows_in_use() == {world.flow, other}
    world.receive(response(180))
    world.until(300)
    assert world.stack.flows_in_use() == {world.flow, other}
    # An answer ends nothing yet: the ACK is to come by it, and a repeated answer.
    respond(world, 486)
    world.receive(response(200))
    assert world.stack.flows_in_use() == {world.flow, other}
    world.until(400)
    assert not world.stack.flows_in_use()
    assert not World().stack.flows_in_use()


def test_an_unreachable_udp_peer_fails_what_is_pending_with_it_and_nothing_else() -> None:
    world, other = World(), World()
    world.stack.send("INVITE", b"INVITE", "z9hG4bK1", world.flow, None, world.now)
    world.stack.send("CANCEL", b"CANCEL", "z9hG4bK1", world.flow, None, world.now)
    world.stack.send("BYE", b"BYE", "z9hG4bK2", other.flow, None, world.now)
    world.stack.flow_failed(world.flow, world.now)
    assert world.told() == [
        ("transport error", "INVITE"),
        ("terminated", None),
        ("transport error", "CANCEL"),
    ]
    assert world.receive(response(200, "BYE", "z9hG4bK2")) == [("response", 200)]


def test_the_user_may_send_again_while_it_hears_of_the_failure() -> None:
    world = World("TCP")
    stack = world.stack
    spare = Flow("TCP", "198.51.100.8", 5060, LOCAL_TCP, 2)

    class Failover(Recorder):
        def on_transport_error(self, txn: ClientTransaction, now: float) -> None:
            stack.send("BYE", b"BYE again", "z9hG4bK2", spare, None, now)

    stack._user = Failover()
    stack.send("BYE", b"BYE", "z9hG4bK1", world.flow, None, world.now)
    stack.flow_failed(world.flow, world.now)
    assert world.collect() == [b"BYE", b"BYE again"]
    world.receive(response(200, "BYE", "z9hG4bK2"))
    assert world.terminated()


# Bounds and counters


def test_beyond_the_bound_new_requests_get_no_transaction_and_dialogs_end_all_the_same() -> None:
    world = World(config=TimerConfig(transactions_max=16))
    for number in range(16):
        assert world.receive(request("INVITE", f"z9hG4bK{number}")) == [("request", "INVITE")]
    assert world.receive(request("INVITE", "z9hG4bKnew")) == [("overload", "INVITE")]
    assert world.receive(request("OPTIONS", "z9hG4bKnew")) == [("overload", "OPTIONS")]
    assert world.receive(request("INVITE", "z9hG4bK3")) == [], "a retransmission is known"
    assert world.receive(request("ACK", "z9hG4bKack", to_tag="b")) == [("ack", "ACK")]
    assert world.receive(request("BYE", "z9hG4bKbye", to_tag="b")) == [("request", "BYE")]
    assert world.receive(request("CANCEL", "z9hG4bK3")) == [("cancel", True)]
    # The reserve has a bound as well.
    assert world.receive(request("BYE", "z9hG4bKbye2", to_tag="b")) == [("overload", "BYE")]
    assert world.receive(request("CANCEL", "z9hG4bK4")) == [("overload", "CANCEL")]
    assert world.counters.overloads == 4
    assert world.collect() == []
    for index in range(18):
        respond(world, 200, index)
    world.until(32)
    world.told()
    assert world.receive(request("INVITE", "z9hG4bKnew")) == [("request", "INVITE")]


def test_counters_tell_what_was_started_and_ended_of_each_machine() -> None:
    world = World()
    world.receive(request("INVITE"))
    world.receive(request("BYE", "z9hG4bK2"))
    world.stack.send("INVITE", wire(request("INVITE")), "z9hG4bK3", world.flow, None, world.now)
    world.stack.send("BYE", b"BYE", "z9hG4bK4", world.flow, None, world.now)
    world.stack.send("CANCEL", b"CANCEL", "z9hG4bK3", world.flow, None, world.now)
    assert world.counters.started == [1, 2, 1, 1]
    assert world.counters.ended == [0, 0, 0, 0]
    world.receive(response(200, "BYE", "z9hG4bK4"))
    respond(world, 200, 0)
    respond(world, 200, 1)
    world.until(100)
    assert world.counters.ended == [1, 2, 1, 1]
    assert world.terminated()


# Any history at all

_BRANCHES = st.sampled_from([f"z9hG4bK{number}" for number in range(4)] + [""])
_STATUS = st.sampled_from([100, 180, 200, 302, 486, 503, 603])
_METHODS = st.sampled_from(["INVITE", "BYE", "CANCEL", "ACK"])
_EVENT = st.one_of(
    st.tuples(st.just("request"), _METHODS, _BRANCHES),
    st.tuples(st.just("respond"), _STATUS, st.integers(0, 20)),
    st.tuples(st.just("abandon"), st.none(), st.integers(0, 20)),
    st.tuples(st.just("send"), st.sampled_from(["INVITE", "BYE"]), st.none()),
    st.tuples(st.just("cancel"), st.none(), st.integers(0, 20)),
    st.tuples(st.just("response"), _STATUS, st.tuples(st.integers(0, 20), _METHODS)),
    st.tuples(st.just("jump"), st.sampled_from([0.5, 1.0, 5.0, 31.0, 32.0]), st.none()),
    st.tuples(st.just("fail"), st.none(), st.none()),
)


@settings(deadline=None)
@given(st.sampled_from(["UDP", "TCP"]), st.lists(_EVENT, max_size=40))
def test_no_history_raises_leaks_or_leaves_a_timer(
    transport: str, events: list[tuple[str, object, object]]
) -> None:
    world = World(transport)
    branches: list[str] = []
    cancelled: set[str] = set()
    for event in events:
        match event:
            case ("request", str(method), str(branch)):
                world.told()
                told = world.receive(request(method, branch))
                assert len([name for name, *_ in told if name != "terminated"]) <= 1
            case ("respond", int(status), int(index)) if index < len(world.user.requests):
                world.stack.respond(world.user.requests[index], status, b"SIP/2.0 answer\r\n\r\n", world.now)
            case ("abandon", None, int(index)) if index < len(world.user.requests):
                if not world.user.requests[index].invite:
                    world.stack.abandon(world.user.requests[index], world.now)
            case ("send", str(method), None):
                branches.append(f"z9hG4bKours{len(branches)}")
                world.stack.send(method, wire(request(method)), branches[-1], world.flow, "user", world.now)
            case ("cancel", None, int(index)) if index < len(branches) and branches[index] not in cancelled:
                cancelled.add(branches[index])
                world.stack.send("CANCEL", b"CANCEL", branches[index], world.flow, "user", world.now)
            case ("response", int(status), (int(index), str(method))) if index < len(branches):
                world.receive(response(status, method, branches[index]))
            case ("jump", float(seconds), None):
                world.until(world.now + seconds)
            case ("fail", None, None):
                world.stack.flow_failed(world.flow, world.now)
        stack = world.stack
        alive = len(stack._servers) + len(stack._clients) + len(stack._cancels)
        assert sum(world.counters.started) - sum(world.counters.ended) == alive
    # Whatever happened, answering what is open and waiting long enough leaves nothing behind.
    for txn in world.user.requests:
        world.stack.respond(txn, 500, b"500", world.now)
    for branch in branches:
        world.receive(response(500, "INVITE", branch))
    world.until(world.now + 200)
    assert world.terminated()
    assert len(world.timers) == 0
    assert world.counters.started == world.counters.ended
    assert all(txn.user is None and txn.request is None and txn.data is None for txn in world.user.requests)
