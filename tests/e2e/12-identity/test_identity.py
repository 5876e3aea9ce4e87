"""Who pays is who was proved or asserted by somebody trusted, never who a message says it is from."""

from __future__ import annotations

import pytest

from tests.e2e.net import Net
from tests.e2e.service import Tariff
from tests.e2e.stage import Stage

TARIFFS = {"asserted": Tariff(), "in-from": Tariff()}


def test_a_trunk_trusted_with_identities_names_the_caller_in_p_asserted_identity(stage: Stage) -> None:
    provider = stage.provider()
    callee = stage.callee(provider)
    caller = stage.caller(
        "asserting-caller",
        who="in-from",
        number=provider.number,
        host=Net.ASSERTING,
        keys={"asserted": "asserted"},
    )
    caller.succeeds()
    callee.succeeds()
    assert stage.callgate.record(caller.call_id)["payers"] == ["asserted"]


def test_a_trunk_trusted_with_from_only_asserts_nothing(stage: Stage) -> None:
    provider = stage.provider()
    callee = stage.callee(provider)
    caller = stage.caller(
        "asserting-caller",
        who="in-from",
        number=provider.number,
        host=Net.TRUSTED,
        keys={"asserted": "asserted"},
    )
    caller.succeeds()
    callee.succeeds()
    assert stage.callgate.record(caller.call_id)["payers"] == ["in-from"]
    # RFC 3325 §5: not trusted to assert it, so it went no further.
    assert callee.one("INVITE ").values("P-Asserted-Identity") == []


@pytest.mark.parametrize(
    ("host", "asserted"),
    [
        pytest.param(Net.OUTSIDE, "asserted", id="outside callers are nobody of ours, whatever they claim"),
        pytest.param(Net.ASSERTING, "stranger", id="an identity that no account has"),
    ],
)
def test_nobody_of_ours_calls_out(stage: Stage, host: int, asserted: str) -> None:
    provider = stage.provider()
    caller = stage.caller(
        "asserting-and-refused", who="in-from", number=provider.number, host=host, keys={"asserted": asserted}
    )
    caller.succeeds()
    refusal = caller.one("SIP/2.0 403")
    assert "unknown_caller" in refusal.value("Warning")
    record = stage.callgate.record(caller.call_id)
    assert (record["outcome"], record["reason"], record["payers"]) == ("refused", "unknown_caller", [])
