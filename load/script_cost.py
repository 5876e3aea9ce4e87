"""What admission costs Redis, for a payer with few and with many calls up: `python -m load.script_cost`.

Measured as Redis's own time in the scripts (INFO commandstats), in turns with a script that does the least there is to
do: one HINCRBY and one ZADD. The smallest figure of many short runs is taken, for a busy machine adds to the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redis import Redis

from policies import keys
from policies.scripts import shipped_scripts
from tests.policies.scripted import LEASE_MS, limit, limits, unpacked
from tests.redis import private_redis

DAY = 86_400_000
CALLS = 50
RUNS = 60
BARE = "redis.call('HINCRBY', KEYS[1], 'n', 1) redis.call('ZADD', KEYS[2], ARGV[1], ARGV[2]) return 1"

# Every limit there is, and none of them reached.
TARIFF = limits(
    total=limit("total_duration", DAY, DAY, "both"),
    success=limit("success_calls", 10**9, DAY),
    fail=limit("fail_calls", 10**9, DAY),
    lines=10**9,
)

Command = tuple[Any, ...]


def lease(number: int) -> str:
    return f"{number:016x}o"


def usec_per_call(client: Redis, command: Callable[[int], Command]) -> float:
    """Redis's time for one call, over CALLS of them."""
    pipeline = client.pipeline(transaction=False)
    for number in range(CALLS):
        pipeline.execute_command(*command(number))  # type: ignore[no-untyped-call]
    client.config_resetstat()
    pipeline.execute()
    stats: Any = client.info("commandstats")
    return float(stats["cmdstat_evalsha"]["usec_per_call"])


def cost(client: Redis, live: int) -> tuple[float, float]:
    """(admission, bare script) in µs for a payer with so many calls up."""
    admit, bare = shipped_scripts().admit, client.script_load(BARE)
    client.script_load(admit.text.decode())
    names = unpacked(keys.call_keys("alice", "gateway"))
    names.append(names[0])
    arguments = unpacked(keys.limit_arguments(TARIFF, 1) + keys.lease_life(LEASE_MS))
    far = 10**13
    talking = {lease(10**6 + number): far for number in range(live)}

    def admission(number: int) -> Command:
        return ("EVALSHA", admit.sha, admit.keys, *names, *arguments, lease(number), 1, far)

    def least(number: int) -> Command:
        return ("EVALSHA", bare, 2, names[0] + b"bare", names[1] + b"bare", number, lease(number))

    admissions, bares = [], []
    client.zadd(names[3], talking)
    client.zadd(names[1] + b"bare", talking)
    for _ in range(RUNS):
        admissions.append(usec_per_call(client, admission))
        bares.append(usec_per_call(client, least))
        client.zrem(names[1], *map(lease, range(CALLS)))
        client.zrem(names[1] + b"bare", *map(lease, range(CALLS)))
    return min(admissions), min(bares)


def main() -> None:
    """Prints one line for a payer with 10 calls up and one with 10,000."""
    for live in (10, 10_000):
        with private_redis() as server:
            admission, least = cost(Redis(unix_socket_path=str(server.socket)), live)
        ratio = admission / least
        print(
            f"{live:6} calls up: admission {admission:.2f} µs, bare script {least:.2f} µs, {ratio:.2f} times"
        )


if __name__ == "__main__":
    main()
