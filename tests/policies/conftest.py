from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from tests.redis import PrivateRedis, private_redis


@pytest.fixture(scope="session")
def redis_server() -> Iterator[PrivateRedis]:
    with private_redis() as server:
        yield server


@pytest.fixture
def redis_client(redis_server: PrivateRedis) -> Iterator[Redis]:
    """An empty database."""
    with redis_server.client() as client:
        client.flushall()
        yield client
