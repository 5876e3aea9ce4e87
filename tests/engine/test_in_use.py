"""Which connections are in use though nothing comes over them: the sockets close the others as idle."""

from __future__ import annotations

from pathlib import Path

from proxy.engine.events import TimerFired
from tests.engine.registering import CONTACT
from tests.engine.registering import World as Registered
from tests.engine.test_connections import talking
from tests.engine.test_registrations import ALICE, CALLGATE, Stand
from tests.engine.world import Phone, World

HOUR = 3600.0


def test_a_connection_is_in_use_for_as_long_as_somebody_is_registered_over_it() -> None:
    world = Registered()
    world.flow = world.tcp.get("203.0.113.9", 40000, 7)
    world.flow.open = True
    world.registered(f"Contact: {CONTACT};expires=3600")
    assert world.engine.connections_in_use(HOUR - 0.1) == {world.flow}
    assert not world.engine.connections_in_use(HOUR)


def test_a_connection_is_in_use_while_a_call_goes_by_it(world: World) -> None:
    caller, bob, _, ok = talking(world)
    world.advance(HOUR / 2)
    assert bob.flow in world.engine.connections_in_use(world.now)
    caller.within("BYE", ok, 2)
    [bye] = bob.requests()
    bob.answer(bye, 200, "OK")
    world.advance(64)
    assert not world.engine.connections_in_use(world.now)


def test_a_connection_is_in_use_while_callgate_is_registered_by_it(tmp_path: Path) -> None:
    """Calls come by it, as the registrar sees where the REGISTER came from."""
    stand = Stand(tmp_path, ALICE.replace("trunk: provider", "trunk: pbx"), CALLGATE)
    pbx = stand.provider = Phone(stand.world, "192.0.2.30", "pbx", 5060, stand.world.tcp)
    stand.world.handle(TimerFired())
    stand.turn(True, "pbx")
    stand.grant(stand.asked())
    stand.world.advance(100)
    assert stand.world.engine.connections_in_use(stand.world.now) == {pbx.flow}
