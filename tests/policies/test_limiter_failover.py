"""The limiter on a master that sentinels watch: calls go on when another server takes its place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from policies.lease import Outcome
from policies.verdicts import Admitted
from tests.policies.busy import Busy, Deaf, payer_named
from tests.policies.limited import bench_at, leg
from tests.policies.linked import until
from tests.servers import Server, Watched, watched


def died(servers: Watched) -> None:
    """The master's machine is gone."""
    old = servers.master
    old.stop()
    servers.master_other_than(old)


def replaced(servers: Watched) -> None:
    """It goes on as a master for some seconds, but is none any more."""
    servers.fail_over()


@pytest.mark.parametrize("fails_over", [died, replaced])
def test_calls_go_on_at_the_new_master(fails_over: Callable[[Watched], None], tmp_path: Path) -> None:
    async def main() -> None:
        with watched() as servers, servers.master.client() as admin:
            async with bench_at(
                servers.url, admin, tmp_path, user=Deaf(), deadline_s=2.0, lease_s=5.0
            ) as bench:
                names = [f"payer{n}" for n in range(12)]
                calls = Busy(bench, names)
                await until(lambda: all(calls.live.values()))
                old = servers.master
                await asyncio.get_running_loop().run_in_executor(None, fails_over, servers)
                renewed = bench.counters.leases_renewed
                before = calls.admitted.copy()
                await until(lambda: bench.limiter.up and all(calls.admitted[n] > before[n] for n in names))
                await until(lambda: bench.counters.leases_renewed > renewed)
                await calls.stop()
                new = servers.master
                assert new is not old
                assert clients_of(new) > 0
                await until(lambda: bench.counters.spool_records == 0)
                # Each call that is up is asserted anew, and none that is over is held.
                for name in names:
                    await held_are(calls, name)
                for name in names:
                    while calls.live[name]:
                        calls.end_one(name)
                for name in names:
                    await held_are(calls, name)
                assert bench.counters.spool_records == 0

    uvloop.run(main())


async def held_are(calls: Busy, name: str) -> None:
    """Waits until the leases that a payer holds in the store are those of its calls."""
    async with asyncio.timeout(20):
        while True:
            usage = await calls.usage(name)
            if usage and {lease.lease for lease in usage.leases} == {one.lease for one in calls.live[name]}:
                return
            await asyncio.sleep(0.01)


def clients_of(server: Server) -> int:
    """Besides the one that asks."""
    with server.client() as client:
        return len(client.client_list()) - 1


def test_what_the_old_master_did_last_is_told_to_the_new_one(tmp_path: Path) -> None:
    """From some moment on nothing is replicated, then the replica becomes master: what was counted is not lost."""

    async def main() -> None:
        with watched() as servers:
            old = servers.master
            (replica,) = (server for server in servers.servers if server is not old)
            with old.client() as admin, replica.client() as other:
                async with bench_at(servers.url, admin, tmp_path, user=Deaf(), deadline_s=2.0) as bench:
                    payer = payer_named("alice", lines=4)
                    fails, ends, answers, rings = (leg(payer) for _ in range(4))
                    for one in (fails, ends, answers, rings):
                        assert isinstance(await bench.admit(one), Admitted)
                    bench.limiter.answered(ends)
                    await until(lambda: len(bench.lines()) == 2)
                    servers.replicated()
                    other.replicaof("NO", "ONE")  # from here on it does not hear of anything
                    bench.limiter.release(fails, Outcome.FAIL)
                    bench.limiter.release(ends, Outcome.SUCCESS)
                    bench.limiter.answered(answers)
                    await until(lambda: bench.lines() == {"to": [answers.lease], "po": [rings.lease]})
                    old.stop()
                    await until(lambda: not bench.limiter.up)
                    await until(lambda: bench.limiter.up)
                    usage = None
                    async with asyncio.timeout(10):
                        while usage is None or usage.calls != 2:
                            usage = await bench.limiter.payers.usage(payer)
                    assert (usage.fail_calls.used, usage.success_calls.used) == (1, 2)
                    assert {(lease.lease, lease.talks) for lease in usage.leases} == {
                        (answers.lease, True),
                        (rings.lease, False),
                    }
                    assert isinstance(await bench.admit(leg(payer)), Admitted)

    uvloop.run(main())
