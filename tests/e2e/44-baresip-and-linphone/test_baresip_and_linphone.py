"""A baresip and a linphone call each other: either holds, either hangs up, and both see the cut."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from config.listen import Transport
from tests.e2e.net import Net
from tests.e2e.service import DOMAIN, Callgate, Settings, Tariff, settings_of
from tests.e2e.softphone import Softphone
from tests.e2e.softphones import TRANSPORTS, Softphones
from tests.redis import PrivateRedis

LIMIT_S = 2.0
TARIFFS = {
    "mixed-bare": Tariff(),
    "mixed-lin": Tariff(),
    **{
        f"mixed-{kind}-{transport}": Tariff({"call_duration": f"{LIMIT_S:g}s"})
        for kind in ("bare", "lin")
        for transport in TRANSPORTS
    },
}
REASON = 'SIP ;cause=402 ;text="call_duration reached"'


@pytest.fixture
def callgate(net: Net, redis: PrivateRedis, serve: Callable[[Settings], Callgate]) -> Callgate:
    settings = settings_of(net, redis.url, host=8)
    settings["auth"]["algorithms"] = ["MD5"]
    return serve(settings)


@pytest.mark.parametrize(
    ("baresips", "linphones"), [*zip(TRANSPORTS, TRANSPORTS, strict=True), ("UDP", "TLS"), ("TCP", "UDP")]
)
def test_either_calls_holds_and_hangs_up(
    callgate: Callgate, softphones: Softphones, baresips: Transport, linphones: Transport
) -> None:
    baresip = softphones.baresip("mixed-bare", callgate.address(transport=baresips), baresips)
    linphone = softphones.linphone("mixed-lin", callgate.address(transport=linphones), linphones)
    pairs: list[tuple[Softphone, Softphone]] = [(baresip, linphone), (linphone, baresip)]
    for caller, callee in pairs:
        call(caller, callee)
        for one, other in pairs:
            one.hold()
            other.await_held()
            one.resume()
            other.await_resumed()
        # Who was called hangs up the first call, who calls the second: linphone both, …
        linphone.hang_up()
        baresip.await_over()
        linphone.await_over()
        # … then baresip.
        call(caller, callee)
        baresip.hang_up()
        linphone.await_over()
    callgate.until("every call is in the records", lambda: len(callgate.records()) == 4)
    assert [(one["caller"], one["ended_by"], one["outcome"]) for one in callgate.records()] == [
        (f"{baresip.user}@{DOMAIN}", "callee", "success"),
        (f"{baresip.user}@{DOMAIN}", "caller", "success"),
        (f"{linphone.user}@{DOMAIN}", "caller", "success"),
        (f"{linphone.user}@{DOMAIN}", "callee", "success"),
    ]


def test_both_see_the_cut(callgate: Callgate, softphones: Softphones) -> None:
    """A pair over UDP, one over TCP and one over TLS, all at once."""
    pairs: list[tuple[Softphone, Softphone]] = [
        (
            softphones.baresip(f"mixed-bare-{transport}", callgate.address(transport=transport), transport),
            softphones.linphone(f"mixed-lin-{transport}", callgate.address(transport=transport), transport),
        )
        for transport in TRANSPORTS
    ]
    for turned in (False, True):
        for pair in pairs:
            caller, callee = reversed(pair) if turned else pair
            call(caller, callee)
        for pair in pairs:
            for each in pair:
                each.await_over()
                each.await_bye(REASON)
    callgate.until("every call is in the records", lambda: len(callgate.records()) == 2 * len(pairs))
    for record in callgate.records():
        assert (record["outcome"], record["reason"], record["cut"]) == ("success", "call_duration", True)
        assert LIMIT_S <= record["duration_s"] < LIMIT_S + 1


def call(caller: Softphone, callee: Softphone) -> None:
    caller.dial(f"sip:{callee.user}@{DOMAIN}")
    caller.await_up()
    callee.await_up()
