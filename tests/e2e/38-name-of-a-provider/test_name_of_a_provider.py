"""A trunk's target is a host name: it is looked up, and who answers there is called."""

from __future__ import annotations

from collections.abc import Callable

from tests.e2e.net import Net, free_port
from tests.e2e.service import Callgate, Settings, Tariff, settings_of
from tests.e2e.stage import Provider, Stage
from tests.redis import PrivateRedis

TARIFFS = {"calls-by-name": Tariff({"fail_calls": "1 per 1h"})}


def test_a_name_is_looked_up(
    net: Net,
    redis: PrivateRedis,
    serve: Callable[[Settings], Callgate],
    stage_of: Callable[[Callgate], Stage],
) -> None:
    port = free_port("127.0.0.1")
    settings = settings_of(net, redis.url, host=19)
    settings["trunks"]["named"] = {"targets": ["sip:no-such-host.invalid", f"sip:localhost:{port}"]}
    settings["routes"].insert(0, {"match": "^name$", "to": "named"})
    stage = stage_of(serve(settings))
    callee = stage.callee(Provider("", ("127.0.0.1", port), "UDP"))
    caller = stage.caller(who="calls-by-name", number="name")
    caller.succeeds()
    callee.succeeds()
    # The first target's name is nobody's, so the second was tried.
    assert callee.one("INVITE ").start == f"INVITE sip:name@localhost:{port} SIP/2.0"
