from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.policies.limited import Play, played
from tests.redis import PrivateRedis, private_redis
from tests.servers import Cluster, cluster_of


@pytest.fixture(scope="session")
def redis_server() -> Iterator[PrivateRedis]:
    with private_redis() as server:
        yield server


@pytest.fixture(scope="module")
def started_nodes() -> Iterator[Cluster]:
    with cluster_of() as made:
        yield made


@pytest.fixture
def nodes(started_nodes: Cluster) -> Cluster:
    """A Cluster of three, whole and empty."""
    started_nodes.settled()
    started_nodes.flush()
    return started_nodes


@pytest.fixture
def redis_client(redis_server: PrivateRedis) -> Iterator[Redis]:
    """An empty database."""
    with redis_server.client() as client:
        client.flushall()
        yield client


@pytest.fixture
def play(redis_server: PrivateRedis, redis_client: Redis, tmp_path: Path) -> Play:
    """Plays a case on a limiter; the store is empty."""
    return played(redis_server, tmp_path)
