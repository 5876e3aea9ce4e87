"""Two phones of one account ring with early media: a PRACK for each, a 199 when one gives up, the other answers."""

from __future__ import annotations

from contextlib import ExitStack

from tests.e2e.net import Net
from tests.e2e.phone import Phone, register
from tests.e2e.service import Tariff
from tests.e2e.sipp import Message
from tests.e2e.stage import Stage

TARIFFS = {"early-caller": Tariff({"success_calls": "1 per 1h"}), "early-phones": Tariff()}
RELIABLE = ("Require: 100rel", "RSeq: 7")


def within(phone: Phone, method: str, cseq: int, answer: Message, *extra: str) -> str:
    """A caller's request in the dialog that the answer made."""
    uri = answer.value("Contact").partition("<")[2].partition(">")[0]
    lines = [
        f"{method} {uri} SIP/2.0",
        f"Via: SIP/2.0/UDP {phone.host}:{phone.port};rport;branch=z9hG4bK{method}{cseq}p{phone.port}",
        "Max-Forwards: 70",
        *[f"Route: {route}" for route in reversed(answer.values("Record-Route"))],
        f"From: {answer.value('From')}",
        f"To: {answer.value('To')}",
        f"Call-ID: {answer.call_id}",
        f"CSeq: {cseq} {method}",
        *extra,
        "Content-Length: 0",
        "",
        "",
    ]
    return "\r\n".join(lines)


def final(phone: Phone, status: int) -> Message:
    """The next response with this status."""
    while True:
        message = phone.receive()
        if message.status == status:
            return message


def test_each_early_dialog_lives_and_ends_by_itself(stage: Stage) -> None:
    with ExitStack() as stack:
        desk, mobile = (stack.enter_context(stage.phone("early-phones")) for _ in range(2))
        caller = stack.enter_context(stage.phone("early-caller", host=Net.TRUSTED))
        for phone in (desk, mobile):
            register(phone)
        uri = "sip:early-phones@example.com"
        contact = f"Contact: <{caller.contact}>"
        invite = caller.request("INVITE", uri, contact, "Supported: 100rel, 199")
        caller.send(invite)
        rings = {}
        for phone in (desk, mobile):
            at_phone = phone.expect("INVITE")
            # RFC 5393 §5.3.3: the two share what one request may branch into.
            assert at_phone.value("Max-Breadth") == "30"
            phone.reply(at_phone, "183 Session Progress", f"Contact: <{phone.contact}>", *RELIABLE)
            rings[phone] = at_phone, final(caller, 183)
        for cseq, phone in ((2, mobile), (3, desk)):
            caller.send(within(caller, "PRACK", cseq, rings[phone][1], "RAck: 7 1 INVITE"))
            prack = phone.expect("PRACK")
            assert prack.value("RAck") == "7 1 INVITE"
            phone.reply(prack, "200 OK")
            assert final(caller, 200).value("CSeq") == f"{cseq} PRACK"
        desk.reply(rings[desk][0], "486 Busy Here")
        told = final(caller, 199)
        assert told.value("To") == rings[desk][1].value("To")
        assert told.value("Reason") == "SIP ;cause=486"
        mobile.reply(rings[mobile][0], "200 OK", f"Contact: <{mobile.contact}>")
        answer = final(caller, 200)
        assert answer.value("To") == rings[mobile][1].value("To")
        caller.send(within(caller, "ACK", 1, answer))
        mobile.expect("ACK")
        caller.send(within(caller, "BYE", 4, answer))
        mobile.reply(mobile.expect("BYE"), "200 OK")
        assert final(caller, 200).value("CSeq") == "4 BYE"
    assert stage.callgate.record(answer.call_id)["outcome"] == "success"
