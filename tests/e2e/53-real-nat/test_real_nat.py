"""Phones behind a NAT that forgets: kept reachable, called, and cut, over UDP and over TCP."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator

import pytest

from load.processes import Processes
from tests.e2e.natted import PHONES, Nat, real_nat
from tests.e2e.net import TRANSPORTS, Net, Transport, free_port, pause
from tests.e2e.phone import Phone, challenges, credentials, final
from tests.e2e.service import DOMAIN, PASSWORD, Callgate, Tariff, settings_of
from tests.e2e.sipp import Message
from tests.redis import PrivateRedis

UDP_TIMEOUT_S = 2
"""A real one is 30 s and more."""
LONGER_S = 2 * UDP_TIMEOUT_S + 1
BOUGHT = {
    "behind": Tariff({"call_duration": "4s"}),
    "forgotten": Tariff(),
    "flows": Tariff(),
    "caller": Tariff(),
    "busy-line": Tariff(),
}


@pytest.fixture(scope="module")
def nat() -> Iterator[Nat]:
    with real_nat(UDP_TIMEOUT_S) as made:
        yield made


@pytest.fixture
def start(
    nat: Nat, net: Net, redis: PrivateRedis, processes: Processes, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Callgate]:
    """A callgate on the far side of the NAT, with this interval of pings."""

    def begin(ping: str) -> Callgate:
        settings = settings_of(net, redis.url)
        port = free_port(nat.callgate)
        settings["listen"] = [f"{transport}://{nat.callgate}:{port}" for transport in ("udp", "tcp")]
        settings["metrics"]["listen"] = f"{nat.callgate}:{free_port(nat.callgate)}"
        settings["nat"] = {"ping": ping}
        # Who calls from this side is a trunk's.
        settings["trunks"]["near"] = {"from": [f"{nat.callgate}/32"], "identity": "from"}
        service = Callgate(processes, tmp_path_factory.mktemp("natted"), settings, BOUGHT)
        service.start()
        return service

    return begin


def behind(nat: Nat, callgate: Callgate, user: str, transport: Transport = "UDP") -> Phone:
    return nat.inside(lambda: Phone(user, PASSWORD, PHONES, callgate.address(), transport))


def register(phone: Phone, parameters: str = "", *extra: str) -> Message:
    contact = f"<{phone.contact}>{parameters}"
    asked = phone.ask(phone.register(contact=contact))
    proof = credentials(phone, "REGISTER", f"sip:{DOMAIN}", challenges(asked)["MD5"])
    answer = phone.ask(phone.register(proof, *extra, contact=contact))
    assert answer.status == 200, answer.text
    return answer


def caller(nat: Nat, callgate: Callgate) -> Phone:
    return Phone("caller", "", nat.callgate, callgate.address(), "UDP")


def invite(near: Phone, user: str) -> None:
    near.send(near.request("INVITE", f"sip:{user}@{DOMAIN}", f"Contact: <{near.contact}>"))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_phone_is_reached_and_cut_long_after_its_nat_would_have_forgotten_it(
    start: Callable[[str], Callgate], nat: Nat, transport: Transport
) -> None:
    callgate = start("1s")
    with behind(nat, callgate, "behind", transport) as phone, caller(nat, callgate) as near:
        register(phone)
        # It says an address that nobody reaches from outside.
        assert PHONES in phone.contact
        pause(LONGER_S)
        invite(near, "behind")
        got = phone.expect("INVITE")
        phone.reply(got, "200 OK", f"Contact: <{phone.contact}>")
        ok = final(near)
        assert ok.status == 200
        near.send(near.within("ACK", ok, ok.cseq))
        assert phone.expect("ACK").start.split()[1].startswith(f"sip:behind@{PHONES}")
        for side in (phone, near):
            bye = side.expect("BYE")
            assert "call_duration reached" in bye.value("Reason")
            side.reply(bye, "200 OK")
        if transport == "UDP":
            assert callgate.metric("callgate_nat_pings_total", event="sent") >= 3


def test_the_nat_is_a_real_one_and_forgets_who_is_not_pinged(
    start: Callable[[str], Callgate], nat: Nat
) -> None:
    callgate = start("off")
    with behind(nat, callgate, "forgotten") as phone, caller(nat, callgate) as near:
        register(phone)
        pause(LONGER_S)
        invite(near, "forgotten")
        # The router says that nobody is there.
        assert final(near).status >= 480
        phone.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            phone.receive()


def test_its_own_call_is_cut_through_the_nat(start: Callable[[str], Callgate], nat: Nat) -> None:
    """Nothing passed for longer than the NAT remembers, but for the pings: the phone's BYE comes all the same."""
    callgate = start("1s")
    with (
        behind(nat, callgate, "behind") as phone,
        Phone("busy-line", PASSWORD, nat.callgate, callgate.address(), "UDP") as near,
    ):
        register(phone)
        register(near)
        phone.invite("busy-line")
        got = near.expect("INVITE")
        near.reply(got, "200 OK", f"Contact: <{near.contact}>")
        ok = final(phone)
        phone.send(phone.within("ACK", ok, ok.cseq))
        near.expect("ACK")
        for side in (near, phone):
            bye = side.expect("BYE")
            side.reply(bye, "200 OK")


def test_stun_and_crlf_on_the_sip_port_are_answered(start: Callable[[str], Callgate], nat: Nat) -> None:
    callgate = start("off")
    with behind(nat, callgate, "behind") as phone:
        transaction = os.urandom(12)
        phone.socket.sendto(struct.pack(">HHI", 1, 0, 0x2112A442) + transaction, callgate.address())
        data, _ = phone.socket.recvfrom(2048)
        assert data[:2] == b"\x01\x01"
        assert data[8:20] == transaction
        # XOR-MAPPED-ADDRESS: what the NAT made of the phone's address.
        octets = bytes(a ^ b for a, b in zip(data[28:32], b"\x21\x12\xa4\x42", strict=True))
        assert ".".join(map(str, octets)) == nat.router
        phone.socket.sendto(b"\r\n\r\n", callgate.address())
        assert phone.socket.recvfrom(2048)[0] == b"\r\n"
        assert callgate.metric("callgate_keepalives_total") == 2
    with behind(nat, callgate, "behind", "TCP") as phone:
        phone.socket.sendall(b"\r\n\r\n")
        assert phone.socket.recv(10) == b"\r\n"


def test_a_device_with_two_flows_is_called_by_the_one_that_is_left(
    start: Callable[[str], Callgate], nat: Nat
) -> None:
    """RFC 5626: one device, two connections, counted once, called once."""
    callgate = start("1s")
    device = ';+sip.instance="<urn:uuid:00000000-0000-1000-8000-000A95A0E128>";reg-id='
    one, other = (behind(nat, callgate, "flows", "TCP") for _ in range(2))
    with other, caller(nat, callgate) as near:
        for number, phone in ((2, other), (1, one)):
            answer = register(phone, f"{device}{number}", "Supported: outbound, path")
            assert answer.value("Require") == "outbound"
            assert answer.value("Flow-Timer") == "120"
        assert len(answer.values("Contact")) == 2
        invite(near, "flows")
        got = one.expect("INVITE")
        one.reply(got, "486 Busy Here")
        assert final(near).status == 486
        one.socket.close()
        callgate.until("its connection is gone", lambda: callgate.metric("callgate_connections_open") == 1)
        invite(near, "flows")
        got = other.expect("INVITE")
        other.reply(got, "200 OK", f"Contact: <{other.contact}>")
        ok = final(near)
        assert ok.status == 200
        near.send(near.within("ACK", ok, ok.cseq))
        other.expect("ACK")
        near.send(near.within("BYE", ok, ok.cseq + 1))
        other.reply(other.expect("BYE"), "200 OK")
