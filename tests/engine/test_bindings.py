"""Bindings: a record comes back as it went, contacts are told apart as in RFC 3261 §19.1.4, and who is called first."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine import bindings as module
from proxy.engine.bindings import (
    ACCOUNTS_MAX,
    Binding,
    Sources,
    came_by,
    contact_key,
    devices,
    flow_of,
    read_record,
    read_records,
    registered_contact,
    to_record,
)
from proxy.sip.flow import FlowTable, Local

UDP4 = FlowTable(Local("UDP", "192.0.2.1", 5060, 4))
UDP4_OTHER = FlowTable(Local("UDP", "192.0.2.1", 5080, 4))
UDP6 = FlowTable(Local("UDP", "[2001:db8::1]", 5060, 6))
TCP4 = FlowTable(Local("TCP", "192.0.2.1", 5060, 4))
TABLES = (UDP4, UDP4_OTHER, UDP6, TCP4)


def binding(
    uri: str = "sip:alice@10.0.0.5:5062",
    *,
    q: int = 1000,
    device: str = "",
    updated_at: float = 0.0,
    transport: str = "UDP",
    host: str = "203.0.113.9",
    port: int = 40000,
    conn: int = 0,
    local_host: str = "192.0.2.1",
    local_port: int = 5060,
    instance: str = "here",
    agent: str = "",
) -> Binding:
    return Binding(
        uri=uri,
        contact=f"<{uri}>",
        q=q,
        expires_at=2000.0,
        updated_at=updated_at,
        transport=transport,
        host=host,
        port=port,
        conn=conn,
        local_host=local_host,
        local_port=local_port,
        instance=instance,
        sip_instance=device,
        agent=agent,
    )


def fields(one: Binding) -> dict[str, object]:
    return {name: getattr(one, name) for name in one.__slots__}


TEXT = st.text(st.characters(max_codepoint=255, exclude_characters="\n"), max_size=30)


@given(TEXT, TEXT, TEXT, st.integers(0, 1000), st.integers(0, 2**33 * 1000), st.integers(0, 65535))
def test_a_record_comes_back_as_it_went(
    uri: str, device: str, agent: str, q: int, at_ms: int, port: int
) -> None:
    one = binding(uri, q=q, device=device, agent=agent, updated_at=at_ms / 1000, port=port, conn=7)
    again = read_record(to_record(one))
    assert again is not None
    assert fields(again) == fields(one)


@pytest.mark.parametrize(
    "record",
    [
        "",
        "1",
        "2" + to_record(binding())[1:],
        to_record(binding()) + "\nmore",
        to_record(binding()).replace("40000", "many"),
        '{"uri": "sip:alice@10.0.0.5"}',
    ],
)
def test_a_record_of_another_version_is_passed_over(record: str) -> None:
    assert read_record(record) is None
    assert [one.uri for one in read_records([record, to_record(binding())])] == ["sip:alice@10.0.0.5:5062"]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("sip:alice@host.example.com", "sip:alice@HOST.Example.COM"),
        ("sip:%61lice@host", "sip:alice@host"),
        ("sip:alice@host;transport=TCP", "sip:alice@host;Transport=tcp"),
        ("sip:alice@host;a=1;b=2", "sip:alice@host;b=2;a=1"),
        ("sip:alice@host?a=1&b=2", "sip:alice@host?b=2&a=1"),
        ("sip:alice@[2001:DB8::0:9]", "sip:alice@[2001:db8::9]"),
        ("mailto:alice@host", "mailto:alice@host"),
    ],
)
def test_one_contact_in_two_spellings_is_one_binding(left: str, right: str) -> None:
    assert contact_key(left) == contact_key(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("sip:alice@host", "sip:ALICE@host"),
        ("sip:alice@host", "sips:alice@host"),
        ("sip:alice@host", "sip:alice@host:5060"),
        ("sip:alice@host", "sip:alice@host;transport=udp"),
        ("sip:alice@host;line=1", "sip:alice@host;line=2"),
        ("sip:alice@host", "sip:alice:pw@host"),
        ("sip:alice@host", "sip:host"),
        ("sip:alice@host", "sip:alice@host?Subject=x"),
        ("sip:%00@host5.example.com", "sip:%00%00@host5.example.com"),  # RFC 4475 §3.1.1.4
        ("sip:a%3Ab@host", "sip:a:b@host"),
        ("sip:a%40b@host", "sip:a@host"),
        ("tel:+1", "sip:+1@host"),
    ],
)
def test_different_contacts_are_different_bindings(left: str, right: str) -> None:
    assert contact_key(left) != contact_key(right)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("<sip:a@h>", "<sip:a@h>"),
        ("<sip:a@h>;expires=60", "<sip:a@h>"),
        ('"A; B" <sip:a@h;p=1?h=2> ; Expires = 60 ;q=0.5', '"A; B" <sip:a@h;p=1?h=2>;q=0.5'),
        ("Alice <sip:a@h>;q=0.5;expires=60;+sip.instance=\"<urn:uuid:0;expires=1>\"",
         "Alice <sip:a@h>;q=0.5;+sip.instance=\"<urn:uuid:0;expires=1>\""),
        ('"A \\" <x;y>" <sip:a@h>;expires=60', '"A \\" <x;y>" <sip:a@h>'),
        ("sip:a@h", "<sip:a@h>"),
        ("sip:a@h ;expires=60;unknownparam", "<sip:a@h>;unknownparam"),  # RFC 4475 §3.3.12
        ("<sip:a@h;unknownparam>;expires=1", "<sip:a@h;unknownparam>"),  # RFC 4475 §3.3.13
        ("<sip:a@h?Route=%3Csip:x%3E>;expires=1", "<sip:a@h?Route=%3Csip:x%3E>"),  # RFC 4475 §3.3.14
        ("<sip:a@h;expires=60>", "<sip:a@h;expires=60>"),
    ],
)  # fmt: skip
def test_a_contact_is_kept_as_registered_but_for_its_expires(value: str, kept: str) -> None:
    assert registered_contact(value) == kept


def targets(bindings: Sequence[Binding]) -> list[list[Binding]]:
    """Where each device is called first."""
    return [[device[0] for device in group] for group in devices(bindings)]


def uris(groups: list[list[Binding]]) -> list[list[str]]:
    return [[one.uri for one in group] for group in groups]


def test_one_contact_is_one_group() -> None:
    assert uris(targets([binding()])) == [["sip:alice@10.0.0.5:5062"]]


def test_no_contact_is_no_group() -> None:
    assert targets([]) == []


def test_contacts_are_called_by_falling_q_and_equal_ones_at_once() -> None:
    found = targets(
        [binding("sip:a", q=500), binding("sip:b", q=1000), binding("sip:c", q=500), binding("sip:d", q=0)]
    )
    assert uris(found) == [["sip:b"], ["sip:a", "sip:c"], ["sip:d"]]


def test_a_device_is_called_where_it_registered_last() -> None:
    # A phone whose NAT gave it a new port: the old contact lives on until it expires (RFC 5626 §7).
    old = binding("sip:a@10.0.0.5:1", device="<urn:uuid:1>", updated_at=100.0)
    new = binding("sip:a@10.0.0.5:2", device="<urn:uuid:1>", updated_at=100.5, q=500)
    other = binding("sip:a@10.0.0.6", device="<urn:uuid:2>", updated_at=50.0)
    nameless = [binding("sip:x"), binding("sip:y")]
    for order in ([old, new], [new, old]):
        assert uris(targets([*order, other, *nameless])) == [
            ["sip:a@10.0.0.6", "sip:x", "sip:y"],
            ["sip:a@10.0.0.5:2"],
        ]


@pytest.mark.parametrize("uri", ["mailto:alice@example.com", "tel:+15550100", "sips:alice@10.0.0.5"])
def test_what_no_sip_request_can_go_to_is_no_target(uri: str) -> None:
    assert targets([binding(uri)]) == []
    assert uris(targets([binding(uri), binding("SIP:b")])) == [["SIP:b"]]


def test_a_call_goes_back_over_the_flow_its_phone_registered_from() -> None:
    flow = UDP4.get("203.0.113.9", 40000)
    assert flow_of(binding(), "here", TABLES) is flow
    assert flow_of(binding(), "another process", TABLES) is flow


def test_the_very_socket_is_preferred_and_one_of_its_kind_will_do() -> None:
    exact = flow_of(binding(local_port=5080), "here", TABLES)
    assert exact is not None
    assert exact.local is UDP4_OTHER.local
    gone = flow_of(binding(local_host="198.51.100.1"), "here", TABLES)
    assert gone is not None
    assert gone.local is UDP4.local
    six = flow_of(binding(host="2001:db8::9"), "here", TABLES)
    assert six is not None
    assert six.local is UDP6.local


def test_a_connection_is_known_only_to_the_process_that_holds_it() -> None:
    tcp = binding(transport="TCP", conn=17)
    flow = TCP4.get("203.0.113.9", 40000, 17)
    flow.open = True
    assert flow_of(tcp, "here", TABLES) is flow
    assert flow_of(tcp, "another process", TABLES) is None
    flow.open = False
    assert flow_of(tcp, "here", TABLES) is None


def test_without_a_socket_of_the_kind_there_is_no_flow() -> None:
    assert flow_of(binding(transport="TLS"), "here", TABLES) is None
    assert flow_of(binding(host="2001:db8::9"), "here", (UDP4,)) is None


def test_a_contact_came_by_the_flow_with_the_same_ends() -> None:
    flow = UDP4.get("203.0.113.9", 40000)
    assert came_by(binding(), flow, "here")
    assert came_by(binding(), flow, "another process")
    assert not came_by(binding(port=40001), flow, "here")
    assert not came_by(binding(host="203.0.113.10"), flow, "here")
    assert not came_by(binding(transport="TCP"), flow, "here")
    stream = TCP4.get("203.0.113.9", 40000, 17)
    assert came_by(binding(transport="TCP", conn=17), stream, "here")
    assert not came_by(binding(transport="TCP", conn=18), stream, "here")
    assert not came_by(binding(transport="TCP", conn=17), stream, "another process")


FLOW = UDP4.get("203.0.113.9", 40000)
OTHER_FLOW = UDP4.get("203.0.113.9", 40001)


def test_a_source_is_known_until_its_registration_ends() -> None:
    sources = Sources()
    sources.put(FLOW, "alice@example.com", 160.0, 100.0)
    assert sources.find(FLOW, 159.9) == "alice@example.com"
    assert sources.find(OTHER_FLOW, 159.9) == ""
    assert sources.find(FLOW, 160.0) == ""
    assert sources.find(FLOW, 100.0) == "", "what is over is forgotten"


def test_whoever_claims_to_be_another_still_is_the_one_who_registered() -> None:
    sources = Sources()
    sources.put(FLOW, "alice@example.com", 160.0, 100.0)
    assert sources.find(FLOW, 101.0, "bob@example.com") == "alice@example.com"


def test_of_several_accounts_on_one_flow_it_is_the_claimed_one_or_nobody() -> None:
    sources = Sources()
    sources.put(FLOW, "alice@example.com", 160.0, 100.0)
    sources.put(FLOW, "bob@example.com", 120.0, 100.0)
    assert sources.find(FLOW, 101.0, "alice@example.com") == "alice@example.com"
    assert sources.find(FLOW, 101.0, "bob@example.com") == "bob@example.com"
    assert sources.find(FLOW, 101.0, "carol@example.com") == ""
    assert sources.find(FLOW, 130.0, "bob@example.com") == "alice@example.com", "bob's has ended"


def test_a_source_is_taken_away_by_its_end_and_with_its_flow() -> None:
    sources = Sources()
    sources.put(FLOW, "alice@example.com", 160.0, 100.0)
    sources.put(FLOW, "bob@example.com", 160.0, 100.0)
    sources.put(FLOW, "alice@example.com", 100.0, 100.0)
    assert sources.find(FLOW, 101.0) == "bob@example.com"
    sources.drop(FLOW)
    assert sources.find(FLOW, 101.0) == ""
    sources.drop(FLOW)


def test_sources_are_bounded_and_the_longest_untouched_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLOWS_MAX", 3)
    sources = Sources()
    flows = [UDP4.get("203.0.113.9", port) for port in range(1, 5)]
    for flow in (*flows[:3], flows[0], flows[3]):
        sources.put(flow, "alice@example.com", 160.0, 100.0)
    assert [bool(sources.find(flow, 101.0)) for flow in flows] == [True, False, True, True]


def test_accounts_of_one_flow_are_bounded() -> None:
    sources = Sources()
    for number in range(ACCOUNTS_MAX + 1):
        sources.put(FLOW, f"{number}@example.com", 160.0, 100.0)
    assert sources.find(FLOW, 101.0, "0@example.com") == ""
    assert sources.find(FLOW, 101.0, "1@example.com") == "1@example.com"
    assert sources.find(FLOW, 101.0, f"{ACCOUNTS_MAX}@example.com") == f"{ACCOUNTS_MAX}@example.com"
