"""Two real softphones (baresip) register with digest and call each other; their audio goes past callgate."""

from __future__ import annotations

from collections.abc import Callable

from config.listen import Transport
from tests.e2e.baresip import Baresip
from tests.e2e.net import Net, pause
from tests.e2e.service import DOMAIN, Callgate, Settings, Tariff, settings_of
from tests.e2e.softphones import TRANSPORTS, Softphones
from tests.redis import PrivateRedis

LIMIT_S = 2.0
TARIFFS = {
    **{f"anna-{transport}": Tariff({"call_duration": "2s"}) for transport in TRANSPORTS},
    **{f"berta-{transport}": Tariff() for transport in TRANSPORTS},
    **{f"bare-{name}": Tariff() for name in ("anna", "berta", "carla")},
}
TALK_S = 0.5
PACKETS_A_SECOND = 50


def test_softphones_talk_and_are_cut(
    net: Net, redis: PrivateRedis, serve: Callable[[Settings], Callgate], softphones: Softphones
) -> None:
    """A pair over UDP, one over TCP and one over TLS, all at once; over TLS they check who callgate is."""
    settings = settings_of(net, redis.url, host=8)
    settings["auth"]["algorithms"] = ["MD5"]
    callgate = serve(settings)

    def phone(user: str, transport: Transport) -> Baresip:
        return softphones.baresip(user, callgate.address(transport=transport), transport)

    pairs = [
        (phone(f"anna-{transport}", transport), phone(f"berta-{transport}", transport))
        for transport in TRANSPORTS
    ]

    # Hung up by the caller.
    talked = [call(anna, berta) for anna, berta in pairs]
    pause(TALK_S)
    for anna, berta in pairs:
        anna.hang_up()
        berta.await_over()
    # Cut at the caller's limit.
    cut = [call(anna, berta) for anna, berta in pairs]
    for pair in pairs:
        for each in pair:
            each.await_over()

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
    net: Net, redis: PrivateRedis, serve: Callable[[Settings], Callgate], softphones: Softphones
) -> None:
    """Hold and back by re-INVITE; a blind transfer by REFER, which the one sent away follows by itself."""
    settings = settings_of(net, redis.url, host=8)
    settings["auth"]["algorithms"] = ["MD5"]
    callgate = serve(settings)
    anna, berta, carla = (
        softphones.baresip(f"bare-{name}", callgate.address()) for name in ("anna", "berta", "carla")
    )
    held = call(anna, berta)
    anna.hold()
    berta.await_held()
    anna.resume()
    berta.await_resumed()

    berta.transfer(f"sip:{carla.user}@{DOMAIN}")
    carla.await_up()
    anna.await_up()
    record = callgate.record(held)
    assert (record["outcome"], record["payers"]) == ("success", [anna.user, berta.user])
    anna.hang_up()
    carla.await_over()
    callgate.until("the second call's record", lambda: len(callgate.records()) == 2)
    assert callgate.records()[1]["payers"] == [anna.user, carla.user]


def call(caller: Baresip, callee: Baresip) -> str:
    """A call that is answered by itself, and whose audio has begun; its Call-ID."""
    caller.dial(f"sip:{callee.user}@{DOMAIN}")
    caller.await_up()
    callee.await_up()
    for one, other in ((caller, callee), (callee, caller)):
        one.await_audio()
        # It was told the other's own address, and by the packets counted later it sends there.
        assert one.audio_addresses() == {one.host, other.host}
    return caller.call_id
