"""One system for most cases, with the customers of all modules that run; what fails, dies or is emptied has its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.net import Net
from tests.limits.form import LONG
from tests.limits.stage import Scene, play_all
from tests.limits.system import Bought
from tests.limits.table import Table
from tests.limits.under_callgate import UnderCallgate, under_callgate

_TABLE = pytest.StashKey[Table]()
FOLDER = Path(__file__).parent
# In the short form the limiter's own tests stand for it.
collect_ignore = [] if LONG else ["test_spooled.py"]


@pytest.fixture(scope="session")
def net() -> Net:
    return Net()


@pytest.fixture(scope="session")
def table(request: pytest.FixtureRequest) -> Table:
    return request.config.stash.setdefault(_TABLE, Table())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    table = config.stash.get(_TABLE, None)
    if table is not None and table.rows:
        terminalreporter.section("limits: case, expected, seen")
        for line in table.lines():
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def customers(request: pytest.FixtureRequest) -> dict[str, Bought]:
    """CUSTOMERS of all modules of this run."""
    return _of_all(request, "CUSTOMERS")


@pytest.fixture(scope="session")
def played(request: pytest.FixtureRequest, system: UnderCallgate) -> dict[Any, Any]:
    """SCENES of all modules of this run, played at once: they take time and little else. What each saw, or raised."""
    scenes: dict[Any, Scene[Any]] = _of_all(request, "SCENES")
    return play_all(system, scenes)


def _of_all(request: pytest.FixtureRequest, name: str) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    modules = {item.module for item in request.session.items if isinstance(item, pytest.Function)}
    for module in sorted(modules, key=lambda module: str(module.__file__)):
        if Path(str(module.__file__)).parent != FOLDER:
            continue
        for key, value in getattr(module, name, {}).items():
            assert key not in found, f"{name}: two cases have {key}"
            found[key] = value
    return found


@pytest.fixture(scope="session")
def system(
    net: Net, customers: dict[str, Bought], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[UnderCallgate]:
    """Two instances on one store, which most cases share."""
    with under_callgate(net, tmp_path_factory.mktemp("limits"), customers) as started:
        yield started
        assert started.alarms() == []
