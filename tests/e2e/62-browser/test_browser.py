"""A browser (JsSIP in Chromium) registers over secure WebSocket, calls a SIPp on UDP, is called by one, and is cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from config.listen import Certificate
from load.processes import Processes
from tests.e2e.browser import browsing, serving, site
from tests.e2e.net import Net
from tests.e2e.service import DOMAIN, PASSWORD, Callgate, Settings, Tariff, settings_of
from tests.e2e.stage import Stage
from tests.redis import PrivateRedis

TARIFFS = {"browses": Tariff({"call_duration": "2s"}), "calls-a-browser": Tariff()}


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
    (shown,) = stage.callgate.settings["tls"]["certificates"]
    certificate = Certificate(certificate=Path(shown["certificate"]), key=Path(shown["key"]))
    host, port = stage.callgate.address(transport="WSS")
    with (
        serving(site()) as address,
        browsing(processes, tmp_path, f"{address}/phone.html", certificate) as page,
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
