"""Accounts register with digest, and are called over the flow they registered from."""

from __future__ import annotations

import pytest

from tests.e2e.net import TRANSPORTS, Net, Transport
from tests.e2e.phone import challenges, credentials
from tests.e2e.service import DOMAIN, Tariff
from tests.e2e.stage import Stage

TARIFFS = {
    "calls-the-registered": Tariff(),
    **{f"registered-{transport}": Tariff() for transport in TRANSPORTS},
    "registers": Tariff(),
    "repeats": Tariff(),
    "goes-and-comes": Tariff(),
}
REGISTRAR = f"sip:{DOMAIN}"


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.rfc3261("10.1-1")
def test_a_registered_account_is_called_over_its_flow(stage: Stage, transport: Transport) -> None:
    callee = stage.registered(f"registered-{transport}", transport=transport)
    caller = stage.caller(
        who="calls-the-registered",
        number=f"registered-{transport}",
        call_id=callee.call_id,
        transport=transport,
    )
    caller.succeeds()
    callee.succeeds()
    # To the contact it registered; by TCP that is the connection of its REGISTER, for its SIPp listens on none.
    assert callee.one("INVITE ").start == (
        f"INVITE sip:registered-{transport}@{callee.host}:{callee.port};transport={transport} SIP/2.0"
    )
    record = stage.callgate.record(callee.call_id)
    assert record["payers"] == ["calls-the-registered", f"registered-{transport}"]
    assert record["callee"] == f"registered-{transport}@{DOMAIN}"


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_the_password_opens_whichever_algorithm_is_chosen(
    stage: Stage, algorithm: str, transport: Transport
) -> None:
    with stage.phone("registers", transport=transport) as phone:
        asked = phone.ask(phone.register())
        assert (asked.status, list(challenges(asked))) == (401, ["MD5", "SHA-256"])
        proof = credentials(phone, "REGISTER", REGISTRAR, challenges(asked)[algorithm])
        answer = phone.ask(phone.register(proof, "Expires: 60"))
        assert answer.status == 200
        assert f"<{phone.contact}>;expires=60" in answer.values("Contact")


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_a_wrong_password_is_asked_again_and_registers_nothing(stage: Stage, algorithm: str) -> None:
    with stage.phone("goes-and-comes") as phone:
        phone.password = "guessed"
        challenge = challenges(phone.ask(phone.register()))[algorithm]
        answer = phone.ask(phone.register(credentials(phone, "REGISTER", REGISTRAR, challenge)))
        assert answer.status == 401
        # Not stale: the nonce is good, the password is not.
        assert "stale" not in challenges(answer)[algorithm]
    refused = stage.caller("refused", who="calls-the-registered", number="goes-and-comes")
    refused.succeeds()
    assert refused.one("SIP/2.0 480")


def test_a_replayed_answer_is_refused_and_a_counted_one_is_not(stage: Stage) -> None:
    with stage.phone("repeats") as phone:
        challenge = challenges(phone.ask(phone.register()))["SHA-256"]

        def register(nc: int) -> int:
            proof = credentials(phone, "REGISTER", REGISTRAR, challenge, nc=nc)
            return phone.ask(phone.register(proof)).status

        assert [register(nc) for nc in (1, 2, 2, 1, 3)] == [200, 200, 401, 401, 200]
        # RFC 7616 §3.3: the password was right, so the client is to try again with a new nonce by itself.
        again = phone.ask(phone.register(credentials(phone, "REGISTER", REGISTRAR, challenge, nc=3)))
        assert challenges(again)["SHA-256"]["stale"] == "true"


def test_a_nonce_that_is_not_ours_is_stale(stage: Stage) -> None:
    """As after a restart, when every phone still has a nonce of before."""
    with stage.phone("registers") as phone:
        challenge = challenges(phone.ask(phone.register()))["SHA-256"]
        old = {**challenge, "nonce": challenge["nonce"][:-4] + "0000"}
        answer = phone.ask(phone.register(credentials(phone, "REGISTER", REGISTRAR, old)))
        assert answer.status == 401
        fresh = challenges(answer)["SHA-256"]
        assert phone.ask(phone.register(credentials(phone, "REGISTER", REGISTRAR, fresh))).status == 200


def test_who_unregisters_is_called_no_more(stage: Stage) -> None:
    with stage.phone("goes-and-comes", host=Net.SOFTPHONE) as phone:
        challenge = challenges(phone.ask(phone.register()))["SHA-256"]
        there = phone.ask(phone.register(credentials(phone, "REGISTER", REGISTRAR, challenge)))
        assert there.status == 200
        gone = phone.ask(
            phone.register(
                credentials(phone, "REGISTER", REGISTRAR, challenge, nc=2), "Expires: 0", contact="*"
            )
        )
        assert (gone.status, gone.values("Contact")) == (200, [])
    refused = stage.caller("refused", who="calls-the-registered", number="goes-and-comes")
    refused.succeeds()
    assert refused.one("SIP/2.0 480").start == "SIP/2.0 480 Temporarily Unavailable"
