"""callgate as a registering client: which server a REGISTER goes to, and that no two of one account cross."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.engine.effects import AskName
from proxy.engine.events import DrainStarted, TimerFired
from proxy.engine.reach import OutageCause
from proxy.engine.results import Result, State
from proxy.sip.message import Request
from tests.engine.test_registrations import ALICE, CALLGATE, Stand
from tests.engine.world import Phone

NAMED = CALLGATE.replace('"sip:192.0.2.20", "sip:192.0.2.21"', '"sip:sip.example.net;transport=udp"')


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    found = Stand(tmp_path)
    found.begin()
    return found


def registers(phone: Phone) -> list[Request]:
    """Each once, however often it is repeated."""
    return list({one.via.branch: one for one in phone.requests() if one.method == "REGISTER"}.values())


def due(stand: Stand) -> None:
    """Time goes by until something is sent."""
    world = stand.world
    world.sent.clear()
    while not world.sent:
        at = world.engine.timers.next_deadline()
        assert at is not None
        world.advance(max(0.0, at - world.now))


def on_the_second(stand: Stand) -> None:
    """The first server is down, the second one registers alice."""
    stand.provider.answer(stand.asked(), 503, "Service Unavailable")
    request = stand.asked(stand.second)
    stand.second.answer(request, 200, "OK", "t", f"Contact: <{request.contact_uri()}>;expires=600")
    assert stand.states() == [State.REGISTERED]


# Where it goes -------------------------------------------------------------------------------------------------------


@pytest.mark.rfc3261("10.2.4-3")
def test_a_refresh_goes_to_the_server_that_registered_us(stand: Stand) -> None:
    on_the_second(stand)
    due(stand)
    assert registers(stand.provider) == []
    [refresh] = registers(stand.second)
    # It is challenged: the answer goes there, too.
    stand.second.answer(
        refresh, 401, "Unauthorized", "t", 'WWW-Authenticate: Digest realm="x", nonce="1", qop="auth"'
    )
    [again] = registers(stand.second)
    stand.second.answer(again, 200, "OK", "t", f"Contact: <{again.contact_uri()}>;expires=600")
    stand.world.handle(DrainStarted())
    [taken_back] = registers(stand.second)
    assert taken_back.value("expires") == "0"
    assert registers(stand.provider) == []


def test_when_that_server_is_down_the_others_are_tried(stand: Stand) -> None:
    on_the_second(stand)
    due(stand)
    [refresh] = registers(stand.second)
    stand.second.answer(refresh, 503, "Service Unavailable")
    [request] = registers(stand.provider)
    stand.grant(request)
    due(stand)
    assert [len(registers(phone)) for phone in (stand.provider, stand.second)] == [1, 0]


def test_a_server_that_failed_calls_is_not_asked_first(stand: Stand) -> None:
    on_the_second(stand)
    stand.world.engine.core.reach.bad(stand.second.flow, OutageCause.TIMEOUT, 1000, False, stand.world.now)
    due(stand)
    assert [len(registers(phone)) for phone in (stand.provider, stand.second)] == [1, 0]


def test_when_every_server_is_down_the_next_go_begins_with_the_first(stand: Stand) -> None:
    on_the_second(stand)
    due(stand)
    stand.second.answer(registers(stand.second)[0], 503, "Service Unavailable")
    stand.provider.answer(registers(stand.provider)[0], 503, "Service Unavailable")
    assert stand.states() == [State.FAILED]
    due(stand)
    assert [len(registers(phone)) for phone in (stand.provider, stand.second)] == [1, 0]


def test_after_another_instance_had_the_turn_it_begins_with_the_first(stand: Stand) -> None:
    on_the_second(stand)
    stand.turn(False)
    stand.turn(True)
    stand.world.handle(TimerFired())
    assert [len(registers(phone)) for phone in (stand.provider, stand.second)] == [1, 0]


def test_a_target_that_is_configured_no_more_is_not_asked(stand: Stand) -> None:
    on_the_second(stand)
    stand.world.reload(callgate=CALLGATE.replace('"sip:192.0.2.20", "sip:192.0.2.21"', '"sip:192.0.2.20"'))
    due(stand)
    assert [len(registers(phone)) for phone in (stand.provider, stand.second)] == [1, 0]


def test_of_several_servers_of_a_name_the_one_that_registered_us(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    stand.world.reload(callgate=NAMED)
    stand.begin()
    stand.world.found("sip.example.net", "192.0.2.21", ttl=60)
    [request] = registers(stand.second)
    stand.second.answer(request, 200, "OK", "t", f"Contact: <{request.contact_uri()}>;expires=600")
    for asks, addresses, asked in (
        # There, whatever comes first now; and where the name has it no more, at what it has.
        (2, ("192.0.2.20", "192.0.2.21"), stand.second),
        (3, ("192.0.2.20",), stand.provider),
    ):
        while len(stand.world.of(AskName)) < asks:
            stand.world.advance(10)
        stand.world.found("sip.example.net", *addresses, ttl=60)
        [request] = registers(asked)
        asked.answer(request, 200, "OK", "t", f"Contact: <{request.contact_uri()}>;expires=600")


# One after the other -------------------------------------------------------------------------------------------------


@pytest.mark.rfc3261("10.2-8")
@pytest.mark.parametrize("refresh", [False, True], ids=["first", "refresh"])
def test_a_drain_waits_for_the_answer_to_the_register_under_way(stand: Stand, refresh: bool) -> None:
    request = stand.asked()
    if refresh:
        stand.grant(request)
        stand.until_sent(600)
        request = stand.asked()
    stand.world.handle(DrainStarted())
    stand.world.advance(0.4)
    assert registers(stand.provider) == []
    assert stand.world.engine.registrations.leaving == 1
    stand.grant(request)
    [back] = registers(stand.provider)
    assert (back.value("expires"), back.cseq) == ("0", request.cseq + 1)
    stand.provider.answer(back, 200, "OK")
    assert stand.world.engine.registrations.leaving == 0
    stand.world.advance(2000)
    assert registers(stand.provider) == []


@pytest.mark.rfc3261("10.2-8")
def test_or_for_its_timeout(stand: Stand) -> None:
    request = stand.asked()
    stand.world.handle(DrainStarted())
    stand.world.advance(31)
    assert {one.branch for one in [sent.via for sent in registers(stand.provider)]} == {request.via.branch}
    stand.world.advance(1.5)
    # It may have come there, and only the answer was lost.
    [back] = [one for one in registers(stand.provider) if one.cseq > request.cseq]
    assert back.value("expires") == "0"
    assert registers(stand.second) == []


@pytest.mark.parametrize("status", [401, 403])
def test_what_was_not_registered_is_not_taken_back(stand: Stand, status: int) -> None:
    request = stand.asked()
    stand.world.handle(DrainStarted())
    challenge = 'WWW-Authenticate: Digest realm="x", nonce="1", qop="auth"'
    stand.provider.answer(request, status, "No", "t", *([challenge] if status == 401 else []))
    assert registers(stand.provider) == []
    assert stand.world.engine.registrations.leaving == 0
    # A challenge is no outcome.
    assert stand.world.engine.core.counters.registrations[Result.REJECTED] == (status == 403)


def test_a_server_that_was_silent_may_have_registered_us_all_the_same(stand: Stand) -> None:
    first = stand.asked()
    stand.world.advance(33)
    stand.provider.got()
    [second] = registers(stand.second)
    stand.world.handle(DrainStarted())
    stand.second.answer(second, 403, "Forbidden")
    [back] = registers(stand.provider)
    assert (back.value("expires"), back.cseq) == ("0", first.cseq + 2)


def test_a_refresh_that_is_refused_is_taken_back_from_what_it_was_to_refresh(stand: Stand) -> None:
    stand.grant(stand.asked())
    stand.until_sent(600)
    request = stand.asked()
    stand.world.handle(DrainStarted())
    stand.provider.answer(request, 500, "Server Internal Error")
    [back] = registers(stand.provider)
    assert back.value("expires") == "0"


def test_what_was_never_sent_is_not_waited_for(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    stand.world.reload(callgate=NAMED)
    stand.begin()
    stand.world.handle(DrainStarted())
    assert stand.world.engine.registrations.leaving == 0
    stand.world.found("sip.example.net", "192.0.2.20")
    assert registers(stand.provider) == []


@pytest.mark.rfc3261("10.2-8")
@pytest.mark.parametrize("under_way", [False, True])
def test_an_account_that_changed_registers_anew_when_the_old_one_is_taken_back(
    stand: Stand, under_way: bool
) -> None:
    """Both are for one contact: an old REGISTER that is repeated would take the new registration away."""
    request = stand.asked()
    if not under_way:
        stand.grant(request)
    stand.reload(ALICE.replace("expires: 10m", "expires: 20m"))
    stand.world.advance(0.3)
    if under_way:
        assert registers(stand.provider) == []
        stand.grant(request)
    [back] = registers(stand.provider)
    assert (back.value("expires"), back.call_id) == ("0", request.call_id)
    stand.provider.answer(back, 200, "OK")
    stand.world.handle(TimerFired())
    [anew] = registers(stand.provider)
    assert anew.value("expires") == "1200"
    assert anew.call_id != request.call_id


def test_a_turn_that_is_back_before_the_old_register_is_answered(stand: Stand) -> None:
    request = stand.asked()
    stand.turn(False)
    assert stand.states() == [State.STANDBY]
    stand.turn(True)
    stand.world.advance(0.3)
    assert registers(stand.provider) == []
    stand.provider.answer(request, 403, "Forbidden")
    stand.world.handle(TimerFired())
    [anew] = registers(stand.provider)
    assert anew.cseq == request.cseq + 1
    stand.grant(anew)
    assert stand.states() == [State.REGISTERED]
