"""Every message is lost once, on both sides of callgate: the call is carried all the same, and is one call."""

from __future__ import annotations

from collections.abc import Callable

from tests.e2e.net import Net
from tests.e2e.relay import BadLine
from tests.e2e.service import Callgate, Settings, Tariff, settings_of
from tests.e2e.stage import Provider, Stage
from tests.redis import PrivateRedis

TARIFFS = {"bad-line": Tariff({"lines": 1, "success_calls": "1 per 1h"}, mode="gateway")}


def test_a_call_on_a_line_that_loses_everything_once(
    net: Net,
    redis: PrivateRedis,
    serve: Callable[[Settings], Callgate],
    stage_of: Callable[[Callgate], Stage],
) -> None:
    settings = settings_of(net, redis.url, host=15)
    settings["timers"]["t1"] = "100ms"
    stage = stage_of(serve(settings))
    provider = stage.provider()
    behind = Provider("", (net.host(16), net.sip_port), "UDP")
    host, port = provider.address
    callee = stage.callee(behind, keys={"contact": f"sip:callee@{host}:{port}"})
    near = (net.host(17), net.sip_port)
    with (
        BadLine(near, stage.callgate.address(), net.host(Net.TRUSTED)) as before,
        BadLine(provider.address, behind.address, net.host(18)) as after,
    ):
        caller = stage.caller(who="bad-line", number=provider.number, through=near, hold_s=2)
        caller.succeeds()
        callee.succeeds()
    # INVITE, ACK, BYE one way; the other way 200 and 200, and before callgate the 100 as well.
    assert (before.lost, after.lost) == (6, 5)

    record = stage.callgate.record(caller.call_id)
    assert (record["outcome"], record["ended_by"]) == ("success", "caller")
    assert stage.callgate.metric("callgate_admissions_total") == 1
    for direction in ("in", "out"):
        assert stage.callgate.metric("callgate_retransmissions_total", direction=direction) >= 2
    # It was one success, and it holds its line no more.
    again = stage.caller("refused", who="bad-line", number=provider.number)
    again.succeeds()
    assert again.one("SIP/2.0 402").start == "SIP/2.0 402 Amount of success calls is exceeded"
