"""What transactions hold in memory: nothing once terminated, and only what can be asked for again while they linger."""

from __future__ import annotations

import gc
import tracemalloc
import weakref

import pytest

from proxy.sip.message import Response
from proxy.sip.outputs import Transmit
from proxy.sip.stack import ClientTransaction, ServerTransaction
from tests.sip.transactions import Recorder, World, request, response, wire


class Call:
    """Something of the user's that refers back to its transactions."""

    def __init__(self) -> None:
        self.server: ServerTransaction | None = None
        self.clients: list[ClientTransaction] = []


def test_a_terminated_transaction_leaves_no_cycle_behind() -> None:
    world = World()
    gc.collect()
    gc.disable()
    try:
        call = Call()
        seen = weakref.ref(call)
        world.receive(request("INVITE"))
        world.user.requests[0].user = call
        call.server = world.user.requests.pop()
        call.clients.append(world.stack.send("INVITE", b"INVITE", "z9hG4bK2", world.flow, call, world.now))
        call.clients.append(world.stack.send("BYE", b"BYE", "z9hG4bK3", world.flow, call, world.now))
        world.stack.respond(call.server, 200, b"200", world.now)
        world.receive(response(200, "INVITE", "z9hG4bK2"))
        world.receive(response(200, "BYE", "z9hG4bK3"))
        del call
        world.until(31.9)
        assert seen() is not None, "they linger: the test would otherwise prove nothing"
        world.until(32)
        world.told()
        assert world.terminated()
        assert seen() is None
    finally:
        gc.enable()


class Answering(Recorder):
    """Answers each request at once with some 400 bytes of its own, and remembers nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.world.stack._user = self
        self.world.stack.out = Discard()

    def on_request(self, txn: ServerTransaction, now: float) -> None:
        self.world.stack.respond(txn, 200, bytes(400), now)

    def on_response(self, txn: ClientTransaction, response: Response, now: float) -> None:
        pass


class Discard:
    """Takes what is sent and keeps nothing of it."""

    def append(self, item: Transmit, /) -> None:
        pass


def linger(world: World, side: str, method: str, numbers: range) -> None:
    """Brings a transaction for each number to the state it lingers in after a 200, by fresh messages of 1,500 bytes."""
    for number in numbers:
        branch = f"z9hG4bK{number:016d}"
        message = request(method, branch, host=f"198.51.100.{number % 250}")
        if side == "server":
            message.body = bytes(1200)
            world.stack.receive(message, world.flow, number / 1e4)
        else:
            world.stack.send(method, wire(message) + bytes(1200), branch, world.flow, None, number / 1e4)
            world.stack.receive(response(200, method, branch), world.flow, number / 1e4)


@pytest.mark.parametrize(
    ("side", "method", "kept"),
    [("server", "INVITE", 0), ("server", "BYE", 400), ("client", "INVITE", 0), ("client", "BYE", 0)],
)
def test_a_lingering_transaction_keeps_only_what_it_needs(side: str, method: str, kept: int) -> None:
    world = Answering().world
    linger(world, side, method, range(1000))
    tracemalloc.start()
    try:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        linger(world, side, method, range(1000, 5000))
        gc.collect()
        each = (tracemalloc.get_traced_memory()[0] - before) / 4000
    finally:
        tracemalloc.stop()
    assert kept < each <= 700 + kept, f"{each:.0f} bytes"
    print(f"{side} {method}: {each:.0f} bytes each, {kept} of them the last response")
