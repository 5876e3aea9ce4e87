"""STUN Binding on the SIP port: RFC 5389's own words, and RFC 5769's sample where it has one."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest

from proxy.sip.stun import MAGIC, binding_response

TRANSACTION = bytes(range(12))


def request(attributes: bytes = b"", cookie: int = MAGIC, kind: int = 1) -> bytes:
    return struct.pack(">HHI12s", kind, len(attributes), cookie, TRANSACTION) + attributes


def attribute(name: int, value: bytes) -> bytes:
    return struct.pack(">HH", name, len(value)) + value + b"\0" * (-len(value) % 4)


def test_the_sample_of_rfc_5769_section_2_2_and_2_3() -> None:
    transaction = bytes.fromhex("b7e7a701bc34d686fa87dfae")
    asked = struct.pack(">HHI12s", 1, 0, MAGIC, transaction)
    answer = binding_response(asked, "192.0.2.1", 32853)
    assert answer is not None
    assert answer[20:] == bytes.fromhex("0020000800 01a147e112a643".replace(" ", ""))
    answer = binding_response(asked, "2001:db8:1234:5678:11:2233:4455:6677", 32853)
    assert answer is not None
    assert answer[20:] == bytes.fromhex("002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9")


def test_a_client_of_rfc_3489_is_told_plainly() -> None:
    answer = binding_response(request(cookie=0x01020304), "192.0.2.7", 5061)
    assert answer is not None
    assert struct.unpack(">HHI12s", answer[:20]) == (0x0101, 12, 0x01020304, TRANSACTION)
    assert answer[20:] == struct.pack(">HHHH", 1, 8, 1, 5061) + ip_address("192.0.2.7").packed


def test_what_it_must_understand_and_does_not_is_named() -> None:
    attributes = attribute(0x0006, b"user") + attribute(0x7001, b"abc") + attribute(0x8022, b"client 1")
    answer = binding_response(request(attributes), "192.0.2.7", 5061)
    assert answer is not None
    kind, length, _, _ = struct.unpack(">HHI12s", answer[:20])
    assert (kind, length) == (0x0111, len(answer) - 20)
    assert answer[24:28] == b"\0\0\4\x14"  # 420
    assert answer.endswith(struct.pack(">HHHH", 0x000A, 2, 0x7001, 0))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\1",
        request()[:19],
        request(kind=0x0101),
        request(kind=0x0011),
        request() + b"\0",
        struct.pack(">HHI12s", 1, 8, MAGIC, TRANSACTION) + b"\0" * 4,
        request(struct.pack(">HH", 6, 9) + b"1234"),
        request(b"\0\6\0\0" * 200),
    ],
)
def test_anything_else_is_no_answers_worth(data: bytes) -> None:
    assert binding_response(data, "192.0.2.7", 5061) is None
