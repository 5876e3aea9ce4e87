"""A Telegram gateway and a PBX, attached in the two ways where callgate does not register: the PBX registers here, or
it is a trunk known by its address, two of them on one machine told apart by a header (the third: 51-registers-itself).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from load.processes import Processes
from tests.e2e.net import Net
from tests.e2e.pbx import DOMAIN as PBX_DOMAIN
from tests.e2e.pbx import PASSWORD as PBX_PASSWORD
from tests.e2e.pbx import Pbx
from tests.e2e.phone import Phone, final, register
from tests.e2e.service import DOMAIN, PASSWORD, Callgate, Tariff, settings_of
from tests.e2e.sipp import Message
from tests.e2e.stage import Providers
from tests.redis import PrivateRedis

CALLGATE, PBX, TRUNKS, DESK = 67, 68, 69, 70

# Not TARIFFS: no other callgate has these trunks.
BOUGHT = {
    "office": Tariff({"lines": 1}, mode="gateway"),
    "worker": Tariff({"lines": 4}, mode="gateway", accounts=("5001",)),
    "calls-the-office": Tariff(),
}


@pytest.fixture(scope="module")
def callgate(net: Net, redis: PrivateRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callgate]:
    settings = settings_of(net, redis.url, host=CALLGATE)
    # Who registered is known by its flow: a PBX's calls come from the socket of its REGISTERs.
    settings["auth"]["invite"] = "registered_source"
    for name in ("a", "b"):
        settings["trunks"][name] = {
            "from": [f"{net.host(TRUNKS)}/32"],
            "match_header": {"name": "X-Trunk", "value": name},
        }
    with Processes() as processes:
        service = Callgate(processes, tmp_path_factory.mktemp("ways"), settings, BOUGHT)
        service.start()
        yield service
        assert service.metric("callgate_internal_errors_total") == 0, service.running.tail(60)


def registered(phone: Phone) -> Phone:
    register(phone)
    return phone


def talk(caller: Phone, callee: Phone, uri: str) -> Message:
    """A call there and the caller's BYE; the INVITE as the callee got it."""
    caller.send(caller.request("INVITE", uri, f"Contact: <{caller.contact}>"))
    invite = callee.expect("INVITE")
    callee.reply(invite, "200 OK", f"Contact: <{callee.contact}>")
    ok = final(caller)
    assert ok.status == 200
    caller.send(caller.within("ACK", ok, ok.cseq))
    callee.expect("ACK")
    caller.send(caller.within("BYE", ok, ok.cseq + 1))
    callee.reply(callee.expect("BYE"), "200 OK")
    assert final(caller).status == 200
    return invite


def test_the_pbx_registers_here(
    callgate: Callgate,
    providers: Providers,
    net: Net,
    processes: Processes,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    host, port = callgate.address()
    row = {
        "l_uuid": "line1",
        "l_username": "desk",
        "l_domain": PBX_DOMAIN,
        "r_username": "office",
        "r_domain": DOMAIN,
        "realm": DOMAIN,
        "auth_username": "office",
        "auth_password": PASSWORD,
        "auth_proxy": f"sip:{host}:{port}",
        "expires": "60",
    }
    address = (net.host(PBX), net.sip_port)
    folder = tmp_path_factory.mktemp("pbx")
    pbx = Pbx(processes, folder, address, (host, port), trusting=True, registers=row)
    callgate.until(
        "the PBX has registered",
        lambda: callgate.metric("callgate_registrations_total", result="accepted") >= 1,
    )
    provider = providers.take("UDP")
    with (
        registered(Phone("desk", PBX_PASSWORD, net.host(DESK), address, "UDP", PBX_DOMAIN)) as desk,
        Phone(
            "provider", "", provider.address[0], callgate.address(), "UDP", port=provider.address[1]
        ) as outside,
        Phone("calls-the-office", "", net.host(Net.TRUSTED), callgate.address(), "UDP") as caller,
    ):
        assert len(pbx.contacts("desk")) == 1
        # In: to the contact that the PBX registered, which it knows for its desk's.
        invite = talk(caller, desk, f"sip:office@{DOMAIN}")
        record = callgate.record(invite.call_id)
        assert (record["callee"], record["payers"]) == (f"office@{DOMAIN}", ["calls-the-office", "office"])
        # Out: from its desk to a number.
        invite = talk(desk, outside, f"sip:{provider.number}@{PBX_DOMAIN}")
        record = callgate.record(invite.call_id)
        assert (record["caller"], record["payers"]) == (f"office@{DOMAIN}", ["office"])


def test_two_trunks_at_one_address_are_told_apart_by_a_header(
    callgate: Callgate, net: Net, processes: Processes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with registered(Phone("5001", PASSWORD, net.host(Net.SOFTPHONE), callgate.address(), "UDP")) as worker:
        for n, name in enumerate(("a", "b", "c")):
            address = (net.host(TRUNKS), net.sip_port + n)
            folder = tmp_path_factory.mktemp(f"trunk-{name}")
            pbx = Pbx(processes, folder, address, callgate.address(), trusting=True, trunk=name)
            with Phone("desk", "", net.host(DESK), pbx.address, "UDP", PBX_DOMAIN) as desk:
                if name == "c":
                    # Nobody's header: whoever is at that address is no trunk without it.
                    contact = f"Contact: <{desk.contact}>"
                    desk.send(desk.request("INVITE", f"sip:5001@{PBX_DOMAIN}", contact))
                    assert final(desk).status == 403
                    continue
                invite = talk(desk, worker, f"sip:5001@{PBX_DOMAIN}")
                record = callgate.record(invite.call_id)
                assert (record["trunk"], record["payers"], record["mode"]) == (name, ["worker"], "gateway")
