"""A browser (JsSIP in Chromium) registers over secure WebSocket, calls a SIPp on UDP, is called by one, and is cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from load.processes import Processes
from tests.e2e.browser import browsing, browsing_all, serving, shown, site
from tests.e2e.net import Net
from tests.e2e.service import DOMAIN, PASSWORD, Callgate, Settings, Tariff, settings_of
from tests.e2e.stage import Stage
from tests.redis import PrivateRedis

TARIFFS = {
    "browses": Tariff({"call_duration": "2s"}),
    "calls-a-browser": Tariff(),
    **{f"tab-{name}": Tariff() for name in ("anna", "berta", "carla")},
}


@pytest.mark.timeout(120)  # The first run fetches JsSIP.
def test_a_browser_phone(
    net: Net,
    redis: PrivateRedis,
    serve: Callable[[Settings], Callgate],
    stage_of: Callable[[Callgate], Stage],
    processes: Processes,
    tmp_path: Path,
) -> None:
    settings = settings_of(net, redis.url, host=7)
    # As by default: of several challenges JsSIP sees the last one only, and it knows no other than MD5.
    settings["auth"]["algorithms"] = ["SHA-256", "MD5"]
    stage = stage_of(serve(settings))
    host, port = stage.callgate.address(transport="WSS")
    with (
        serving(site()) as address,
        browsing(processes, tmp_path, f"{address}/phone.html", shown(stage.callgate)) as page,
    ):
        page.call("register", f"wss://{host}:{port}/", f"sip:browses@{DOMAIN}", PASSWORD)
        page.next("registered")
        assert stage.callgate.metric("callgate_connections_open", transport="wss") == 1

        # It calls, and is cut at its limit. What a browser offers is more than a datagram should hold: TCP is tried
        # first, and the callee takes none (RFC 3261 §18.1.1).
        provider = stage.provider("UDP")
        callee = stage.callee(provider, "webrtc-callee")
        page.call("dial", f"sip:{provider.number}@{DOMAIN}")
        call_id = page.next("session")["callId"]
        page.next("confirmed")
        ended = page.next("ended")
        assert ended["originator"] == "remote"
        assert ended["reason"] == 'SIP ;cause=402 ;text="call_duration reached"'
        callee.succeeds()
        invite = callee.one("INVITE ")
        assert invite.values("Via")[0].startswith("SIP/2.0/UDP ")
        assert len(invite.text) > 1300
        assert stage.callgate.record(call_id)["reason"] == "call_duration"

        # It is called, and the caller hangs up.
        caller = stage.caller("webrtc-caller", who="calls-a-browser", number="browses", hold_s=0.2)
        assert page.next("session")["originator"] == "remote"
        page.next("confirmed")
        assert page.next("ended")["originator"] == "remote"
        caller.succeeds()

        # It is called, and hangs up.
        caller = stage.caller("webrtc-hung-up-on", who="calls-a-browser", number="browses")
        page.next("confirmed")
        page.call("hangUp")
        caller.succeeds()
        assert stage.callgate.record(caller.call_id)["ended_by"] == "callee"


@pytest.mark.timeout(120)  # The first run fetches JsSIP.
def test_browsers_hold_and_transfer(
    net: Net,
    redis: PrivateRedis,
    serve: Callable[[Settings], Callgate],
    processes: Processes,
    tmp_path: Path,
) -> None:
    """Hold and back by re-INVITE; session timers agreed upon; a blind transfer, which the one sent away follows."""
    settings = settings_of(net, redis.url, host=7)
    # JsSIP asks for 90 s, and gives up when told by 422 that this is not enough.
    settings["session_timers"] = {"enabled": True, "session_expires": "10m", "min_se": "90s"}
    settings["auth"]["algorithms"] = ["SHA-256", "MD5"]
    callgate = serve(settings)
    host, port = callgate.address(transport="WSS")
    with (
        serving(site()) as address,
        browsing_all(processes, tmp_path, f"{address}/phone.html", shown(callgate), 3) as pages,
    ):
        anna, berta, carla = pages
        for page, name in zip(pages, ("anna", "berta", "carla"), strict=True):
            page.call("register", f"wss://{host}:{port}/", f"sip:tab-{name}@{DOMAIN}", PASSWORD, True)
            page.next("registered")

        anna.call("dial", f"sip:tab-berta@{DOMAIN}")
        for page in (anna, berta):
            page.next("confirmed")
        # RFC 4028 §9: who is called refreshes, where neither asked for another.
        assert anna.call("timers") == {"expires": 90, "refresher": False, "running": True}
        assert berta.call("timers") == {"expires": 90, "refresher": True, "running": True}
        for does, seen in (("hold", "hold"), ("resume", "unhold")):
            anna.call(does)
            assert berta.next(seen)["originator"] == "remote"
            anna.next("done")

        berta.call("transfer", f"sip:tab-carla@{DOMAIN}")
        assert carla.next("session")["originator"] == "remote"
        for page in (anna, carla):
            page.next("confirmed")
        berta.next("ended")
        carla.call("hangUp")
        anna.next("ended")
    callgate.until("both calls are in the records", lambda: len(callgate.records()) == 2)
    assert [record["payers"] for record in callgate.records()] == [
        ["tab-anna", "tab-berta"],
        ["tab-anna", "tab-carla"],
    ]
    assert [record["outcome"] for record in callgate.records()] == ["success"] * 2
