"""TCP: many calls through one connection to callgate, and one connection from callgate to the provider."""

from __future__ import annotations

import socket

from tests.e2e.service import Tariff
from tests.e2e.stage import Stage

TARIFFS = {"streamer": Tariff()}
CALLS = 30


def test_thirty_calls_share_one_connection_each_way(stage: Stage) -> None:
    provider = stage.provider("TCP")
    callee = stage.callee(provider, calls=CALLS)
    caller = stage.caller(
        who="streamer", number=provider.number, transport="TCP", calls=CALLS, at_once=CALLS, hold_s=0.3
    )
    callee.await_message("ACK ", CALLS)
    # The one from the caller and the one to the callee: SIPp would have failed its calls had the first been closed.
    assert stage.callgate.metric("callgate_connections_open") >= 2
    caller.succeeds()
    callee.succeeds()

    branches = {invite.values("Via")[0] for invite in callee.received("INVITE ")}
    assert len(branches) == CALLS
    assert all(";transport=tcp" in invite.value("Record-Route") for invite in callee.received("INVITE "))
    for call_id in {invite.call_id for invite in callee.received("INVITE ")}:
        assert stage.callgate.record(call_id)["outcome"] == "success"


def test_a_keep_alive_is_answered(stage: Stage) -> None:
    """RFC 5626 §3.5.1: CRLF CRLF is a ping, CRLF its pong; messages around it are read as ever."""
    with stage.phone("streamer", transport="TCP") as phone:
        phone.send("\r\n\r\n")
        assert phone.socket.recv(2, socket.MSG_WAITALL) == b"\r\n"
        assert phone.ask(phone.register()).status == 401
