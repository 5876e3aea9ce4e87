"""A linphone transfers, after asking, where a baresip takes part; baresip 1.0.0 knows no Replaces (RFC 3891)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.linphone import Linphone
from tests.e2e.net import Net
from tests.e2e.service import DOMAIN, Callgate, Settings, Tariff, settings_of
from tests.e2e.softphone import Softphone
from tests.e2e.softphones import Softphones
from tests.redis import PrivateRedis

TARIFFS = {
    "asks-first": Tariff(),
    "is-sent-on": Tariff(),
    "knows-no-replaces": Tariff({"lines": 1}, mode="gateway"),
}
T1_S = 0.05


@pytest.fixture
def callgate(net: Net, redis: PrivateRedis, serve: Callable[[Settings], Callgate]) -> Callgate:
    settings = settings_of(net, redis.url, host=8)
    settings["auth"]["algorithms"] = ["MD5"]
    settings["timers"]["t1"] = f"{T1_S * 1000:g}ms"
    return serve(settings)


def transfer(asks: Linphone, sent: Softphone, target: Softphone) -> None:
    """`sent` calls `asks`, which asks `target` before it sends it on."""
    sent.dial(f"sip:{asks.user}@{DOMAIN}")
    sent.await_up()
    asks.await_up()
    asks.dial(f"sip:{target.user}@{DOMAIN}")
    asks.await_up()
    target.await_up()
    asks.does("call-transfer 1 2")


def test_to_one_that_does_not_end_what_was_replaced(callgate: Callgate, softphones: Softphones) -> None:
    """It takes the INVITE with Replaces for a second call.

    callgate knows better: one line will do, and what was replaced is ended.
    """
    asks = softphones.linphone("asks-first", callgate.address())
    sent = softphones.linphone("is-sent-on", callgate.address())
    target = softphones.baresip("knows-no-replaces", callgate.address())
    transfer(asks, sent, target)
    sent.await_up()
    target.await_up()
    assert len(target.messages("INVITE ")[-1].values("Replaces")) == 1
    for phone, number in ((asks, 1), (sent, 1), (asks, 2)):
        phone.await_no_call(number)
    for phone_ in (asks, target):
        phone_.await_bye('SIP ;cause=410 ;text="replaced by another call"')
    # The other one goes on.
    sent.await_state(2, "StreamsRunning")
    sent.hang_up()
    sent.await_over()
    callgate.until("every call is in the records", lambda: len(callgate.records()) == 3)
    talked, replaced, went_on = callgate.records()
    assert (talked["cut"], went_on["cut"]) == (False, False)
    assert (replaced["reason"], replaced["cut"], replaced["payers"]) == (
        "replaced",
        True,
        [asks.user, target.user],
    )
    assert replaced["duration_s"] >= 8 * T1_S


def test_one_that_cannot_be_sent_on_stays(callgate: Callgate, softphones: Softphones) -> None:
    """It makes a Request-URI of half a Refer-To that has headers, is told that, and tells the transferor."""
    asks = softphones.linphone("asks-first", callgate.address())
    target = softphones.linphone("is-sent-on", callgate.address())
    sent = softphones.baresip("knows-no-replaces", callgate.address())
    transfer(asks, sent, target)
    sent.until("it is refused", lambda: bool(sent.messages("SIP/2.0 400", "INVITE")))
    assert sent.messages("SIP/2.0 400", "INVITE")[-1].start == "SIP/2.0 400 Malformed Request-URI"
    # Both calls are as they were.
    asks.does("terminate 2")
    target.await_over()
    asks.await_state(1, "Paused")
    asks.does("call-resume 1")
    asks.await_state(1, "StreamsRunning")
    sent.hang_up()
    asks.await_no_call(1)
    callgate.until("both calls are in the records", lambda: len(callgate.records()) == 2)
    assert [record["outcome"] for record in callgate.records()] == ["success"] * 2
