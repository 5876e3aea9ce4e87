"""Set-up delays read from a capture: matched by Call-ID, by first sight, whatever else the capture holds."""

from __future__ import annotations

import struct

import pytest

from load.capture import Delay, datagrams, delays, percentile
from load.processes import RunFailed

PROXY, CALLEE = 5060, 5070
HEADER = struct.pack("=IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 1200, 1)


def packet(at_ns: int, port: int, call_id: str, *, header: str = "Call-ID", ip_options: int = 0) -> bytes:
    """One record: Ethernet, IPv4 (with so many words of options), UDP, an INVITE."""
    payload = f"INVITE sip:1@x SIP/2.0\r\nVia: SIP/2.0/UDP x\r\n{header}: {call_id}\r\n\r\n".encode()
    ip = bytes([0x45 + ip_options]) + bytes(19 + 4 * ip_options)
    frame = bytes(14) + ip + struct.pack("!HHHH", 9, port, 8 + len(payload), 0) + payload
    return struct.pack("=IIII", at_ns // 10**9, at_ns % 10**9, len(frame), len(frame)) + frame


def test_the_delay_is_from_the_first_invite_in_to_the_first_invite_out() -> None:
    pcap = HEADER + b"".join(
        [
            packet(999_999_000, PROXY, "a"),
            packet(1_002_000_000, CALLEE, "a"),  # 2.001 ms later, over the second's end
            packet(1_500_000_000, PROXY, "a"),  # a retransmission
            packet(1_500_100_000, CALLEE, "a"),
        ]
    )
    assert delays(pcap, PROXY, CALLEE) == Delay(calls=1, p50_ms=2.001, p99_ms=2.001)


def test_calls_seen_on_one_side_only_count_for_nothing() -> None:
    pcap = (
        HEADER
        + packet(1, PROXY, "in")
        + packet(2, CALLEE, "out")
        + packet(3, PROXY, "b")
        + packet(1_000_003, CALLEE, "b")
    )
    assert delays(pcap, PROXY, CALLEE) == Delay(calls=1, p50_ms=1.0, p99_ms=1.0)


def test_a_capture_without_a_whole_call_is_an_error_not_a_zero() -> None:
    with pytest.raises(RunFailed):
        delays(HEADER + packet(1, PROXY, "in"), PROXY, CALLEE)


@pytest.mark.parametrize("header", ["Call-ID", "call-id", "i", "Call-ID "])
def test_call_id_in_every_spelling(header: str) -> None:
    pcap = HEADER + packet(0, PROXY, "x@y", header=header) + packet(5_000_000, CALLEE, "x@y", header=header)
    assert delays(pcap, PROXY, CALLEE).p50_ms == 5.0


def test_ip_options_move_the_udp_header() -> None:
    (found,) = datagrams(HEADER + packet(7, PROXY, "a", ip_options=2))
    assert found[:2] == (7, PROXY)
    assert found[2].startswith(b"INVITE ")


def test_a_record_cut_off_at_the_end_is_left_out() -> None:
    whole = packet(1, PROXY, "a")
    assert [at for at, _, _ in datagrams(HEADER + whole + packet(2, PROXY, "b")[:10])] == [1]


def test_another_file_is_refused() -> None:
    with pytest.raises(RunFailed):
        list(datagrams(b"\xd4\xc3\xb2\xa1" + bytes(40)))


def test_percentile_is_the_nearest_rank() -> None:
    ordered = list(range(1, 101))
    assert (percentile(ordered, 0.5), percentile(ordered, 0.99), percentile(ordered, 1.0)) == (50, 99, 100)
    assert percentile([4], 0.5) == 4
    assert percentile([1, 2, 3], 0.99) == 3
