"""callgate is killed with -9 while softphones talk: started again, it cuts their calls on time, and both see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from config.listen import Transport
from tests.e2e.net import Net
from tests.e2e.service import DOMAIN, Callgate, Settings, Tariff, settings_of
from tests.e2e.softphone import Softphone
from tests.e2e.softphones import Softphones
from tests.redis import PrivateRedis, private_redis

LIMIT_S = 7.0
# Of baresip and linphone. Not baresip over TLS: it does not notice that its connection is gone, and takes none.
PAIRS: tuple[tuple[Transport, Transport], ...] = (("UDP", "UDP"), ("TCP", "TCP"), ("UDP", "TLS"))
TARIFFS = {
    f"outlives-{name}-{n}": Tariff({"call_duration": f"{LIMIT_S:g}s"})
    for name in ("bare", "lin")
    for n in range(len(PAIRS))
}


@pytest.fixture
def redis() -> Iterator[PrivateRedis]:
    """Of this instance alone: any other on the same store would take up what it leaves."""
    with private_redis() as server:
        yield server


def test_both_see_the_cut_of_a_call_that_was_taken_up(
    net: Net, redis: PrivateRedis, serve: Callable[[Settings], Callgate], softphones: Softphones
) -> None:
    settings = settings_of(net, redis.url, host=8)
    settings["auth"]["algorithms"] = ["MD5"]
    callgate = serve(settings)

    def pair(n: int, baresip: Transport, linphone: Transport) -> tuple[Softphone, Softphone]:
        return (
            softphones.baresip(f"outlives-bare-{n}", callgate.address(transport=baresip), baresip),
            softphones.linphone(f"outlives-lin-{n}", callgate.address(transport=linphone), linphone),
        )

    pairs = [pair(n, *transports) for n, transports in enumerate(PAIRS)]
    for caller, callee in pairs:
        caller.dial(f"sip:{callee.user}@{DOMAIN}")
        caller.await_up()
        callee.await_up()
    callgate.kill()
    callgate.start()
    # linphone has lost its connection and takes none: it is reached by the one it registers anew with.
    callgate.until(
        "who lost a connection is registered again",
        lambda: callgate.metric("callgate_registrations_total", result="accepted") >= 2,
    )
    for phones in pairs:
        for each in phones:
            each.await_over()
            each.await_bye('SIP ;cause=402 ;text="call_duration reached"')
    callgate.until("their records", lambda: len(callgate.records()) == len(pairs))
    for record in callgate.records():
        assert (record["outcome"], record["reason"], record["cut"]) == ("success", "call_duration", True)
        assert LIMIT_S - 0.05 <= record["duration_s"] < LIMIT_S + 1.5
    assert callgate.metric("callgate_leases_total", event="taken_over") == len(pairs)
