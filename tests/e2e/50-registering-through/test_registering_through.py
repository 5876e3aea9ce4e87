"""Accounts whose registrar is a PBX: their REGISTERs pass with Path, and calls from there come back."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from load.processes import Processes
from tests.e2e.net import TRANSPORTS, Net, Transport
from tests.e2e.pbx import DOMAIN, PASSWORD, Pbx, trunk_to
from tests.e2e.phone import Phone, challenges, credentials, final
from tests.e2e.service import Callgate, Tariff, settings_of
from tests.e2e.sipp import Message
from tests.redis import PrivateRedis

_ELSEWHERE = {"password": None, "domain": DOMAIN, "registrar": {"forward": "pbx"}}
# Not TARIFFS: no other callgate has this domain.
BOUGHT = {
    "through": Tariff({"sip_accounts": 2}, accounts=("tom", "tim", "tess"), account=_ELSEWHERE),
    "through-alone": Tariff({"sip_accounts": 1}, accounts=("una", "uwe"), account=_ELSEWHERE),
    "through-cut": Tariff({"call_duration": "1s"}, accounts=("vic",), account=_ELSEWHERE),
}
REGISTRAR = f"sip:{DOMAIN}"
PBX, OUTSIDE = 61, 62


@pytest.fixture(scope="module")
def pbx(net: Net, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pbx]:
    with Processes() as processes:
        folder = tmp_path_factory.mktemp("pbx")
        yield Pbx(processes, folder, (net.host(PBX), net.sip_port), (net.host(OUTSIDE), net.sip_port))


@pytest.fixture(scope="module")
def callgate(net: Net, redis: PrivateRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callgate]:
    settings = settings_of(net, redis.url, host=60)
    settings["domains"].append(DOMAIN)
    settings["trunks"]["pbx"] = trunk_to((net.host(PBX), net.sip_port))
    with Processes() as processes:
        service = Callgate(processes, tmp_path_factory.mktemp("through"), settings, BOUGHT)
        service.start()
        yield service
        assert service.metric("callgate_internal_errors_total") == 0, service.running.tail(60)


def phone_of(callgate: Callgate, net: Net, user: str, transport: Transport = "UDP") -> Phone:
    return Phone(user, PASSWORD, net.host(Net.SOFTPHONE), callgate.address(), transport, DOMAIN)


def register(phone: Phone, *extra: str) -> Message:
    """As the registrar wants it; the answer to the REGISTER with credentials."""
    asked = phone.ask(phone.register())
    assert asked.status == 401, asked.text
    proof = credentials(phone, "REGISTER", REGISTRAR, challenges(asked)["MD5"])
    return phone.ask(phone.register(proof, *extra))


def acknowledge(phone: Phone, answer: Message) -> None:
    phone.send(phone.within("ACK", answer, answer.cseq))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_call_from_the_pbx_comes_back_over_the_flow(
    callgate: Callgate, pbx: Pbx, net: Net, transport: Transport
) -> None:
    with (
        phone_of(callgate, net, "tom", transport) as phone,
        Phone("outside", "", net.host(OUTSIDE), pbx.address, "UDP", DOMAIN) as outside,
    ):
        answer = register(phone, "Expires: 600")
        assert answer.status == 200
        assert answer.value("Service-Route").startswith(f"<sip:{pbx.address[0]}")
        assert "f=" in answer.value("Path")
        assert any(phone.contact in contact for contact in pbx.contacts("tom"))
        outside.send(outside.request("INVITE", f"sip:tom@{DOMAIN}", f"Contact: <{outside.contact}>"))
        invite = phone.expect("INVITE")
        assert invite.start.split()[1] == phone.contact
        phone.reply(invite, "200 OK", f"Contact: <{phone.contact}>")
        ok = final(outside)
        assert ok.status == 200
        acknowledge(outside, ok)
        phone.expect("ACK")
        outside.send(outside.within("BYE", ok, ok.cseq + 1))
        bye = phone.expect("BYE")
        phone.reply(bye, "200 OK")
        record = callgate.record(invite.call_id)
        assert (record["payers"], record["callee"]) == (["through"], f"tom@{DOMAIN}")
        assert register(phone, "Expires: 0").status == 200
        assert pbx.contacts("tom") == []


def test_two_accounts_call_each_other_through_the_pbx(callgate: Callgate, pbx: Pbx, net: Net) -> None:
    with phone_of(callgate, net, "tom") as tom, phone_of(callgate, net, "tim", "TCP") as tim:
        assert register(tom).status == 200
        assert register(tim).status == 200
        tom.invite("tim")
        # tim rings: his INVITE came by his Path over his connection.
        invite = tim.expect("INVITE")
        tim.reply(invite, "200 OK", f"Contact: <{tim.contact}>")
        ok = final(tom)
        assert ok.status == 200
        acknowledge(tom, ok)
        tim.expect("ACK")
        tim.send(tim.back("BYE", invite, 1))
        bye = tom.expect("BYE")
        tom.reply(bye, "200 OK")
        callgate.until("both calls have ended", lambda: len(callgate.records(invite.call_id)) >= 3)
        ended = [record for record in callgate.records(invite.call_id) if record["outcome"] == "success"]
        assert sorted(record["direction"] for record in ended) == ["in", "out"]


def test_the_limit_on_accounts_holds_there_too(callgate: Callgate, pbx: Pbx, net: Net) -> None:
    with phone_of(callgate, net, "una") as una, phone_of(callgate, net, "uwe") as uwe:
        # A wrong password takes no place for longer than it is looked at.
        una.password = "guessed"
        assert register(una).status == 401
        una.password = PASSWORD
        assert register(uwe).status == 200
        refused = una.ask(una.register())
        assert refused.start == "SIP/2.0 402 SIP account has disallowed settings"
        assert "sip_accounts reached" in refused.value("Warning")
        assert pbx.contacts("una") == []
        # Who leaves makes room.
        assert register(uwe, "Expires: 0").status == 200
        assert register(una).status == 200
        assert register(una, "Expires: 0").status == 200


def test_a_call_is_cut_on_both_sides(callgate: Callgate, pbx: Pbx, net: Net) -> None:
    with (
        phone_of(callgate, net, "vic") as vic,
        Phone("outside", "", net.host(OUTSIDE), pbx.address, "UDP", DOMAIN) as outside,
    ):
        assert register(vic).status == 200
        outside.send(outside.request("INVITE", f"sip:vic@{DOMAIN}", f"Contact: <{outside.contact}>"))
        invite = vic.expect("INVITE")
        vic.reply(invite, "200 OK", f"Contact: <{vic.contact}>")
        ok = final(outside)
        acknowledge(outside, ok)
        vic.expect("ACK")
        for side in (vic, outside):
            bye = side.expect("BYE")
            assert re.search(r"cause=402 ;text=\"call_duration reached\"", bye.value("Reason"))
            side.reply(bye, "200 OK")
