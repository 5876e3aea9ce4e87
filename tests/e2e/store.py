"""What the store holds, and a store that fails as told."""

from __future__ import annotations

import os
import signal
from typing import Literal

from tests.redis import PrivateRedis

Failure = Literal["hangs", "is-gone"]
FAILURES: tuple[Failure, ...] = ("hangs", "is-gone")

PENDING, TALKING = (":po", ":pi"), (":to", ":ti")
"""How the keys end under which a payer's calls are (policies/keys.py): outgoing and incoming."""


def held(redis: PrivateRedis, ends: tuple[str, ...] = PENDING + TALKING) -> list[str]:
    """Keys under which a payer has calls."""
    with redis.client() as client:
        keys = (str(key, "utf-8") for key in client.keys("cg:*"))
        return [key for key in keys if key.endswith(ends) and client.zcard(key)]


class Store:
    """A Redis that fails as told and comes back with what it held."""

    def __init__(self, redis: PrivateRedis) -> None:
        self._redis = redis
        self._failure: Failure = "hangs"

    def talking(self) -> bool:
        """It was told that some call is answered."""
        return held(self._redis, TALKING) != []

    def fails(self, failure: Failure) -> None:
        self._failure = failure
        if failure == "hangs":
            os.kill(self._redis.pid, signal.SIGSTOP)
        else:
            with self._redis.client() as client:
                client.save()
            self._redis.stop()

    def is_back(self) -> None:
        if self._failure == "hangs":
            os.kill(self._redis.pid, signal.SIGCONT)
        else:
            self._redis.start()

    def is_back_empty(self) -> None:
        """It was gone, and has lost what it held."""
        (self._redis.socket.parent / "dump.rdb").unlink(missing_ok=True)
        self._redis.start()
