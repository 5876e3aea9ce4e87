"""OPTIONS to phones behind NAT: who is pinged, how often, for how long."""

from __future__ import annotations

from itertools import pairwise

import pytest

from proxy.engine.events import FlowFailed, TimerFired
from proxy.sip.message import Request
from proxy.sip.outputs import Transmit
from proxy.sip.parse import parse
from tests.engine.registering import World

NATTED = "Contact: <sip:alice@10.0.0.5:5062>;expires=120"
EVERY = 30.0


def pings(world: World, seconds: float) -> list[tuple[float, Request]]:
    """What goes to the phone by itself while time passes."""
    found = []
    until = world.now + seconds
    timers = world.engine.timers
    while (due := timers.next_deadline()) is not None and due <= until:
        world.now = max(world.now, due)
        for effect in world.handle(TimerFired()):
            if isinstance(effect, Transmit) and effect.flow is world.flow:
                message = parse(effect.data)
                if isinstance(message, Request):
                    found.append((world.now, message))
    world.now = until
    return found


def test_a_phone_behind_nat_is_pinged_until_it_expires() -> None:
    world = World(nat={"ping": EVERY})
    world.registered(NATTED)
    found = pings(world, 600)
    assert {request.method for _, request in found} == {"OPTIONS"}
    assert {request.uri for _, request in found} == {"sip:alice@10.0.0.5:5062"}
    times = [at for at, _ in found]
    # The first at a moment of its own, so that a thousand phones do not share it.
    assert EVERY / 2 <= times[0] <= EVERY
    assert all(later - sooner == pytest.approx(EVERY) for sooner, later in pairwise(times))
    assert times[-1] < 120
    assert len(world.engine.core.natted) == 0


def test_an_answer_is_known_and_no_anomaly() -> None:
    world = World(nat={"ping": EVERY})
    world.registered(NATTED)
    [(_, request)] = pings(world, EVERY)
    kept = ("via", "from", "to", "call-id", "cseq")
    copied = [line for line, key in zip(request.lines, request.keys, strict=True) if key in kept]
    world.send("\r\n".join(["SIP/2.0 405 Method Not Allowed", *copied, "Content-Length: 0", "", ""]))
    counters = world.engine.core.counters
    assert (counters.pings_sent, counters.pings_answered) == (1, 1)
    assert world.engine.stack_counters.strays == 0


@pytest.mark.parametrize(
    ("settings", "contact"),
    [
        ({"ping": 0.0}, NATTED),
        ({"ping": EVERY}, "Contact: <sip:alice@203.0.113.9:40000>;expires=120"),
    ],
)
def test_nobody_is_pinged_without_need(settings: dict[str, float], contact: str) -> None:
    world = World(nat=settings)
    world.registered(contact)
    assert pings(world, 600) == []


def test_over_a_stream_the_client_pings() -> None:
    world = World(nat={"ping": EVERY})
    world.flow = world.tcp.get("203.0.113.9", 40000, 7)
    world.registered(NATTED, flow=world.flow)
    assert pings(world, 600) == []


def test_a_refresh_prolongs_and_leaving_ends_it() -> None:
    world = World(nat={"ping": EVERY})
    world.registered(NATTED)
    pings(world, 100)
    world.registered(NATTED)
    assert pings(world, 110)
    world.registered("Contact: <sip:alice@10.0.0.5:5062>;expires=0")
    assert pings(world, 600) == []


def test_who_cannot_be_reached_any_more_is_left_alone() -> None:
    world = World(nat={"ping": EVERY})
    world.registered(NATTED)
    world.handle(FlowFailed(world.flow))
    assert pings(world, 600) == []
