"""`auth: {invite: registered_source}`: a caller is known by the flow it registered from, and is not challenged."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from load.processes import Processes
from tests.e2e.net import TRANSPORTS, Net, Transport
from tests.e2e.phone import Phone, challenges, credentials
from tests.e2e.service import DOMAIN, Callgate, Tariff, settings_of
from tests.e2e.stage import Stage
from tests.redis import PrivateRedis

TARIFFS = {"known-by-flow": Tariff()}


@pytest.fixture(scope="module")
def callgate(
    net: Net, redis: PrivateRedis, tariffs: dict[str, Tariff], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callgate]:
    settings = settings_of(net, redis.url, host=3)
    settings["auth"]["invite"] = "registered_source"
    with Processes() as processes:
        service = Callgate(processes, tmp_path_factory.mktemp("registered-source"), settings, tariffs)
        service.start()
        yield service


def call(phone: Phone, number: str) -> int:
    answer = phone.ask(phone.request("INVITE", f"sip:{number}@{DOMAIN}", f"Contact: <{phone.contact}>"))
    phone.acknowledge(answer)
    return answer.status


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_who_registered_calls_unchallenged_from_there_and_from_nowhere_else(
    stage_of: Callable[[Callgate], Stage], callgate: Callgate, transport: Transport
) -> None:
    stage = stage_of(callgate)
    provider = stage.provider()
    with (
        stage.phone("known-by-flow", transport=transport) as phone,
        stage.phone("known-by-flow", transport=transport) as elsewhere,
    ):
        assert call(phone, provider.number) == 403
        challenge = challenges(phone.ask(phone.register()))["MD5"]
        proof = credentials(phone, "REGISTER", f"sip:{DOMAIN}", challenge)
        assert phone.ask(phone.register(proof)).status == 200
        callee = stage.callee(provider, "busy")
        assert call(phone, provider.number) == 486
        callee.succeeds()
        assert call(elsewhere, provider.number) == 403
        proof = credentials(phone, "REGISTER", f"sip:{DOMAIN}", challenge, nc=2)
        assert phone.ask(phone.register(proof, "Expires: 0")).status == 200
        assert call(phone, provider.number) == 403
