"""callgate registers accounts at a PBX itself, answers its challenges, and calls come and go by that registration."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from load.processes import Processes
from tests.e2e.net import PATIENCE_S, Net
from tests.e2e.pbx import DOMAIN, Pbx, trunk_to
from tests.e2e.pbx import PASSWORD as PBX_PASSWORD
from tests.e2e.phone import Phone, final, register
from tests.e2e.service import DOMAIN as OWN
from tests.e2e.service import PASSWORD, Callgate, Tariff, settings_of
from tests.redis import PrivateRedis

PBX, OUTSIDE, ONE, OTHER = 65, 66, 63, 64


def _at_pbx(username: str) -> dict[str, Any]:
    return {
        "register": {
            "trunk": "pbx",
            "username": username,
            "password": PBX_PASSWORD,
            "domain": DOMAIN,
            "expires": "10m",
        }
    }


# Not TARIFFS: no other callgate has this trunk.
BOUGHT = {
    "ada": Tariff({"fail_calls": "1 per 1h"}, account=_at_pbx("4901")),
    "cut": Tariff({"call_duration": "1s"}, account=_at_pbx("4902")),
    "gate": Tariff({"lines": 1}, mode="gateway", account=_at_pbx("4903")),
}


@pytest.fixture(scope="module", params=["MD5", "SHA-256"])
def pbx(request: pytest.FixtureRequest, net: Net, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pbx]:
    with Processes() as processes:
        yield Pbx(
            processes,
            tmp_path_factory.mktemp("pbx"),
            (net.host(PBX), net.sip_port),
            (net.host(OUTSIDE), net.sip_port),
            within=True,
            algorithm=request.param,
        )


def settings_at(net: Net, url: str, host: int) -> dict[str, Any]:
    settings = settings_of(net, url, host=host)
    settings["trunks"]["pbx"] = trunk_to((net.host(PBX), net.sip_port))
    settings["store"]["lease"] = "2s"
    return settings


@pytest.fixture(scope="module")
def callgate(
    pbx: Pbx, net: Net, redis: PrivateRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callgate]:
    with Processes() as processes:
        folder = tmp_path_factory.mktemp("registers")
        service = Callgate(processes, folder, settings_at(net, redis.url, ONE), BOUGHT)
        service.start()
        service.until("all are registered", lambda: states(service) == ["registered"] * 3)
        yield service
        assert service.metric("callgate_internal_errors_total") == 0, service.running.tail(60)
        service.terminate()
        service.running.wait(PATIENCE_S)
        # What was registered has been taken back.
        assert [pbx.contacts(user) for user in ("4901", "4902", "4903")] == [[], [], []]


def states(service: Callgate) -> list[str]:
    return [one["state"] for one in registrations(service)]


def registrations(service: Callgate) -> list[dict[str, Any]]:
    program = Path(sys.executable).with_name("callgate")
    done = subprocess.run(
        [str(program), "registrations", "--json", "-c", str(service.config)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    found: list[dict[str, Any]] = json.loads(done.stdout) if done.returncode == 0 else []
    return found


def registered(callgate: Callgate, net: Net, user: str) -> Phone:
    """The account's own client."""
    phone = Phone(user, PASSWORD, net.host(Net.SOFTPHONE), callgate.address(), "UDP")
    register(phone)
    return phone


def outside_of(pbx: Pbx, net: Net) -> Phone:
    """Who is reached from the PBX by dialling digits."""
    return Phone("outside", "", net.host(OUTSIDE), pbx.address, "UDP", DOMAIN, net.sip_port)


def test_it_is_registered_and_says_so(callgate: Callgate, pbx: Pbx, net: Net) -> None:
    [contact] = pbx.contacts("4901")
    host, port = callgate.address()
    assert contact == f"sip:4901@{host}:{port}"
    [ada] = [one for one in registrations(callgate) if one["account"] == f"ada@{OWN}"]
    assert (ada["address"], ada["trunk"], ada["status"]) == (f"4901@{DOMAIN}", "pbx", 200)
    assert 500 < ada["expires_in_s"] <= 600
    assert callgate.metric("callgate_registrations_elsewhere", state="registered") == 3
    assert callgate.metric("callgate_registrations_elsewhere_results_total", result="ok") >= 3


def test_what_it_calls_is_proved_in_its_place(callgate: Callgate, pbx: Pbx, net: Net) -> None:
    """INVITE, re-INVITE and BYE are challenged by the PBX; the phone hears of none, and its numbers are its own."""
    with registered(callgate, net, "ada") as ada, outside_of(pbx, net) as outside:
        before = callgate.metric("callgate_challenges_answered_total")
        call_id = ada.invite("777", cseq=20)
        invite = outside.expect("INVITE")
        assert invite.cseq == 21
        outside.reply(invite, "200 OK", f"Contact: <{outside.contact}>")
        ok = final(ada)
        assert (ok.status, ok.cseq) == (200, 20)
        ada.send(ada.within("ACK", ok, 20))
        assert outside.expect("ACK").cseq == 21
        ada.send(ada.within("INVITE", ok, 21, f"Contact: <{ada.contact}>"))
        again = outside.expect("INVITE")
        assert again.cseq == 23
        outside.reply(again, "200 OK", f"Contact: <{outside.contact}>")
        answer = final(ada)
        assert (answer.status, answer.cseq) == (200, 21)
        ada.send(ada.within("ACK", ok, 21))
        assert outside.expect("ACK").cseq == 23
        ada.send(ada.within("BYE", ok, 22))
        bye = outside.expect("BYE")
        assert bye.cseq == 25
        outside.reply(bye, "200 OK")
        answer = final(ada)
        assert (answer.status, answer.cseq) == (200, 22)
        record = callgate.record(call_id)
        # One admitted call; with one failure an hour allowed, no challenge can have counted as one.
        assert (record["outcome"], record["payers"], record["trunk"]) == ("success", ["ada"], "pbx")
        assert callgate.metric("callgate_challenges_answered_total") - before == 3


@pytest.mark.parametrize("user", ["ada", "gate"])
def test_who_calls_the_registration_reaches_the_accounts_client(
    callgate: Callgate, pbx: Pbx, net: Net, user: str
) -> None:
    """In softphone mode a phone, in gateway mode the Worker: whatever registered here for the account."""
    username = {"ada": "4901", "gate": "4903"}[user]
    with registered(callgate, net, user) as client, outside_of(pbx, net) as outside:
        outside.send(outside.request("INVITE", f"sip:{username}@{DOMAIN}", f"Contact: <{outside.contact}>"))
        invite = client.expect("INVITE")
        assert invite.start.split()[1] == client.contact
        client.reply(invite, "200 OK", f"Contact: <{client.contact}>")
        ok = final(outside)
        assert ok.status == 200
        outside.send(outside.within("ACK", ok, ok.cseq))
        client.expect("ACK")
        # The client hangs up: challenged by the PBX, answered for it.
        client.send(client.back("BYE", invite, 7))
        bye = outside.expect("BYE")
        assert bye.cseq == 8
        outside.reply(bye, "200 OK")
        answer = final(client)
        assert (answer.status, answer.cseq) == (200, 7)
        assert callgate.record(invite.call_id)["payers"] == [user]


def test_a_cut_is_proved_too(callgate: Callgate, pbx: Pbx, net: Net) -> None:
    with registered(callgate, net, "cut") as phone, outside_of(pbx, net) as outside:
        phone.invite("778")
        invite = outside.expect("INVITE")
        outside.reply(invite, "200 OK", f"Contact: <{outside.contact}>")
        ok = final(phone)
        phone.send(phone.within("ACK", ok, ok.cseq))
        outside.expect("ACK")
        for side in (phone, outside):
            bye = side.expect("BYE")
            assert "call_duration reached" in bye.value("Reason")
            side.reply(bye, "200 OK")


def test_one_instance_registers_and_the_other_takes_over_when_it_dies(
    callgate: Callgate, pbx: Pbx, net: Net, redis: PrivateRedis, tmp_path: Path
) -> None:
    with Processes() as processes:
        other = Callgate(processes, tmp_path / "other", settings_at(net, redis.url, OTHER), BOUGHT)
        other.start()
        other.until("it stands by", lambda: states(other) == ["standby"] * 3)
        assert len(pbx.contacts("4901")) == 1
        callgate.kill()
        other.until("it has taken over", lambda: states(other) == ["registered"] * 3)
        host, port = other.address()
        assert f"sip:4901@{host}:{port}" in pbx.contacts("4901")
        other.terminate()
        other.running.wait(PATIENCE_S)
        assert f"sip:4901@{host}:{port}" not in pbx.contacts("4901")
        callgate.start()
        callgate.until("all are registered again", lambda: states(callgate) == ["registered"] * 3)
