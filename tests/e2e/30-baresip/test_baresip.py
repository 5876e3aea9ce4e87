"""Two real softphones (baresip) register with digest and call each other; their audio goes past callgate."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from config.listen import Transport
from load.processes import Processes
from tests.e2e.baresip import Baresip
from tests.e2e.net import Net, pause
from tests.e2e.service import DOMAIN, PASSWORD, Callgate, Settings, Tariff, settings_of
from tests.redis import PrivateRedis

TRANSPORTS: tuple[Transport, ...] = ("UDP", "TCP", "TLS")
LIMIT_S = 2.0
TARIFFS = {
    **{f"anna-{transport}": Tariff({"call_duration": "2s"}) for transport in TRANSPORTS},
    **{f"berta-{transport}": Tariff() for transport in TRANSPORTS},
    **{f"bare-{name}": Tariff() for name in ("anna", "berta", "carla")},
}
TALK_S = 0.5
PACKETS_A_SECOND = 50


def test_softphones_talk_and_are_cut(
    net: Net,
    redis: PrivateRedis,
    serve: Callable[[Settings], Callgate],
    processes: Processes,
    tmp_path: Path,
) -> None:
    """A pair over UDP, one over TCP and one over TLS, all at once; over TLS they check who callgate is."""
    settings = settings_of(net, redis.url, host=8)
    # The baresip of Debian 12 gives up when SHA-256 is offered, even beside MD5.
    settings["auth"]["algorithms"] = ["MD5"]
    callgate = serve(settings)
    hosts = itertools.count(Net.SOFTPHONES)
    with ExitStack() as stack:

        def phone(user: str, transport: Transport) -> Baresip:
            folder = tmp_path / user
            host = net.host(next(hosts))
            started = Baresip(
                processes,
                folder,
                host,
                user,
                PASSWORD,
                callgate.address(transport=transport),
                transport,
                DOMAIN,
            )
            return stack.enter_context(started)

        pairs = [
            (phone(f"anna-{transport}", transport), phone(f"berta-{transport}", transport))
            for transport in TRANSPORTS
        ]
        for pair in pairs:
            for each in pair:
                each.register()

        # Hung up by the caller.
        talked = [call(anna, berta) for anna, berta in pairs]
        pause(TALK_S)
        for anna, berta in pairs:
            anna.command("hangup")
            berta.await_event("CALL_CLOSED")
        # Cut at the caller's limit.
        cut = [call(anna, berta) for anna, berta in pairs]
        for pair in pairs:
            for each in pair:
                each.await_event("CALL_CLOSED")

        for pair in pairs:
            for each in pair:
                for number, seconds in ((1, TALK_S), (2, LIMIT_S)):
                    # Each heard the other for as long as they talked, but for what a busy machine swallows.
                    sent, received = each.packets(number)
                    assert min(sent, received) >= seconds * PACKETS_A_SECOND * 0.6

    for call_id, transport in zip(talked, TRANSPORTS, strict=True):
        record = callgate.record(call_id)
        assert (record["outcome"], record["ended_by"], record["cut"]) == ("success", "caller", False)
        assert record["payers"] == [f"anna-{transport}", f"berta-{transport}"]
    for call_id in cut:
        record = callgate.record(call_id)
        assert (record["outcome"], record["reason"], record["cut"]) == ("success", "call_duration", True)


def test_softphones_hold_and_transfer(
    net: Net,
    redis: PrivateRedis,
    serve: Callable[[Settings], Callgate],
    processes: Processes,
    tmp_path: Path,
) -> None:
    """Hold and back by re-INVITE; a blind transfer by REFER, which the one sent away follows by itself."""
    settings = settings_of(net, redis.url, host=8)
    settings["auth"]["algorithms"] = ["MD5"]
    callgate = serve(settings)
    with ExitStack() as stack:

        def phone(n: int, user: str) -> Baresip:
            proxy = callgate.address()
            host = net.host(Net.SOFTPHONES + n)
            started = Baresip(processes, tmp_path / user, host, user, PASSWORD, proxy, "UDP", DOMAIN)
            return stack.enter_context(started)

        anna, berta, carla = (phone(n, f"bare-{name}") for n, name in enumerate(("anna", "berta", "carla")))
        for each in (anna, berta, carla):
            each.register()
        held = call(anna, berta)
        anna.command("hold")
        berta.await_said("a=sendonly")
        anna.command("resume")
        berta.await_said("a=sendrecv", after="a=sendonly")

        berta.command("transfer", f"sip:{carla.user}@{DOMAIN}")
        carla.await_event("CALL_ESTABLISHED")
        anna.await_event("CALL_ESTABLISHED")
        record = callgate.record(held)
        assert (record["outcome"], record["payers"]) == ("success", [anna.user, berta.user])
        anna.command("hangup")
        carla.await_event("CALL_CLOSED")
    callgate.until("the second call's record", lambda: len(callgate.records()) == 2)
    assert callgate.records()[1]["payers"] == [anna.user, carla.user]


def call(caller: Baresip, callee: Baresip) -> str:
    """A call that is answered by itself, and whose audio has begun; its Call-ID."""
    caller.command("dial", f"sip:{callee.user}@{DOMAIN}")
    established = caller.await_event("CALL_ESTABLISHED")
    callee.await_event("CALL_ESTABLISHED")
    for one, other in ((caller, callee), (callee, caller)):
        one.await_audio()
        # It was told the other's own address, and by the packets counted later it sends there.
        assert one.audio_addresses() == {one.host, other.host}
    return str(established["id"])
