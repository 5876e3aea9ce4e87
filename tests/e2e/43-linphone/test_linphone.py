"""Three linphones register with digest, hold, transfer in both ways, and are cut on both sides."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from config.listen import Transport
from tests.e2e.linphone import Linphone
from tests.e2e.net import Net
from tests.e2e.service import DOMAIN, Callgate, Settings, Tariff, settings_of
from tests.e2e.softphones import TRANSPORTS, Softphones
from tests.redis import PrivateRedis

TARIFFS = {
    f"lin-{name}-{transport.lower()}": Tariff(limits)
    for transport in TRANSPORTS
    for name, limits in (("anna", {}), ("berta", {}), ("carla", {"call_duration": "2s"}))
}
CALLGATE = 71


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_they_hold_transfer_and_are_cut(
    net: Net,
    redis: PrivateRedis,
    serve: Callable[[Settings], Callgate],
    softphones: Softphones,
    transport: Transport,
) -> None:
    callgate = serve(settings_of(net, redis.url, host=CALLGATE))
    anna, berta, carla = (
        softphones.linphone(
            f"lin-{name}-{transport.lower()}", callgate.address(transport=transport), transport
        )
        for name in ("anna", "berta", "carla")
    )

    # Hold and back.
    call(anna, 1, berta, 1)
    anna.does("call-pause 1")
    anna.await_state(1, "Paused")
    berta.await_state(1, "PausedByRemote")
    anna.does("call-resume 1")
    both(anna, 1, berta, 1, "StreamsRunning")

    # Blind transfer: berta sends anna to carla.
    berta.does(f"call-transfer 1 sip:{carla.user}@{DOMAIN}")
    both(anna, 2, carla, 1, "StreamsRunning")
    anna.await_no_call(1)
    berta.await_no_call(1)
    anna.does("terminate 2")
    carla.await_no_call(1)

    # Attended: berta asks carla first; anna's INVITE takes the place of that call (RFC 3891).
    call(anna, 3, berta, 2)
    call(berta, 3, carla, 2)
    berta.does("call-transfer 2 3")
    both(anna, 4, carla, 3, "StreamsRunning")
    assert len(carla.replacing()) == 1
    for phone_, number in ((anna, 3), (berta, 2), (berta, 3), (carla, 2)):
        phone_.await_no_call(number)
    anna.does("terminate 4")
    carla.await_no_call(3)

    # Cut at the caller's limit.
    call(carla, 4, anna, 5)
    carla.await_no_call(4)
    anna.await_no_call(5)
    for each in (anna, carla):
        each.await_bye('SIP ;cause=402 ;text="call_duration reached"')
    callgate.until("every call is in the records", lambda: len(callgate.records()) == 6)
    *talked, cut = callgate.records()
    assert [one["cut"] for one in talked] == [False] * 5
    assert [one["outcome"] for one in talked] == ["success"] * 5
    assert (cut["reason"], cut["cut"], cut["payers"]) == ("call_duration", True, [carla.user, anna.user])


def call(caller: Linphone, out: int, callee: Linphone, into: int) -> None:
    """A call that is answered by itself. `out`, `into`: its number on either side."""
    caller.does(f"call sip:{callee.user}@{DOMAIN}")
    both(caller, out, callee, into, "StreamsRunning")


def both(one: Linphone, number: int, other: Linphone, others: int, state: str) -> None:
    one.await_state(number, state)
    other.await_state(others, state)
