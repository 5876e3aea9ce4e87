"""Softphones and calls that may be dead: what is agreed about session timers (RFC 4028), and a phone that is killed.

linphone knows session timers when told to; baresip 1.0.0 does not, nor UPDATE.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.net import Net, pause
from tests.e2e.service import DOMAIN, Callgate, Settings, Tariff, settings_of
from tests.e2e.sipp import Message
from tests.e2e.softphone import Softphone
from tests.e2e.softphones import Softphones
from tests.redis import PrivateRedis

USERS = ("dies-first", "dies-second", "dies-third", "dies-fourth")
TARIFFS = {user: Tariff() for user in USERS}
SESSION_S = 4


@pytest.fixture
def callgate(net: Net, redis: PrivateRedis, serve: Callable[[Settings], Callgate]) -> Callgate:
    settings = settings_of(net, redis.url, host=8)
    settings["auth"]["algorithms"] = ["MD5"]
    settings["session_timers"] = {"enabled": True, "session_expires": "10m", "min_se": "90s"}
    settings["dialog_ping"] = {"enabled": True, "every": "1s"}
    return serve(settings)


def test_what_is_agreed(callgate: Callgate, softphones: Softphones) -> None:
    short = softphones.linphone(USERS[0], callgate.address(), session_expires=40)
    long = softphones.linphone(USERS[1], callgate.address(), session_expires=1800)
    none = softphones.baresip(USERS[2], callgate.address())

    # RFC 4028 §8.1: asks for too little, is told what is enough, and asks for that.
    # §8.2: for a callee that knows no timers callgate has the caller refresh.
    talk(short, none)
    assert agreed(short.messages("SIP/2.0 422")[-1]) == ["90"]
    assert agreed(none.messages("INVITE ")[-1]) == ["90;refresher=uac", "90"]
    assert agreed(short.messages("SIP/2.0 200", "INVITE")[-1]) == ["90;refresher=uac", "timer"]

    # Both know them: lowered to what we want at most; what a callee answers stays as it is.
    talk(long, short)
    assert agreed(short.messages("INVITE ")[-1]) == ["600;refresher=uac", "90"]
    talk(short, long)
    for each in (short, long):
        assert agreed(each.messages("SIP/2.0 200", "INVITE")[-1]) == ["90;refresher=uac", "timer"]

    # §8.1: we ask for a caller that knows none; linphone agrees to nothing then, where §9 wants it to refresh.
    talk(none, long)
    assert agreed(long.messages("INVITE ")[-1]) == ["600"]
    assert agreed(long.messages("SIP/2.0 200", "INVITE")[-1]) == []


def test_one_that_no_longer_refreshes_is_hung_up_on(callgate: Callgate, softphones: Softphones) -> None:
    """A callee that answers with less than it was asked for at least, which RFC 4028 §9 forbids, makes this short.

    Refreshes for so short a session are refused (422); putting on hold is a refresh, too.
    """
    one, other = USERS[:2]
    caller = softphones.linphone(one, callgate.address(), session_expires=1800)
    callee = softphones.linphone(other, callgate.address(), session_expires=SESSION_S)
    call(caller, callee)
    assert caller.messages("SIP/2.0 200", "INVITE")[-1].value("Session-Expires").startswith(f"{SESSION_S};")
    pause(SESSION_S - 1.5)
    caller.hold()
    callee.await_held()
    callee.kill()
    caller.await_over()
    caller.await_bye('SIP ;cause=408 ;text="session expired"')
    callgate.until("its record", callgate.records)
    [record] = callgate.records()
    assert (record["cut"], record["reason"], record["outcome"]) == (True, "session_expired", "success")
    # From the hold on, not from the answer.
    assert 2 * SESSION_S - 1.5 <= record["duration_s"] < 2 * SESSION_S + 1


def test_one_that_answers_no_ping_is_hung_up_on(callgate: Callgate, softphones: Softphones) -> None:
    """Where one side or both know no session timers."""
    pairs: list[tuple[Softphone, Softphone]] = [
        (
            softphones.baresip(USERS[0], callgate.address(), "UDP"),
            softphones.linphone(USERS[1], callgate.address(transport="TLS"), "TLS"),
        ),
        (
            softphones.linphone(USERS[2], callgate.address(), "UDP"),
            softphones.baresip(USERS[3], callgate.address(transport="TCP"), "TCP"),
        ),
    ]
    for caller, callee in pairs:
        call(caller, callee)
    for caller, _ in pairs:
        caller.kill()
    for _, callee in pairs:
        callee.await_over()
        callee.await_bye('SIP ;cause=481 ;text="dialog lost"')
    callgate.until("their records", lambda: len(callgate.records()) == len(pairs))
    assert {(record["cut"], record["reason"]) for record in callgate.records()} == {(True, "dialog_lost")}


def agreed(message: Message) -> list[str]:
    return [value for name in ("Session-Expires", "Min-SE", "Require") for value in message.values(name)]


def call(caller: Softphone, callee: Softphone) -> None:
    caller.dial(f"sip:{callee.user}@{DOMAIN}")
    caller.await_up()
    callee.await_up()


def talk(caller: Softphone, callee: Softphone) -> None:
    call(caller, callee)
    caller.hang_up()
    callee.await_over()
    caller.await_over()
