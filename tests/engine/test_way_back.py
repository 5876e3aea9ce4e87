"""Where a response over UDP goes: RFC 3581 §4 with rport, else RFC 3261 §18.2.2."""

from __future__ import annotations

import pytest

from proxy.sip.message import Response
from tests.engine.world import Phone, World


@pytest.mark.rfc3261("18.2.2-8")
def test_without_rport_the_answer_goes_to_the_port_in_via(world: World) -> None:
    """RFC 3261 §18.2.2; with rport it goes to where the request came from (RFC 3581 §4)."""
    source = Phone(world, "192.0.2.10", "alice", 40_000)
    told = Phone(world, "192.0.2.10", "alice", 5062)
    for via, where in (("192.0.2.10:5062", told), ("192.0.2.10:5062;rport", source)):
        source.send(
            "OPTIONS sip:192.0.2.1 SIP/2.0",
            f"Via: SIP/2.0/UDP {via};branch=z9hG4bK{len(via)}",
            "Max-Forwards: 70",
            "From: <sip:x@y>;tag=1",
            "To: <sip:192.0.2.1>",
            f"Call-ID: {via}",
            "CSeq: 1 OPTIONS",
        )
        [answer] = where.got()
        assert isinstance(answer, Response)
        assert answer.status == 200


@pytest.mark.rfc3261("18.2.1-4", "18.2.1-5", "18.2.2-6", "18.2.2-8")
@pytest.mark.parametrize(
    ("via", "port"),
    [("10.0.0.1:5062", 5062), ("pc.example.com:5062", 5062), ("10.0.0.1", 5060), ("192.0.2.10", 5060)],
)
def test_without_rport_the_answer_goes_to_the_source_whatever_via_says(
    world: World, via: str, port: int
) -> None:
    """RFC 3261 §18.2.2: the address in `received`, the port in sent-by or 5060."""
    source, told = Phone(world, "192.0.2.10", "alice", 40_000), Phone(world, "192.0.2.10", "alice", port)
    source.address = via
    source.request("OPTIONS", "sip:192.0.2.1", "o1", 1, "<sip:x@y>;tag=1", "<sip:192.0.2.1>")
    [answer] = told.got()
    assert isinstance(answer, Response)
    assert answer.status == 200
    assert (";received=192.0.2.10" in answer.via.value) is not via.startswith("192.0.2.10")
    assert not source.got()
