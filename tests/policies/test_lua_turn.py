"""turn-1.lua: of several instances one has the turn, while it asks in time."""

from __future__ import annotations

from redis import Redis

from policies import keys
from tests.policies.scripted import CLOCK_KEY, SCRIPTS, START_MS, unpacked

LIFE_MS = 30_000


class Turn:
    """The turn for one trunk."""

    def __init__(self, client: Redis) -> None:
        self.client = client
        client.set(CLOCK_KEY, START_MS)
        client.script_load(SCRIPTS.turn.text.decode())
        self._key = unpacked(keys.turn_key("provider"))[0]

    def ask(self, instance: str, life_ms: int = LIFE_MS) -> int:
        reply = self.client.evalsha(SCRIPTS.turn.sha, 1, self._key, instance, life_ms)
        assert isinstance(reply, int)
        return reply

    def pass_time(self, ms: int) -> None:
        self.client.incrby(CLOCK_KEY, ms)


def test_one_has_it_while_it_asks_in_time(redis_client: Redis) -> None:
    turn = Turn(redis_client)
    assert [turn.ask("one"), turn.ask("other")] == [1, 0]
    turn.pass_time(LIFE_MS - 1)
    assert [turn.ask("one"), turn.ask("other")] == [1, 0]
    turn.pass_time(LIFE_MS - 1)
    assert turn.ask("other") == 0
    turn.pass_time(1)
    assert [turn.ask("other"), turn.ask("one")] == [1, 0]


def test_who_gives_it_away_has_it_no_more_and_nobody_gives_away_anothers(redis_client: Redis) -> None:
    turn = Turn(redis_client)
    turn.ask("one")
    assert turn.ask("other", 0) == 0
    assert turn.ask("other") == 0
    assert turn.ask("one", 0) == 0
    assert turn.ask("other") == 1
