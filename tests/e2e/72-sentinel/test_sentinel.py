"""The store is a master that sentinels watch. It dies with calls up: they keep their limits, and the counters are those
of before at the new master."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from load.processes import Processes
from tests.e2e.net import Net
from tests.e2e.service import Callgate, Tariff, settings_of
from tests.e2e.stage import Stage
from tests.servers import Watched, watched

LIMIT_S = 6.0
TARIFFS = {
    "fails-over": Tariff(
        {"lines": 1, "call_duration": "6s", "success_calls": "3 per 1h", "total_duration": "1h per 1d"},
        mode="gateway",
    )
}


@pytest.fixture
def servers() -> Iterator[Watched]:
    with watched() as started:
        yield started


@pytest.fixture
def callgate(
    net: Net, servers: Watched, tariffs: dict[str, Tariff], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callgate]:
    settings = settings_of(net, servers.url, host=80)
    settings["store"].update(deadline="1s", lease="5s")
    with Processes() as processes:
        service = Callgate(processes, tmp_path_factory.mktemp("sentinel"), settings, tariffs)
        service.start()
        yield service
        assert service.metric("callgate_internal_errors_total") == 0, service.running.tail(60)


def test_a_call_keeps_its_limits_when_the_master_dies(
    callgate: Callgate, stage_of: Callable[[Callgate], Stage], servers: Watched
) -> None:
    stage = stage_of(callgate)
    provider = stage.provider()
    callee = stage.callee(provider, calls=2)
    stage.caller(who="fails-over", number=provider.number).succeeds()
    cut = stage.caller("hung-up-on", who="fails-over", number=provider.number)
    cut.await_message("SIP/2.0 200")
    old = servers.master
    servers.replicated()
    old.stop()
    callgate.until("it says that it takes no calls", lambda: not callgate.ready())
    callgate.until("it takes calls at the new master", callgate.ready)
    assert servers.master is not old
    callgate.until("all is settled", lambda: callgate.metric("callgate_spool_records") == 0)

    # The line is held at the new master too, until the call is cut.
    busy = stage.caller("refused", who="fails-over", number=provider.number)
    busy.succeeds()
    assert busy.received("SIP/2.0 486")
    cut.succeeds()
    callee.succeeds()
    bye = cut.one("BYE ")
    assert "call_duration" in bye.value("Reason")
    assert LIMIT_S - 0.05 <= bye.at - cut.one("SIP/2.0 200").at <= LIMIT_S + 1.0

    # Two of three were counted before and are still: one passes, the next is refused.
    callee = stage.callee(provider)
    stage.caller(who="fails-over", number=provider.number).succeeds()
    callee.succeeds()
    refused = stage.caller("refused", who="fails-over", number=provider.number)
    refused.succeeds()
    assert "success_calls" in refused.one("SIP/2.0 402").value("Warning")
    callgate.until("leases are renewed there", lambda: callgate.metric("callgate_spool_records") == 0)
