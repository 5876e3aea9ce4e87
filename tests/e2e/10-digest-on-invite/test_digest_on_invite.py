"""A softphone calls: nobody vouches for it, so its INVITE is challenged (407)."""

from __future__ import annotations

import pytest

from tests.e2e.net import TRANSPORTS, Net, Transport
from tests.e2e.phone import challenges, credentials
from tests.e2e.service import DOMAIN, Tariff
from tests.e2e.stage import Stage

TARIFFS = {"softphone": Tariff({"fail_calls": "1 per 1h"}), "imposter": Tariff()}


@pytest.mark.rfc3261("16.3-13")
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_with_its_password_it_gets_through(stage: Stage, transport: Transport) -> None:
    provider = stage.provider(transport)
    callee = stage.callee(provider)
    caller = stage.caller(
        "digest-caller", who="softphone", number=provider.number, host=Net.SOFTPHONE, transport=transport
    )
    caller.succeeds()
    callee.succeeds()

    # RFC 3261 §22.3: its credentials were meant for us and go no further.
    assert callee.one("INVITE ").values("Proxy-Authorization") == []
    # The challenge was no call: one record, of the one that was answered, and no failure (it has one a hour).
    record = stage.callgate.record(caller.call_id)
    assert (record["outcome"], record["payers"]) == ("success", ["softphone"])


@pytest.mark.rfc3261("16.3-13")
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
@pytest.mark.parametrize(("password", "status"), [("secret", 486), ("guessed", 407)])
def test_each_algorithm_is_taken_and_a_wrong_password_is_not(
    stage: Stage, algorithm: str, password: str, status: int
) -> None:
    provider = stage.provider()
    callee = stage.callee(provider, "busy") if status == 486 else None
    uri = f"sip:{provider.number}@{DOMAIN}"
    with stage.phone("imposter") as phone:
        phone.password = password
        call_id = phone.new_call_id()
        asked = phone.ask(phone.request("INVITE", uri, call_id=call_id))
        assert asked.status == 407
        phone.acknowledge(asked)
        proof = credentials(phone, "INVITE", uri, challenges(asked)[algorithm], proxy=True)
        answer = phone.ask(phone.request("INVITE", uri, proof, call_id=call_id))
        phone.acknowledge(answer)
        assert answer.status == status
    if callee is not None:
        callee.succeeds()
