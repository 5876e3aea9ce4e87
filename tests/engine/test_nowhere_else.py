"""Within a dialog a request goes to where the dialog leads, whatever its sender writes: nobody's relay to anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.engine.effects import AskName
from proxy.sip.message import Request, Response
from tests.engine.test_connections import BROWSER, talking
from tests.engine.test_takeover import inherit, left
from tests.engine.world import Phone, World, answered, set_up

TARGET = "sip:provider@192.0.2.20:5060"


def asks(caller: Phone, ok: Response, method: str, uri: str, *routes: str, cseq: int = 2) -> None:
    """A request of the caller's with ours and these Routes."""
    ours = ok.all_values("record-route")[-1]
    frm, to = ok.value("from") or "", ok.value("to") or ""
    lines = [f"Route: {', '.join([ours, *routes])}", "X-Last: 1"]
    caller.request(method, uri, ok.call_id, cseq, frm, to, *lines)


@pytest.mark.parametrize("method", ["INFO", "ACK", "BYE"])
@pytest.mark.parametrize(
    ("uri", "routes"),
    [
        ("sip:provider@198.51.100.9:22", []),
        ("sip:provider@192.0.2.20:22", []),
        ("sip:provider@inside.test", []),
        ("sip:provider@192.0.2.20:5060;maddr=198.51.100.9", []),
        (TARGET, ["<sip:198.51.100.9:22;lr>"]),
        (TARGET, ["<sip:192.0.2.20:22>"]),
        (TARGET, ["<sip:inside.test;lr>", "<sip:198.51.100.9;lr>"]),
    ],
)
def test_where_the_dialog_does_not_lead_nothing_is_sent(
    world: World, method: str, uri: str, routes: list[str]
) -> None:
    caller, callee, _, ok = set_up(world)
    asks(caller, ok, method, uri, *routes)
    [request] = callee.requests()
    assert (request.method, request.uri) == (method, TARGET)
    assert "route" not in request.keys
    assert not world.of(AskName)
    assert not [item for item in world.sent if item.flow not in (caller.flow, callee.flow)]


@pytest.mark.parametrize("route", ["<sip:198.51.100.9:22;lr>", "<sip:8v1u2.invalid;transport=ws;lr>"])
def test_an_account_gets_it_over_its_connection(world: World, route: str) -> None:
    """Whatever its Contact says, which it may have made up to have us go there."""
    caller, bob, _, ok = talking(world)
    asks(caller, ok, "INFO", BROWSER, route)
    [info] = bob.requests()
    assert "route" not in info.keys
    assert not world.of(AskName)
    assert {item.flow for item in world.sent} <= {caller.flow, bob.flow}


@pytest.mark.parametrize(
    "route", ["<sip:edge.test:5070;lr>", "<sip:192.0.2.77:5070;lr>", "<sip:192.0.2.77:5070>"]
)
def test_proxies_beyond_lead_on(world: World, route: str) -> None:
    """RFC 3261 §12.1.2: the route set, in reverse order; with a strict router in it, too."""
    caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
    edge = Phone(world, "192.0.2.77", "edge", 5070)
    callee.beyond = route
    _, ok = answered(caller, callee)
    caller.within("INFO", ok, 2)
    # What is written here leads elsewhere: it goes by the dialog's own route set then.
    asks(caller, ok, "BYE", TARGET, "<sip:198.51.100.9:22;lr>", cseq=3)
    if "edge.test" in route:
        assert {ask.question.host for ask in world.of(AskName)} == {"edge.test"}
        world.found("edge.test", "192.0.2.77")
    info, bye = edge.requests()
    assert (info.method, bye.method) == ("INFO", "BYE")
    assert info.uri == bye.uri == (TARGET if ";lr" in route else "sip:192.0.2.77:5070")
    assert info.values("route") == bye.values("route") == [route if ";lr" in route else f"<{TARGET}>"]


@pytest.mark.parametrize("method", ["INVITE", "UPDATE", "SUBSCRIBE", "NOTIFY"])
def test_a_target_that_was_refreshed_is_where_it_leads(world: World, method: str) -> None:
    """RFC 3261 §12.2.2, RFC 3311 §5.1; RFC 6665 §3.1, §3.2 for what comes of a REFER in a call."""
    caller, callee, invite, ok = set_up(world)
    moved = Phone(world, "192.0.2.99", "provider", 5090)
    callee.back(method, invite, "t1", 1, f"Contact: <sip:provider@{moved.address}>")
    [request] = caller.requests()
    caller.answer(request, 200, "OK")
    asks(caller, ok, "INFO", f"sip:provider@{moved.address}")
    assert [info.method for info in moved.requests() if isinstance(info, Request)] == ["INFO"]


def test_of_a_call_taken_up_the_sender_knows_more_than_we(world: World, tmp_path: Path) -> None:
    """What was refreshed since the answer died with the process that saw it."""
    _, _, _, ok = set_up(world)
    (tmp_path / "other").mkdir()
    other = World(tmp_path / "other")
    caller, _ = inherit(other, left(world, held=True))
    moved = Phone(other, "192.0.2.99", "provider", 5090)
    asks(caller, ok, "BYE", f"sip:provider@{moved.address}")
    assert [bye.method for bye in moved.requests()] == ["BYE"]


def test_a_dialog_that_ends_while_a_name_is_looked_up_leads_nowhere(world: World) -> None:
    """A re-INVITE that came out of a slow look-up would begin a call that nobody admitted."""
    caller, callee = Phone(world, "192.0.2.10", "alice"), Phone(world, "192.0.2.20", "provider")
    callee.address = "callee.test"
    invite, ok = answered(caller, callee)
    caller.within("INVITE", ok, 2)
    callee.back("BYE", invite, "t1", 1)
    callee.got()
    world.found("callee.test", "192.0.2.20")
    world.advance(0.1)
    assert callee.requests() == []
    assert 481 in [one.status for one in caller.got() if isinstance(one, Response)]
