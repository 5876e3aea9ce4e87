"""Every (state, input) pair of every machine, on both kinds of transport: the stack does what the row says, no more.

What the rows should say is tested in test_client_invite.py and its three siblings, against the RFC's own words.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.sip import client_invite, fsm
from proxy.sip.fsm import Action, Machine, Reliable
from proxy.sip.stack import ClientTransaction, ServerTransaction
from tests.sip import diagrams
from tests.sip.diagrams import MACHINES
from tests.sip.transactions import World, request, response, wire

Pair = tuple[Machine, str, enum.IntEnum, enum.IntEnum]

KEPT = wire(request("INVITE"))
NEW = b"SIP/2.0 100 New\r\n\r\n"


def pairs() -> Iterator[Pair]:
    for machine in MACHINES:
        for transport in ("UDP", "TCP"):
            for state in machine.states:
                for input_ in machine.inputs:
                    yield machine, transport, state, input_


def name(pair: Pair) -> str:
    machine, transport, state, input_ = pair
    return f"{machine.name}-{transport}-{state.name}-{input_.name}"


def last(machine: Machine) -> enum.IntEnum:
    return machine.states(len(machine.states) - 1)


def put(world: World, machine: Machine, state: enum.IntEnum) -> ClientTransaction | ServerTransaction:
    """A transaction of this machine in this state, as if it had come there; it keeps `KEPT`."""
    method = "INVITE" if machine.invite else "BYE"
    txn: ClientTransaction | ServerTransaction
    if "client" in machine.name:
        txn = world.stack.send(method, KEPT, "z9hG4bK1", world.flow, "user", world.now)
        if state >= machine.settled and world.flow.reliable:
            world.stack._settle(txn)
        if state is last(machine):
            del world.stack._clients[txn.branch]
    else:
        world.receive(request(method))
        txn = world.user.requests[0]
        txn.user = "user"
        txn.data = KEPT
        if state is last(machine):
            del world.stack._servers[txn.key]
    txn.state = int(state)
    world.collect()
    world.told()
    return txn


def feed(world: World, txn: ClientTransaction | ServerTransaction, input_: int, status: int) -> int:
    if isinstance(txn, ClientTransaction):
        return world.stack._client(txn, input_, world.now, response(status, txn.method))
    return world.stack._server(txn, input_, world.now, NEW)


def zero(machine: Machine, transport: str, state: enum.IntEnum) -> enum.IntEnum | None:
    """The timer of this state that fires as soon as it is started."""
    for timer in machine.timers[state]:
        if transport == "TCP" and timer.reliable is Reliable.ZERO:
            return timer.input
    return None


def expected_told(machine: Machine, action: Action, status: int, ended: bool) -> list[tuple[Any, ...]]:
    method = "INVITE" if machine.invite else "BYE"
    told: list[tuple[Any, ...]] = []
    if action & Action.PASS and "client" in machine.name:
        told.append(("response", status))
    if action & Action.TIMEOUT:
        told.append(("timeout", method) if "client" in machine.name else ("ack timeout",))
    if action & Action.ERROR:
        told.append(("transport error", method))
    if ended and machine.invite:
        told.append(("terminated", "user"))
    return told


@pytest.mark.parametrize("pair", [*pairs()], ids=name)
def test_the_stack_does_what_the_row_says(pair: Pair) -> None:
    machine, transport, state, input_ = pair
    world = World(transport)
    txn = put(world, machine, state)
    timers = len(world.timers)
    action, following, _ = machine.table[state, input_]
    status = {"PROVISIONAL": 180, "SUCCESS": 200}.get(input_.name, 486)

    cell = feed(world, txn, int(input_), status)

    final = following
    while final is not state and (at_once := zero(machine, transport, final)) is not None:
        final = machine.table[final, at_once][1]
    ended = final is last(machine) and state is not final
    assert txn.state == final
    assert cell == int(action) | int(following)
    assert world.told() == expected_told(machine, action, status, ended)

    sent = world.collect()
    if action & Action.SEND:
        assert sent == [NEW]
    elif action & Action.RESEND:
        assert sent == [KEPT]
    elif action & Action.ACK:
        assert [data[:4] for data in sent] == [b"ACK "]
    else:
        assert sent == []

    if ended or action & (Action.FORGET | Action.KEEP | Action.ACK):
        kept = (
            None
            if ended or not action & (Action.KEEP | Action.ACK)
            else NEW
            if action & Action.KEEP
            else sent[0]
        )
        assert txn.data == kept
    else:
        assert txn.data == KEPT

    started = [] if following is state else machine.timers[following]
    running = sum(transport == "UDP" or timer.reliable is Reliable.SAME for timer in started)
    again = bool(action & (Action.BACKOFF | Action.SLOW | Action.EXPIRE))
    assert len(world.timers) == timers + running + again
    alive = state is not last(machine) and not ended
    assert world.terminated() is not alive
    assert (txn.user is None) is ended


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: str(machine.name))
def test_the_table_holds_together(machine: Machine) -> None:
    responses = {*machine.by_class}
    for (state, input_), (action, following, why) in machine.table.items():
        row = f"{state.name}, {input_.name}"
        assert why, row
        if state is last(machine):
            assert (action, following) == (Action.ABSORB, state), f"{row}: nothing wakes the dead"
        elif action or following is not state:
            assert "§" in why or "figure" in why, f"{row}: names no section"
        if "client" in machine.name and action & Action.PASS:
            assert input_ in responses, f"{row}: nothing to pass"
        if action & (Action.BACKOFF | Action.SLOW):
            assert input_ is machine.repeat, f"{row}: starts a timer that is not its own"
            assert action & Action.RESEND, f"{row}: a retransmission timer that does not retransmit"
        if action & Action.SEND:
            assert input_ in responses, f"{row}: nothing to send"
        assert following >= state or following is state, f"{row}: goes back"
    for state, started in machine.timers.items():
        for timer in started:
            action, following, _ = machine.table[state, timer.input]
            assert action or following is not state, f"{state.name} starts {timer.input.name} and absorbs it"
        if machine.settled <= state < last(machine):
            ends = [timer for timer in started if machine.table[state, timer.input][1] is last(machine)]
            assert ends, f"{state.name} would stay for ever"
            assert [timer for timer in ends if timer.reliable is not Reliable.OFF]


def test_a_table_with_a_gap_or_a_row_too_many_is_refused() -> None:
    good = client_invite.MACHINE
    gap = dict(good.table)
    del gap[client_invite.State.ACCEPTED, client_invite.Input.TIMER_A]
    untimed = dict(good.timers)
    del untimed[client_invite.State.TERMINATED]
    for table, timers in ((gap, good.timers), (good.table, untimed)):
        with pytest.raises(ValueError):
            Machine(
                good.name,
                good.rfc,
                0,
                True,
                good.states,
                good.inputs,
                table,
                timers,
                client_invite.State.COMPLETED,
                client_invite.MACHINE.by_class,
                good.repeat,
                False,
            )


def test_a_compiled_cell_has_room_for_the_state_beside_the_actions() -> None:
    assert all(int(action) & fsm.STATE_MASK == 0 for action in Action)
    assert all(len(machine.states) <= fsm.STATE_MASK + 1 for machine in MACHINES)
    assert [machine.number for machine in MACHINES] == [0, 1, 2, 3]


def test_the_page_of_diagrams_is_current() -> None:
    assert diagrams.PATH.read_text(encoding="utf-8") == diagrams.page(), "run python -m tests.sip.diagrams"
