"""A provider that says nothing at all: the INVITE is repeated, then given up (RFC 3261 §17.1.1.2, Timers A and B)."""

from __future__ import annotations

import socket
from collections.abc import Callable

from tests.e2e.net import Net
from tests.e2e.service import Callgate, Settings, Tariff, settings_of
from tests.e2e.stage import Stage
from tests.redis import PrivateRedis

T1_S = 0.05
TARIFFS = {"unheard": Tariff({"fail_calls": "1 per 1h"})}


def test_silence_is_a_408_and_a_failure(
    net: Net,
    redis: PrivateRedis,
    serve: Callable[[Settings], Callgate],
    stage_of: Callable[[Callgate], Stage],
) -> None:
    settings = settings_of(net, redis.url, host=2)
    settings["timers"]["t1"] = "50ms"
    stage = stage_of(serve(settings))
    provider = stage.provider()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(provider.address)
        caller = stage.caller("refused", who="unheard", number=provider.number)
        caller.succeeds()
        silent.setblocking(False)
        copies = []
        while True:
            try:
                copies.append(silent.recv(65535))
            except BlockingIOError:
                break
    answer = caller.one("SIP/2.0 408")
    assert 64 * T1_S - 0.05 <= answer.at - caller.sent("INVITE ")[0].at < 64 * T1_S + 2
    # Timer A doubles: at 0, 1, 3, 7, 15, 31 and 63 times T1. With T1 this short the last and Timer B may change places.
    assert len(copies) in (6, 7)
    assert len(set(copies)) == 1
    record = stage.callgate.record(caller.call_id)
    assert (record["outcome"], record["status"]) == ("fail", 408)
    # It was the one failure of the hour.
    again = stage.caller("refused", who="unheard", number=provider.number)
    again.succeeds()
    assert again.one("SIP/2.0 402").start == "SIP/2.0 402 Amount of fail calls is exceeded"
