"""Three accounts may be registered at once, and eight try together: exactly three get in."""

from __future__ import annotations

from contextlib import ExitStack

from tests.e2e.net import pause
from tests.e2e.phone import Phone, challenges, credentials
from tests.e2e.service import DOMAIN, Tariff
from tests.e2e.sipp import Message
from tests.e2e.stage import Stage

LIMIT, PHONES = 3, 8
NAMES = tuple(f"desk{n}" for n in range(PHONES))
TARIFFS = {"eight-desks": Tariff({"sip_accounts": LIMIT}, accounts=NAMES)}
LIFE_S = 2


class Desk:
    """One phone and the nonce it was given."""

    def __init__(self, phone: Phone) -> None:
        self.phone = phone
        self._challenge = challenges(phone.ask(phone.register()))["SHA-256"]
        self._nc = 0

    def asks(self, expires: int) -> str:
        """The REGISTER that will be taken if there is room."""
        self._nc += 1
        proof = credentials(self.phone, "REGISTER", f"sip:{DOMAIN}", self._challenge, nc=self._nc)
        return self.phone.register(proof, f"Expires: {expires}")

    def registers(self, expires: int) -> Message:
        return self.phone.ask(self.asks(expires))


def test_as_many_as_the_tariff_has_and_a_place_that_lapses_is_free(stage: Stage) -> None:
    with ExitStack() as stack:
        desks = [Desk(stack.enter_context(stage.phone(name))) for name in NAMES]
        requests = [desk.asks(600) for desk in desks]
        for desk, request in zip(desks, requests, strict=True):
            desk.phone.send(request)
        answers = [desk.phone.receive() for desk in desks]
        inside = [desk for desk, answer in zip(desks, answers, strict=True) if answer.status == 200]
        outside = [desk for desk in desks if desk not in inside]
        assert len(inside) == LIMIT
        refusals = [answer for answer in answers if answer.status != 200]
        for refusal in refusals:
            assert refusal.start == "SIP/2.0 402 SIP account has disallowed settings"
            assert "sip_accounts reached: the limit on active accounts of this mode is 3" in refusal.value(
                "Warning"
            )

        # A refresh is never refused, full or not.
        assert [desk.registers(600).status for desk in inside] == [200] * LIMIT
        # Who unregisters makes room at once.
        assert inside[0].registers(0).status == 200
        assert outside[0].registers(LIFE_S).status == 200
        assert outside[1].registers(600).status == 402
        # And so does who lapses.
        pause(LIFE_S)
        stage.callgate.until("the lapsed place is free", lambda: outside[1].registers(600).status == 200, 2)
        assert outside[2].registers(600).status == 402
