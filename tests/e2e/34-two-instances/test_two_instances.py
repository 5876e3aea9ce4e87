"""Two instances on one Redis: limits, registrations and nonces are the service's, not the instance's."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from load.processes import Processes
from tests.e2e.net import Net
from tests.e2e.phone import Phone, challenges, credentials
from tests.e2e.service import DOMAIN, PASSWORD, Callgate, Tariff, settings_of
from tests.e2e.stage import Stage
from tests.redis import PrivateRedis

LINES, CALLS = 5, 10
TARIFFS = {
    "everywhere": Tariff({"lines": LINES}, mode="gateway"),
    "roams": Tariff(),
    "calls-the-roamer": Tariff(),
}


@pytest.fixture(scope="module")
def instances(
    net: Net, redis: PrivateRedis, tariffs: dict[str, Tariff], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Callgate]]:
    with Processes() as processes:
        services = []
        for host in (9, 14):
            settings = settings_of(net, redis.url, host)
            settings["auth"]["nonce_secret"] = "the same on both"
            services.append(Callgate(processes, tmp_path_factory.mktemp("instance"), settings, tariffs))
            services[-1].start()
        yield services


@pytest.fixture
def stages(instances: list[Callgate], stage_of: Callable[[Callgate], Stage]) -> list[Stage]:
    return [stage_of(instance) for instance in instances]


def test_lines_are_one_for_both(stages: list[Stage]) -> None:
    provider = stages[0].provider()
    callee = stages[0].callee(provider, calls=2 * CALLS)
    callers = [
        stage.caller(
            "through-or-refused",
            who="everywhere",
            number=provider.number,
            calls=CALLS,
            at_once=CALLS,
            hold_s=1,
        )
        for stage in stages
    ]
    for caller in callers:
        caller.succeeds()
    assert len({invite.call_id for invite in callee.received("INVITE ")}) == LINES
    assert sum(len(caller.received("SIP/2.0 486")) for caller in callers) == 2 * CALLS - LINES


@pytest.mark.rfc3261("10.1-1")
def test_who_registered_at_one_is_called_through_the_other(stages: list[Stage]) -> None:
    one, other = stages
    # In Python: SIPp would answer to the instance it registered at, not to the one that calls.
    with one.phone("roams") as callee:
        challenge = challenges(callee.ask(callee.register()))["SHA-256"]
        proof = credentials(callee, "REGISTER", f"sip:{DOMAIN}", challenge)
        assert callee.ask(callee.register(proof)).status == 200
        caller = other.caller(who="calls-the-roamer", number="roams")
        callee.reply(callee.expect("INVITE"), "200 OK", f"Contact: <{callee.contact}>")
        callee.expect("ACK")
        callee.reply(callee.expect("BYE"), "200 OK")
        caller.succeeds()


def test_a_nonce_of_one_is_good_at_the_other_and_used_up_at_both(net: Net, instances: list[Callgate]) -> None:
    one, other = (Phone("roams", PASSWORD, net.host(Net.SOFTPHONE), i.address(), "UDP") for i in instances)
    with one, other:
        challenge = challenges(one.ask(one.register()))["SHA-256"]

        def register(phone: Phone, nc: int) -> int:
            proof = credentials(phone, "REGISTER", f"sip:{DOMAIN}", challenge, nc=nc)
            return phone.ask(phone.register(proof)).status

        assert [register(other, 1), register(one, 1), register(one, 2), register(other, 2)] == [
            200,
            401,
            200,
            401,
        ]
