"""The limiter on a master that sentinels watch: calls go on when another server becomes master."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from tests.policies.busy import Busy, Deaf
from tests.policies.limited import bench_at
from tests.policies.linked import until
from tests.servers import Server, Watched, watched


def died(servers: Watched) -> Server:
    """The master's machine is gone."""
    old = servers.master
    old.stop()
    servers.master_other_than(old)
    return old


def replaced(servers: Watched) -> Server:
    """It goes on as a master, for some seconds, but is none any more."""
    old = servers.master
    servers.fail_over()
    return old


@pytest.mark.parametrize("failed_over", [died, replaced])
def test_calls_go_on_at_the_new_master_and_nothing_is_forgotten(
    failed_over: Callable[[Watched], Server], tmp_path: Path
) -> None:
    async def main() -> None:
        with watched() as servers, servers.master.client() as admin:
            options = {"deadline_s": 2.0, "lease_s": 6.0}
            async with bench_at(servers.url, admin, tmp_path, user=Deaf(), **options) as bench:
                names = [f"payer{n}" for n in range(12)]
                calls = Busy(bench, names)
                await until(lambda: all(calls.live.values()))
                await calls.stop()
                held = {name: list(legs) for name, legs in calls.live.items()}
                servers.replicated()
                failing = asyncio.get_running_loop().run_in_executor(None, failed_over, servers)
