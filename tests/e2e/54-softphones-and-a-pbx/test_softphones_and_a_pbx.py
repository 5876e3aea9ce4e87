"""A softphone and the extensions of a PBX (Kamailio), which are softphones, too: calls both ways, hold, a transfer to
another extension, and the cut. In three ways a softphone meets a PBX here: it has an account of callgate's, to which
the PBX is a trunk; or one that callgate registers at the PBX itself; or it is the PBX's own, and registers there
through callgate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from load.processes import Processes
from tests.e2e.net import Net
from tests.e2e.pbx import DOMAIN as PBX_DOMAIN
from tests.e2e.pbx import PASSWORD as PBX_PASSWORD
from tests.e2e.pbx import Pbx, trunk_to
from tests.e2e.service import DOMAIN, PASSWORD, Callgate, Tariff, settings_of
from tests.e2e.softphone import Softphone
from tests.e2e.softphones import Kind, Softphones
from tests.redis import PrivateRedis

CALLGATE, PBX, OUTSIDE = 73, 74, 75
ONE, OTHER = "4930", "4931"
"""Two extensions."""
PAYER = "calls-extensions"
REASON = 'SIP ;cause=402 ;text="call_duration reached"'


@dataclass(frozen=True, slots=True)
class Way:
    """How the softphone under test and the PBX know each other."""

    user: str
    domain: str
    password: str
    account: dict[str, Any]


TRUNK = Way("5001", DOMAIN, PASSWORD, {})
THROUGH = Way(
    "5002",
    PBX_DOMAIN,
    PBX_PASSWORD,
    {"password": None, "domain": PBX_DOMAIN, "registrar": {"forward": "pbx"}},
)
REGISTERED = Way(
    "5003",
    DOMAIN,
    PASSWORD,
    {"register": {"trunk": "pbx", "username": "5003", "password": PBX_PASSWORD, "domain": PBX_DOMAIN}},
)


@pytest.fixture
def meet(
    net: Net, redis: PrivateRedis, processes: Processes, tmp_path: Path
) -> Callable[[Way], tuple[Callgate, Pbx]]:
    """Both run and know each other."""

    def met(way: Way) -> tuple[Callgate, Pbx]:
        settings = settings_of(net, redis.url, host=CALLGATE)
        settings["auth"]["algorithms"] = ["MD5"]
        if way is THROUGH:
            settings["domains"].append(PBX_DOMAIN)
        address = net.host(PBX), net.sip_port
        settings["trunks"]["pbx"] = trunk_to(address)
        settings["routes"].insert(0, {"match": "^493[01]$", "to": "pbx"})
        service = Callgate(processes, tmp_path / "callgate", settings, {PAYER: bought(way)})
        registered = way is REGISTERED
        pbx = Pbx(
            processes,
            tmp_path / "pbx",
            address,
            # Whom it trusts, and where other numbers are.
            (net.host(OUTSIDE), net.sip_port) if registered else service.address(),
            # As its trunk it trusts callgate; from those who are registered it wants a password.
            trusting=way is TRUNK,
            within=registered,
            # A REFER of over 1,300 bytes would go by TCP, and a NOTIFY by UDP overtake the 202 to it (tests/interop).
            udp_only=True,
        )
        service.start()
        if registered:
            service.until(
                "it is registered at the PBX",
                lambda: service.metric("callgate_registrations_elsewhere", state="registered") == 1,
            )
        return service, pbx

    return met


def bought(way: Way, **limits: str) -> Tariff:
    # Not TARIFFS: no other callgate has this domain.
    return Tariff(limits, accounts=(way.user,), account=way.account)


@pytest.mark.parametrize("way", [TRUNK, REGISTERED, THROUGH], ids=["trunk", "registered", "through"])
@pytest.mark.parametrize(("kind", "theirs"), [("baresip", "linphone"), ("linphone", "baresip")])
def test_a_softphone_and_extensions(
    meet: Callable[[Way], tuple[Callgate, Pbx]],
    softphones: Softphones,
    way: Way,
    kind: Kind,
    theirs: Kind,
) -> None:
    callgate, pbx = meet(way)
    phone = softphones.start(kind, way.user, callgate.address(), domain=way.domain, password=way.password)
    one, other = (
        softphones.start(theirs, extension, pbx.address, domain=PBX_DOMAIN, password=PBX_PASSWORD)
        for extension in (ONE, OTHER)
    )

    # Out: the extension holds and hangs up.
    call(phone, one, f"sip:{ONE}@{way.domain}")
    hold(one, phone)
    one.hang_up()
    phone.await_over()
    one.await_over()

    # In: the softphone holds, and is sent to the other extension.
    call(one, phone, f"sip:{way.user}@{PBX_DOMAIN}")
    hold(phone, one)
    one.transfer(f"sip:{OTHER}@{PBX_DOMAIN}")
    phone.await_up()
    other.await_up()
    callgate.until("the call that was transferred has ended", lambda: len(callgate.records()) == 2)
    phone.hang_up()
    other.await_over()

    # Out: the softphone sends the extension on, which is then none of callgate's business.
    call(phone, one, f"sip:{ONE}@{way.domain}")
    phone.transfer(f"sip:{OTHER}@{PBX_DOMAIN}")
    one.await_up()
    other.await_up()
    callgate.until("the call that was transferred has ended", lambda: len(callgate.records()) == 4)
    other.hang_up()
    one.await_over()

    # In, and cut.
    callgate.tariffs[PAYER] = bought(way, call_duration="2s")
    callgate.write()
    callgate.reload()
    call(one, phone, f"sip:{way.user}@{PBX_DOMAIN}")
    for each in (phone, one):
        each.await_over()
        each.await_bye(REASON)

    callgate.until("every call is in the records", lambda: len(callgate.records()) == 5)
    mine = f"{way.user}@{way.domain}"
    assert [(record["caller"], record["callee"], record["ended_by"]) for record in callgate.records()] == [
        (mine, ONE, "callee"),
        (ONE, mine, "caller"),
        (mine, OTHER, "caller"),
        (mine, ONE, "caller"),
        (ONE, mine, "callgate"),
    ]
    assert {record["outcome"] for record in callgate.records()} == {"success"}
    assert {tuple(record["payers"]) for record in callgate.records()} == {(PAYER,)}
    if way is REGISTERED:
        # Three INVITEs, hold and back, the softphone's BYE and that of the cut.
        assert callgate.metric("callgate_challenges_answered_total") >= 7
    assert callgate.metric("callgate_internal_errors_total") == 0, callgate.running.tail(60)


def call(caller: Softphone, callee: Softphone, uri: str) -> None:
    caller.dial(uri)
    caller.await_up()
    callee.await_up()


def hold(one: Softphone, other: Softphone) -> None:
    """And back."""
    one.hold()
    other.await_held()
    one.resume()
    other.await_resumed()
