"""An attended transfer to an account with one line: the INVITE with Replaces takes the place of the call it names."""

from __future__ import annotations

import re

from tests.e2e.net import Net
from tests.e2e.phone import Phone, register
from tests.e2e.service import Tariff
from tests.e2e.sipp import Message
from tests.e2e.stage import Stage
from tests.e2e.store import held
from tests.redis import PrivateRedis

TARIFFS = {
    "transferor": Tariff({"lines": 2}, mode="gateway"),
    "transfer-target": Tariff(
        {"lines": 1, "call_duration": "1h", "total_duration": "10h per 1d"}, mode="gateway"
    ),
}
ANSWER = "Contact: <{}>"


def tag(value: str) -> str:
    return re.search(r";tag=([^;]+)", value)[1]  # type: ignore[index]


def bye_of(phone: Phone, invite: Message, to_tag: str) -> str:
    """The callee's BYE in the dialog of an INVITE that it answered."""
    uri = invite.value("Contact").partition("<")[2].partition(">")[0]
    lines = [
        f"BYE {uri} SIP/2.0",
        f"Via: SIP/2.0/UDP {phone.host}:{phone.port};rport;branch=z9hG4bKbye{phone.port}",
        "Max-Forwards: 70",
        *[f"Route: {route}" for route in invite.values("Record-Route")],
        f"From: {invite.value('To')};tag={to_tag}",
        f"To: {invite.value('From')}",
        f"Call-ID: {invite.call_id}",
        "CSeq: 1 BYE",
        "Content-Length: 0",
        "",
        "",
    ]
    return "\r\n".join(lines)


def lines_of(redis: PrivateRedis, payer: str) -> int:
    with redis.client() as client:
        return sum(client.zcard(key) for key in held(redis) if payer in key)


def test_the_lease_follows_the_call(stage: Stage, redis: PrivateRedis) -> None:
    with stage.phone("transfer-target") as target:
        register(target)
        # The transferor asks the target; its phone answers.
        asks = stage.caller("hung-up-on", who="transferor", number="transfer-target")
        asked = target.expect("INVITE")
        contact = ANSWER.format(target.contact)
        target.reply(asked, "200 OK", contact)
        target.expect("ACK")
        mine = f"t{target.port}"
        assert lines_of(redis, "transfer-target") == 1
        # Whoever else calls it finds its line taken.
        refused = stage.caller("refused", who="stranger", number="transfer-target", host=Net.OUTSIDE)
        refused.succeeds()
        assert refused.one("SIP/2.0 486").start == "SIP/2.0 486 No lines for call"
        # The one who was referred does not.
        keys = {
            "replaced": asked.call_id,
            "to_tag": mine,
            "from_tag": tag(asked.value("From")),
            "transferor": "transferor",
        }
        comes = stage.caller(
            "in-place-of", who="stranger", number="transfer-target", host=Net.OUTSIDE, keys=keys, hold_s=0.5
        )
        new = target.expect("INVITE")
        assert new.value("Replaces") == f"{asked.call_id};to-tag={mine};from-tag={tag(asked.value('From'))}"
        target.reply(new, "200 OK", contact)
        target.expect("ACK")
        assert lines_of(redis, "transfer-target") == 1
        # RFC 3891 §3: the phone ends what was replaced.
        assert target.ask(bye_of(target, asked, mine)).status == 200
        asks.succeeds()
        assert lines_of(redis, "transferor") == 0
        assert lines_of(redis, "transfer-target") == 1
        target.reply(target.expect("BYE"), "200 OK")
        comes.succeeds()
        stage.callgate.until("the line is free", lambda: lines_of(redis, "transfer-target") == 0)
    replaced = stage.callgate.record(asked.call_id)
    assert (replaced["cause"], replaced["outcome"]) == ("replaced", "success")
    record = stage.callgate.record(comes.call_id)
    assert (record["payers"], record["outcome"], record["decision"]) == (
        ["transfer-target"],
        "success",
        "admitted",
    )
