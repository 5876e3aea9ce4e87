"""An account registers with digest (RFC 7616, MD5), so that it can be called."""

from __future__ import annotations

from tests.e2e.phone import digest, parameters
from tests.limits.agent import Address, Agent
from tests.limits.leg import Leg
from tests.limits.sip import unique


async def register(agent: Agent, proxy: Address, user: str, password: str, domain: str) -> None:
    """`user` is reached at `agent` from now on."""
    leg = Leg(agent, unique("r"), unique("f"), proxy)
    agent.legs[leg.call_id] = leg
    uri, aor = f"sip:{domain}", f"sip:{user}@{domain}"
    contact = f"Contact: <sip:{user}@{agent.address[0]}:{agent.address[1]}>"
    leg.ask("REGISTER", uri, aor, 1, contact)
    challenged = await leg.answer_to("REGISTER")
    values = challenged.headers["www-authenticate"]
    asked = next(one for one in map(parameters, values) if one.get("algorithm", "MD5") == "MD5")
    proof = digest("MD5", user, password, asked["realm"], "REGISTER", uri, asked["nonce"], "00000001", "c")
    leg.heard.clear()
    leg.ask(
        "REGISTER",
        uri,
        aor,
        2,
        contact,
        f'Authorization: Digest username="{user}", realm="{asked["realm"]}", nonce="{asked["nonce"]}", '
        f'uri="{uri}", response="{proof}", algorithm=MD5, cnonce="c", qop=auth, nc=00000001',
    )
    answer = await leg.answer_to("REGISTER")
    assert answer.status == 200, answer
