"""A name is looked up in a task of its own, and whatever happens to it there is an answer."""

from __future__ import annotations

import asyncio

from proxy.engine.effects import AskName, Effect
from proxy.engine.events import Hangup, NameFound
from proxy.engine.finding import Question
from tests.driver.scripted import World
from tests.net.tools import run


def test_a_name_is_looked_up_off_the_loop() -> None:
    async def main() -> None:
        world = World()

        def keep(event: NameFound) -> list[Effect]:
            found.set_result(event)
            return []

        world.engine.answers[NameFound] = keep
        world.engine.answers[Hangup] = lambda event: [AskName(Question(event.call_id, 0, "", False))]
        for host, failed, failures in (("known", False, 0), ("broken", True, 1)):
            found = asyncio.get_running_loop().create_future()
            world.driver.feed(Hangup(host))
            event = await found
            assert (event.question.host, event.failed, world.driver.failures) == (host, failed, failures)

    run(main())
