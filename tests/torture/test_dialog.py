"""wsinv, the "short tortuous INVITE" of RFC 4475 §3.1.1.1, within the dialog that its To tag means.

By itself it is of no dialog that anybody has, and a running callgate says so (test_server.py). Here, on the pure
engine, its dialog is there. Its Route names services.example.com, which is looked up: here no resolver is asked.
"""

from __future__ import annotations

from pathlib import Path

from proxy.engine.effects import AskName
from proxy.sip.message import Request, Response
from proxy.sip.parse import parse
from proxy.sip.serialise import reply
from tests.engine.world import SUBSCRIBERS, Phone, World
from tests.torture.cases import load

USER_HERE = SUBSCRIBERS.replace("user: alice,", "user: jdrosen,")


ROUTE = "<sip:services.example.com;lr;unknownwith=value;unknown-no-value>"


def test_wsinv_passes_in_its_dialog_as_it_is(tmp_path: Path) -> None:
    (data,) = (case.data for case in load() if case.name == "wsinv")
    sent = parse(data)
    assert isinstance(sent, Request)
    world = World(tmp_path, subscribers=USER_HERE)
    caller, callee = Phone(world, "192.0.2.10", "jdrosen"), Phone(world, "192.0.2.20", "provider")
    services = Phone(world, "192.0.2.21", "services")

    frm, uri = f"<sip:jdrosen@example.com>;tag={sent.from_tag}", "sip:4930@example.com"
    contact = f"Contact: <sip:jdrosen@{caller.address}>"
    caller.request("INVITE", uri, sent.call_id, 8, frm, f"<{uri}>", contact)
    assert caller.statuses() == [100]
    [invite] = callee.requests()
    # Its Route is of the dialog's route set: another would not be followed (engine/test_nowhere_else.py).
    callee.beyond = ROUTE
    callee.answer(invite, 200, "OK", sent.to_tag)
    [ok] = caller.got()
    assert isinstance(ok, Response)
    caller.within("ACK", ok, 8)
    assert [effect.question.host for effect in world.of(AskName)] == ["services.example.com"]
    world.found("services.example.com", "192.0.2.21")
    assert [message.method for message in services.requests()] == ["ACK"]

    world.receive(data, caller.flow)
    assert caller.statuses() == [100]
    [passed] = services.requests()

    assert (passed.method, passed.uri, passed.body) == ("INVITE", sent.uri, sent.body)
    assert (passed.cseq, passed.hops) == (9, 67)
    # Our Via above, Max-Forwards lowered, `received` in the sender's Via: all else is as it was, the Route too.
    kept = [
        line for line, key in zip(passed.lines[1:], passed.keys[1:], strict=True) if key != "max-forwards"
    ]
    before = [line for line, key in zip(sent.lines, sent.keys, strict=True) if key != "max-forwards"]
    via = sent.keys.index("via") - 1
    assert kept[via] == before[via] + ";received=192.0.2.10"
    assert kept[:via] + kept[via + 1 :] == before[:via] + before[via + 1 :]
    assert f"Route: {ROUTE}" in kept

    world.receive(reply(passed, 488, "Not Acceptable Here", ""), services.flow)
    assert caller.statuses() == [488]
    # It is no new call: nothing was asked for, and nothing given back.
    assert (len(world.asked), world.released) == (0, [])
