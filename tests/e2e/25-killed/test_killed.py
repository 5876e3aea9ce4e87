"""callgate is killed with -9 in the middle of a call: the line it held is free within the lease, for every instance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from load.processes import Processes
from tests.e2e.net import Net
from tests.e2e.service import Callgate, Tariff, settings_of
from tests.e2e.stage import Stage
from tests.redis import PrivateRedis

LEASE_S = 2.0
TARIFFS = {"one-line-left": Tariff({"lines": 1}, mode="gateway")}


def test_the_line_of_a_dead_instance_is_free_within_the_lease(
    net: Net,
    redis: PrivateRedis,
    tariffs: dict[str, Tariff],
    processes: Processes,
    tmp_path: Path,
    stage_of: Callable[[Callgate], Stage],
) -> None:
    stages = []
    for name, host in (("one", 6), ("other", 7)):
        settings = settings_of(net, redis.url, host)
        settings["store"]["lease"] = f"{LEASE_S:g}s"
        callgate = Callgate(processes, tmp_path / name, settings, tariffs)
        callgate.start()
        stages.append(stage_of(callgate))
    one, other = stages

    provider = one.provider()
    callee = one.callee(provider, calls=9)
    one.caller(who="one-line-left", number=provider.number, hold_s=20)
    callee.await_message("ACK ")
    # The lease is kept alive while the call is: much later than the lease the line is still taken.
    held_until = callee.received("ACK ")[0].at + LEASE_S * 1.5
    while refused(other, provider.number) < held_until:
        pass
    one.callgate.kill()

    def free() -> bool:
        caller = other.caller("through-or-refused", who="one-line-left", number=provider.number)
        caller.succeeds()
        return caller.received("SIP/2.0 486") == []

    freed_after = other.callgate.until("the line is free", free)
    assert freed_after <= LEASE_S + 1.0


def refused(stage: Stage, number: str) -> float:
    """One more call is refused; returns when that was, in Unix seconds."""
    caller = stage.caller("refused", who="one-line-left", number=number)
    caller.succeeds()
    return caller.one("SIP/2.0 486").at
