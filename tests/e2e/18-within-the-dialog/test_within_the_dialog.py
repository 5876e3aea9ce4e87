"""Any method passes in a dialog, and none of them prolongs the call."""

from __future__ import annotations

from tests.e2e.net import TRANSPORTS
from tests.e2e.service import Tariff
from tests.e2e.stage import Stage

LIMIT_S = 3.0
TARIFFS = {"talkative": Tariff({"call_duration": "3s", "success_calls": "2 per 1h"})}


def test_everything_passes_and_the_limit_stays_where_it_was(stage: Stage) -> None:
    """Over UDP and TCP at once, for the waiting is the same."""
    admitted = stage.callgate.metric("callgate_admissions_total")
    calls = []
    for transport in TRANSPORTS:
        provider = stage.provider(transport)
        callee = stage.callee(provider)
        caller = stage.caller(who="talkative", number=provider.number, transport=transport)
        calls.append((caller, callee))

    for caller, callee in calls:
        caller.succeeds()
        callee.succeeds()
        for method in ("PRACK", "INFO"):
            assert len({request.cseq for request in callee.received(f"{method} ")}) == 1
        assert len({update.cseq for update in callee.received("UPDATE ")}) == 2
        answered = min(ack.at for ack in caller.sent("ACK "))
        for side in (caller, callee):
            bye = side.one("BYE ")
            assert LIMIT_S - 0.05 <= bye.at - answered <= LIMIT_S + 1.0, side.story()
            assert "call_duration" in bye.value("Reason")
        # SPEC §4: a higher CSeq than that side has seen, the re-INVITE and UPDATE included.
        assert callee.one("BYE ").cseq > max(update.cseq for update in callee.received("UPDATE "))
    # Rule 7: nothing of this was admitted or counted again.
    assert stage.callgate.metric("callgate_admissions_total") - admitted == len(TRANSPORTS)
