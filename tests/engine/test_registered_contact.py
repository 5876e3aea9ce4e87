"""callgate as a registering client: which of the contacts in a 200 is its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.engine.results import State
from tests.engine.test_registrations import Stand


@pytest.mark.parametrize(
    ("contact", "state"),
    [
        # Asterisk with rewrite_contact: where the connection comes from, which is no port of ours.
        (
            "<sip:49301@192.0.2.1:41234;transport=tcp;x-ast-orig-host=192.0.2.1:5060>;expires=600",
            State.REGISTERED,
        ),
        ("<sip:49301@10.0.0.1:5060>;expires=5, <sip:49301@10.0.0.2:5060>;expires=600", State.REGISTERED),
        ("<sip:somebody@192.0.2.77>;expires=600", State.FAILED),
    ],
)
def test_a_registrar_that_writes_our_contact_anew_has_registered_us(
    tmp_path: Path, contact: str, state: State
) -> None:
    """It was taken for a refusal, and tried again and again."""
    stand = Stand(tmp_path)
    stand.begin()
    request = stand.asked()
    copied = [f"{key}: {value}" for key in ("via", "from", "call-id") for value in request.values(key)]
    to, cseq = f"To: {request.value('to')};tag=t", f"CSeq: {request.cseq} REGISTER"
    stand.provider.send("SIP/2.0 200 OK", *copied, to, cseq, f"Contact: {contact}")
    assert stand.states() == [state]
    if state is State.REGISTERED:
        [shown] = stand.world.engine.registrations.shown(stand.world.now)
        assert shown["expires_in_s"] == 600
