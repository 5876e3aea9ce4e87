"""One callgate for most tests, with everything they call for; tests that end, break or reconfigure it start their own.

A test module says what its callers have bought in `TARIFFS`; the configuration is written from those of the modules
that run. Each subscriber belongs to one test, so that nothing counted in one is seen in another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from load.processes import Processes
from tests.e2e.net import Net
from tests.e2e.service import Callgate, Settings, Tariff, settings_of
from tests.e2e.softphones import Softphones
from tests.e2e.stage import Providers, Stage
from tests.e2e.store import held
from tests.redis import PrivateRedis, private_redis


@pytest.fixture(scope="session")
def net() -> Net:
    return Net()


@pytest.fixture(scope="session")
def providers(net: Net) -> Providers:
    return Providers(net)


@pytest.fixture(scope="session")
def tariffs(request: pytest.FixtureRequest) -> dict[str, Tariff]:
    """Of all modules of this run."""
    found: dict[str, Tariff] = {}
    modules = {item.module for item in request.session.items if isinstance(item, pytest.Function)}
    for module in sorted(modules, key=lambda module: str(module.__file__)):
        for name, tariff in _tariffs_of(module).items():
            assert name not in found, f"two tests have a subscriber {name}"
            found[name] = tariff
    return found


def _tariffs_of(module: ModuleType) -> dict[str, Tariff]:
    found = getattr(module, "TARIFFS", {})
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="session")
def redis() -> Iterator[PrivateRedis]:
    with private_redis() as server:
        yield server


@pytest.fixture(scope="session")
def callgate(
    net: Net, redis: PrivateRedis, tariffs: dict[str, Tariff], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callgate]:
    """The one that most tests share."""
    with Processes() as processes:
        service = Callgate(
            processes, tmp_path_factory.mktemp("callgate"), settings_of(net, redis.url), tariffs
        )
        service.start()
        yield service
        assert service.running.running(), service.running.tail()
        # Whatever the tests did: no exception was ours, no call is left, and nothing in the store is held by one.
        assert service.metric("callgate_internal_errors_total") == 0, service.running.tail(60)
        service.until("all calls are over", lambda: service.metric("callgate_calls_active") == 0)
        assert held(redis) == []


@pytest.fixture
def processes() -> Iterator[Processes]:
    """Ended with the test."""
    with Processes() as started:
        yield started


@pytest.fixture
def softphones(processes: Processes, net: Net, tmp_path: Path) -> Iterator[Softphones]:
    with Softphones(processes, net, tmp_path) as started:
        yield started


@pytest.fixture
def stage_of(
    request: pytest.FixtureRequest, net: Net, providers: Providers, processes: Processes, tmp_path: Path
) -> Callable[[Callgate], Stage]:
    """The stage around a callgate of the test's own."""

    def stage(service: Callgate) -> Stage:
        return Stage(service, net, providers, processes, tmp_path, request.path.parent)

    return stage


@pytest.fixture
def stage(callgate: Callgate, stage_of: Callable[[Callgate], Stage]) -> Stage:
    return stage_of(callgate)


@pytest.fixture
def serve(
    processes: Processes, net: Net, tariffs: dict[str, Tariff], tmp_path: Path
) -> Callable[[Settings], Callgate]:
    """Starts a callgate of the test's own."""

    def start(settings: Settings) -> Callgate:
        service = Callgate(processes, tmp_path / "callgate", settings, tariffs)
        service.start()
        return service

    return start
