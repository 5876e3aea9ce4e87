"""Set-up delay added by a proxy, seen from outside: INVITE towards it and INVITE away from it, matched by Call-ID.

tcpdump takes both from the loopback device with the kernel's time stamps, so neither peer measures itself and both are
measured alike. The filter passes INVITEs only: two packets a call. What is between the two stamps is the proxy's whole
share: the wait in its socket buffer, its work, and its trip to Redis.
"""

from __future__ import annotations

import re
import signal
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from load.processes import Child, Processes, RunFailed, program, wait_until

SNAPLEN_BYTES = 1200  # the Call-ID stands well within; the body does not matter
BUFFER_KIB = 16384
INVITE_WORD = 0x494E5649  # "INVI", at offset 8 of the datagram, after the UDP header

PCAP_HEADER_BYTES = 24
PCAP_MAGIC_NS = 0xA1B23C4D  # pcap-savefile(5): nanosecond stamps, this machine's byte order
RECORD = struct.Struct("=IIII")
ETHERNET_BYTES = 14
UDP_BYTES = 8

_CALL_ID = re.compile(rb"\r\n(?:call-id|i)[ \t]*:[ \t]*([^\r\n]+)", re.IGNORECASE)
_DROPPED = re.compile(r"(\d+) packets? dropped by kernel")


@dataclass(frozen=True, slots=True)
class Delay:
    """Set-up delay over the calls seen, in milliseconds."""

    calls: int
    p50_ms: float
    p99_ms: float


class Capture:
    """A running tcpdump; `finish` stops it and gives the delays."""

    __slots__ = ("_callee_port", "_child", "_pcap", "_processes", "_proxy_port")

    def __init__(self, processes: Processes, folder: Path, proxy_port: int, callee_port: int) -> None:
        self._processes = processes
        self._proxy_port = proxy_port
        self._callee_port = callee_port
        self._pcap = folder / "setup.pcap"
        log = folder / "tcpdump.log"
        log.unlink(missing_ok=True)
        wanted = f"udp and (dst port {proxy_port} or dst port {callee_port}) and udp[8:4] = {INVITE_WORD:#x}"
        argv = [program("tcpdump"), "-i", "lo", "-n", "-p", "-Z", "root"]
        argv += ["-s", str(SNAPLEN_BYTES), "-B", str(BUFFER_KIB)]
        argv += ["--time-stamp-precision=nano", "-w", str(self._pcap), wanted]
        self._child: Child = processes.start("tcpdump", argv, log, stop_signal=signal.SIGINT)
        wait_until("listening", lambda: "listening on" in self._child.tail(), self._child)

    def finish(self) -> Delay:
        """Stop, and match every INVITE that left the proxy with the one that came in."""
        self._processes.stop(self._child)
        dropped = _DROPPED.search(self._child.tail())
        if dropped is None or int(dropped[1]):
            raise RunFailed(f"tcpdump lost packets, the delays would be wrong:\n{self._child.tail()}")
        return delays(self._pcap.read_bytes(), self._proxy_port, self._callee_port)


def delays(pcap: bytes, proxy_port: int, callee_port: int) -> Delay:
    """The delays in a capture; a retransmission counts for nothing: the first of each Call-ID is taken."""
    arrived: dict[bytes, int] = {}
    left: dict[bytes, int] = {}
    for stamp_ns, port, payload in datagrams(pcap):
        match = _CALL_ID.search(payload)
        if match is None:
            continue
        if port == proxy_port:
            arrived.setdefault(match[1], stamp_ns)
        elif port == callee_port:
            left.setdefault(match[1], stamp_ns)
    waits = sorted(left[call] - arrived[call] for call in left if call in arrived)
    if not waits:
        raise RunFailed("no call was seen both entering and leaving the proxy")
    return Delay(calls=len(waits), p50_ms=percentile(waits, 0.50) / 1e6, p99_ms=percentile(waits, 0.99) / 1e6)


def percentile(ordered: list[int], share: float) -> int:
    """Nearest rank: the smallest value that `share` of them do not exceed."""
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def datagrams(pcap: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(time stamp in ns, destination port, payload) of each UDP over IPv4 datagram in a nanosecond pcap of Ethernet."""
    if len(pcap) < PCAP_HEADER_BYTES or struct.unpack_from("=I", pcap)[0] != PCAP_MAGIC_NS:
        raise RunFailed("not a pcap file with nanosecond stamps")
    at = PCAP_HEADER_BYTES
    while at + RECORD.size <= len(pcap):
        seconds, nanoseconds, kept, _ = RECORD.unpack_from(pcap, at)
        at += RECORD.size
        frame = pcap[at : at + kept]
        at += kept
        ip = ETHERNET_BYTES
        udp = ip + (frame[ip] & 0x0F) * 4
        (port,) = struct.unpack_from("!H", frame, udp + 2)
        yield seconds * 1_000_000_000 + nanoseconds, port, frame[udp + UDP_BYTES :]
