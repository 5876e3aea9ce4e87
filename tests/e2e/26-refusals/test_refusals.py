"""Calls that cannot be: each is refused with its own status, and told why in the Warning."""

from __future__ import annotations

import pytest

from tests.e2e.net import TRANSPORTS, Net, Transport
from tests.e2e.service import Tariff
from tests.e2e.stage import Stage

TARIFFS = {
    "served": Tariff(),
    "never-registered": Tariff(),
    "switched-off": Tariff(disabled=True),
    "other-mode": Tariff(category="gateway"),
}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("who", "number", "status", "phrase", "reason"),
    [
        ("nobody", "100", 403, "Forbidden", "unknown_caller"),
        ("switched-off", "100", 403, "Account is disabled", "account_disabled"),
        ("other-mode", "100", 402, "SIP account has disallowed settings", "no_plan"),
        ("served", "999", 404, "Not Found", "no_route"),
        ("served", "never-registered", 480, "Temporarily Unavailable", "not_registered"),
    ],
)
def test_each_has_its_answer(
    stage: Stage, transport: Transport, who: str, number: str, status: int, phrase: str, reason: str
) -> None:
    caller = stage.caller("refused", who=who, number=number, transport=transport)
    caller.succeeds()
    refusal = caller.one("SIP/2.0 4")
    assert refusal.start == f"SIP/2.0 {status} {phrase}"
    warning = refusal.value("Warning")
    assert warning.startswith("399 ")
    assert f'"{reason}' in warning
    # Limits and mistakes never look like a dead server.
    assert refusal.values("Retry-After") == []
    record = stage.callgate.record(caller.call_id)
    assert (record["status"], record["reason"], record["answered"]) == (status, reason, None)


def test_an_unknown_softphone_cannot_be_told_from_a_wrong_password(stage: Stage) -> None:
    """Both are challenged: who guesses accounts learns nothing."""
    with stage.phone("nobody", host=Net.SOFTPHONE) as phone:
        assert phone.ask(phone.register()).status == 401
