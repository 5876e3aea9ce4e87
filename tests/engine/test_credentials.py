"""RFC 3261 §22.3: whose credentials pass. Of our own realm none, of a provider's all."""

from __future__ import annotations

from proxy.sip.message import Request, Response
from tests.engine.world import Phone, World

OURS = (
    'Proxy-Authorization: Digest username="alice", realm="example.com", nonce="n", uri="sip:x", response="r"'
)
THEIRS = OURS.replace("example.com", "provider.example")
UNREADABLE = "Proxy-Authorization: Digest nonsense"
NUMBER = "sip:4930@example.com"


def credentials(request: Request) -> list[str]:
    return [f"Proxy-Authorization: {value}" for value in request.values("proxy-authorization")]


def test_a_callers_answer_to_its_provider_goes_on_to_it(world: World) -> None:
    """A provider that challenged with 407 never saw an answer: every Proxy-Authorization was taken out."""
    caller = Phone(world, "192.0.2.10", "alice")
    provider = Phone(world, "192.0.2.20", "provider")
    caller.invite(NUMBER, "c1", OURS, THEIRS, UNREADABLE)
    [invite] = provider.requests()
    assert credentials(invite) == [THEIRS]


def test_credentials_of_ours_in_a_dialog_do_not_reach_the_callee(world: World) -> None:
    """Signed for a contact that the callee chose, those of a re-INVITE would let it call that number as its caller."""
    caller = Phone(world, "192.0.2.10", "alice")
    provider = Phone(world, "192.0.2.20", "provider")
    caller.invite(NUMBER)
    [invite] = provider.requests()
    provider.answer(invite, 200, "OK")
    answer = caller.got()[-1]
    assert isinstance(answer, Response)
    for method, cseq in (("ACK", 1), ("INVITE", 2), ("ACK", 2), ("BYE", 3)):
        caller.within(method, answer, cseq, OURS, THEIRS)
        [request] = provider.requests()
        assert (request.method, credentials(request)) == (method, [THEIRS])
        if method != "ACK":
            provider.answer(request, 200, "OK")
