"""Two real softphones (baresip) register with digest and call each other; their audio goes past callgate."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from load.processes import Processes
from tests.e2e.baresip import HOST, Baresip
from tests.e2e.net import TRANSPORTS, Net, Transport, pause
from tests.e2e.service import DOMAIN, PASSWORD, Callgate, Settings, Tariff, settings_of
from tests.redis import PrivateRedis

TARIFFS = {"anna": Tariff({"call_duration": "2s"}), "berta": Tariff()}
TALK_S = 0.5
PACKETS_A_SECOND = 50


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_two_softphones_talk(
    net: Net,
    redis: PrivateRedis,
    serve: Callable[[Settings], Callgate],
    processes: Processes,
    tmp_path: Path,
    transport: Transport,
) -> None:
    settings = settings_of(net, redis.url, host=8)
    # The baresip of Debian 12 gives up when SHA-256 is offered, even beside MD5.
    settings["auth"]["algorithms"] = ["MD5"]
    callgate = serve(settings)
    with ExitStack() as stack:
        phones = [
            stack.enter_context(
                Baresip(processes, tmp_path / user, user, PASSWORD, callgate.address(), transport, DOMAIN)
            )
            for user in ("anna", "berta")
        ]
        anna, berta = phones
        for phone in phones:
            phone.register()

        # Hung up by the caller.
        first = call(anna, berta)
        pause(TALK_S)
        anna.command("hangup")
        berta.await_event("CALL_CLOSED")
        # Cut at the caller's limit of two seconds.
        second = call(anna, berta)
        for phone in phones:
            phone.await_event("CALL_CLOSED")

        for phone in phones:
            for number, seconds in ((1, TALK_S), (2, 2.0)):
                # Each side heard the other for as long as they talked, give or take what a busy machine swallows.
                sent, received = phone.packets(number)
                assert min(sent, received) >= seconds * PACKETS_A_SECOND * 0.6

    talked, cut = callgate.record(first), callgate.record(second)
    assert (talked["outcome"], talked["ended_by"], talked["cut"]) == ("success", "caller", False)
    assert (cut["outcome"], cut["reason"], cut["cut"]) == ("success", "call_duration", True)
    assert talked["payers"] == ["anna", "berta"]


def call(caller: Baresip, callee: Baresip) -> str:
    """A call that is answered by itself, and whose audio has begun; its Call-ID."""
    caller.command("dial", f"sip:{callee.user}@{DOMAIN}")
    established = caller.await_event("CALL_ESTABLISHED")
    callee.await_event("CALL_ESTABLISHED")
    # From the other's own address: callgate has another one.
    assert (caller.audio_from(), callee.audio_from()) == (HOST, HOST)
    return str(established["id"])
