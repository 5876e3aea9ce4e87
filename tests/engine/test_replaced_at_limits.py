"""What rings in the place of a call that is cut at a limit; test_replaces.py tells of the transfer.

The mutation fuzzer found it: the leg passed on at the cut, and the new call was answered on it, to be cut at once;
or, where the plan had ended, to go on without one.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.sip.message import Response
from tests.engine.test_replaces import SUBSCRIBERS, Scene


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """What the one outside called in the place of anna's call to carla rings at carla's."""
    scene = Scene(tmp_path)
    scene.consult()
    scene.world.advance(3580)
    scene.transfer()
    scene.one(scene.carla, "INVITE")
    return scene


def refused(scene: Scene, cause: str) -> None:
    world = scene.world
    causes = {record.call_id: record.cause for record in world.records}
    assert (causes["asks"], causes["new"]) == (cause, cause)
    assert [one.status for one in scene.outside.got() if isinstance(one, Response)][-1] == 402
    assert [key for key in world.engine.core.running if key[0] == "carla"] == []
    assert scene.lines.held("carla") == 0


def test_its_call_duration(scene: Scene) -> None:
    scene.world.advance(20.5)
    refused(scene, "call_duration reached")


def test_its_total_duration(scene: Scene) -> None:
    [leg] = [leg for leg in scene.lines.legs if leg.limits.payer == "carla"]
    scene.world.budget(leg.limits, 5.0, 1)
    scene.world.advance(5.1)
    refused(scene, "total_duration reached")


def test_its_plan(scene: Scene) -> None:
    head, carla, rest = SUBSCRIBERS.partition("carla:")
    scene.world.reload(subscribers=head + carla + rest.replace("since: 2026-01-01", "since: 2036-01-01", 1))
    refused(scene, "no active tariff plan any more")
