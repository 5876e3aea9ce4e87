"""Any transport to any other: calls, requests within them from both sides, and the BYE of a cut (RFC 5658)."""

from __future__ import annotations

import itertools

import pytest

from config.listen import TRANSPORTS, Transport
from tests.e2e.phone import call, listed, register
from tests.e2e.service import Tariff
from tests.e2e.stage import Stage

PAIRS = tuple(itertools.product(TRANSPORTS, TRANSPORTS))
# Each transport once at each end.
ROUND = tuple(zip(TRANSPORTS, (*TRANSPORTS[1:], TRANSPORTS[0]), strict=True))


def name(caller: Transport, callee: Transport, end: str) -> str:
    return f"{caller}-{callee}-{end}".lower()


TARIFFS = {
    "every-pair": Tariff(accounts=tuple(name(*pair, end) for pair in PAIRS for end in ("a", "b"))),
    "cut-pairs": Tariff({"call_duration": "1s"}, accounts=tuple(name(*pair, "cut") for pair in ROUND)),
    "goes-away": Tariff({"fail_calls": "1 per 1h"}, accounts=("goes-away", "calls-the-gone")),
    "over-ipv6": Tariff(accounts=("six-a", "six-b")),
}
ROUTES: dict[Transport, str] = {
    "UDP": "",
    "TCP": ";transport=tcp",
    "TLS": ";transport=tls",
    "WS": ";transport=ws",
    "WSS": ";transport=ws",
}


@pytest.mark.parametrize(("of_caller", "of_callee"), PAIRS)
def test_a_call_and_what_is_said_in_it(stage: Stage, of_caller: Transport, of_callee: Transport) -> None:
    with (
        stage.phone(name(of_caller, of_callee, "a"), transport=of_caller) as caller,
        stage.phone(name(of_caller, of_callee, "b"), transport=of_callee) as callee,
    ):
        register(callee)
        ok, invite = call(caller, callee)
        assert invite.values("Via")[0].startswith(f"SIP/2.0/{of_callee} ")
        assert invite.start == f"INVITE {callee.contact} SIP/2.0"
        # Topmost is the one the callee uses.
        ways = [of_callee] if of_caller == of_callee else [of_callee, of_caller]
        routes = [route.partition(";lr")[0] for route in listed(invite, "Record-Route")]
        for way, route in zip(ways, routes, strict=True):
            host, port = stage.callgate.address(transport=way)
            assert route == f"<sip:{host}:{port}{ROUTES[way]}"

        # From the caller and from the callee, each over its own connection.
        caller.send(caller.within("INFO", ok, ok.cseq + 1))
        callee.reply(callee.expect("INFO"), "200 OK")
        assert caller.receive().status == 200
        callee.send(callee.back("INFO", invite, 1))
        caller.reply(caller.expect("INFO"), "200 OK")
        assert callee.receive().status == 200
        callee.send(callee.back("BYE", invite, 2))
        caller.reply(caller.expect("BYE"), "200 OK")
        assert callee.receive().status == 200
    assert stage.callgate.record(ok.call_id)["ended_by"] == "callee"


@pytest.mark.parametrize(("of_caller", "of_callee"), ROUND)
def test_a_cut_reaches_both_ends(stage: Stage, of_caller: Transport, of_callee: Transport) -> None:
    with (
        stage.phone(name(of_caller, of_callee, "cut"), transport=of_caller) as caller,
        stage.phone(name(of_caller, of_callee, "b"), transport=of_callee) as callee,
    ):
        register(callee)
        ok, _ = call(caller, callee)
        for end in (caller, callee):
            bye = end.expect("BYE")
            assert bye.value("Reason") == 'SIP ;cause=402 ;text="call_duration reached"'
            end.reply(bye, "200 OK")
    assert stage.callgate.record(ok.call_id)["reason"] == "call_duration"


def test_over_ipv6(stage: Stage) -> None:
    with (
        stage.phone("six-a", transport="TLS", ipv6=True) as caller,
        stage.phone("six-b", transport="UDP", ipv6=True) as callee,
    ):
        register(callee)
        ok, invite = call(caller, callee)
        host, port = stage.callgate.address(ipv6=True, transport="TLS")
        assert listed(invite, "Record-Route")[1].startswith(f"<sip:[{host}]:{port};transport=tls;lr")
        caller.send(caller.within("BYE", ok, ok.cseq + 1))
        callee.reply(callee.expect("BYE"), "200 OK")
        assert caller.receive().status == 200


@pytest.mark.parametrize("transport", [one for one in TRANSPORTS if one != "UDP"])
def test_who_closed_its_connection_is_not_registered_and_nothing_is_charged(
    stage: Stage, transport: Transport
) -> None:
    """fail_calls is 1: were one of these calls counted, the next would hear 402."""
    with stage.phone("goes-away", transport=transport) as gone:
        register(gone, contact=f"<sip:goes-away@gone.invalid;transport={transport.lower()}>")
        kind = transport.lower()
        open_before = stage.callgate.metric("callgate_connections_open", transport=kind)
    stage.callgate.until(
        "its connection is gone",
        lambda: stage.callgate.metric("callgate_connections_open", transport=kind) < open_before,
    )
    with stage.phone("calls-the-gone") as caller:
        refused = caller.invited("goes-away")
        assert refused.status == 480
