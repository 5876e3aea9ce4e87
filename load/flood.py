"""A flood from one address while calls go on: `python -m load.flood`. What passes with it ÷ what passes without.

The flood is 20,000 datagrams a second of five kinds (requests with a new branch each, one request again and again,
REGISTERs without credentials, stray responses, rubbish) from an address that is no trunk's. The calls are offered at
the same rate before and during it. What is told: calls that passed, SIPp's retransmissions, what the flood costs the
proxy in CPU a datagram. Exit code 1 if less than RATIO_MIN of the calls pass.
"""

from __future__ import annotations

import argparse
import shlex
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from load import procfs
from load.bench import DRAIN_S, HOLD_S, Bench, bench
from load.peers.callgate import Callgate
from load.processes import Processes, concluded
from load.sipp import PROXY_HOST, Counts

FLOOD_HOST = "127.0.0.66"
PAYERS = 500
RATIO_MIN = 0.99
TICK_S = 0.002
QUIET_S = 3.0


def request(method: str, branch: str) -> bytes:
    """Of a stranger."""
    return (
        f"{method} sip:100@example.com SIP/2.0\r\nVia: SIP/2.0/UDP {FLOOD_HOST};branch=z9hG4bK{branch}\r\n"
        f"From: <sip:100@example.com>;tag=1\r\nTo: <sip:100@example.com>\r\nCall-ID: {branch}\r\nCSeq: 1 {method}\r\n"
        f"Contact: <sip:100@{FLOOD_HOST}>\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def flood(port: int, rate: int) -> None:
    """Send `rate` datagrams a second until killed, and write down how many there were, ten times a second."""
    again = request("OPTIONS", "again")
    stray = (
        f"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP {PROXY_HOST};branch=z9hG4bKstray\r\nFrom: <sip:a@b>;tag=1\r\n"
        "To: <sip:c@d>;tag=2\r\nCall-ID: s\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
    ).encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((FLOOD_HOST, 0))
        sock.connect((PROXY_HOST, port))
        started, sent, told = time.monotonic(), 0, 0
        while True:
            due = int((time.monotonic() - started) * rate)
            while sent < due:
                kinds = (
                    request("INVITE", str(sent)),
                    again,
                    request("REGISTER", str(sent)),
                    stray,
                    b"rubbish" * 40,
                )
                try:
                    sock.send(kinds[sent % len(kinds)])
                except OSError:
                    pass
                sent += 1
            if sent // (rate // 10) > told:
                told = sent // (rate // 10)
                print(sent, flush=True)
            time.sleep(TICK_S)


def sent_so_far(log: Path) -> int:
    """By the flood."""
    lines = log.read_text().split()
    return int(lines[-1]) if lines else 0


def passed(one: Bench, rate: float, seconds: float) -> Counts:
    """Calls offered for so long, and what became of them."""
    caller = one.call(rate, int(rate * seconds))
    caller.child.wait(seconds + HOLD_S + DRAIN_S)
    counts = caller.counts()
    one.stop(caller)
    return counts


def measure(one: Bench, processes: Processes, rate: float, seconds: float, datagrams: int) -> list[str]:
    """Run it; what is wrong at the end."""
    offered = int(rate * seconds)
    print(f"{offered} calls at {rate:g}/s, a flood of {datagrams}/s from {FLOOD_HOST}", flush=True)
    passed(one, rate, QUIET_S)
    without = passed(one, rate, seconds)
    print(f"without the flood: {without.succeeded} calls passed, {without.retransmissions} retransmissions")
    argv = [
        sys.executable,
        "-m",
        "load.flood",
        "--sender",
        str(one.place.port),
        "--datagrams",
        str(datagrams),
    ]
    log = one.place.folder / "flood.log"
    processes.start("flood", argv, log)
    time.sleep(QUIET_S)
    before, sent = procfs.cpu_seconds(one.proxy.pid), sent_so_far(log)
    time.sleep(QUIET_S)
    cpu, sent = procfs.cpu_seconds(one.proxy.pid) - before, sent_so_far(log) - sent
    print(
        f"the flood alone: {sent / QUIET_S:.0f}/s sent, {cpu / QUIET_S * 100:.0f} % of a core, "
        f"{cpu / max(1, sent) * 1e6:.1f} µs a datagram",
        flush=True,
    )
    began, sent = time.monotonic(), sent_so_far(log)
    during = passed(one, rate, seconds)
    pace = (sent_so_far(log) - sent) / (time.monotonic() - began)
    print(f"during {pace:.0f}/s: {during.succeeded} calls passed, {during.retransmissions} retransmissions")
    ratio = during.succeeded / max(1, without.succeeded)
    print(f"calls that pass with the flood ÷ without: {ratio:.3f}", flush=True)
    return [] if ratio >= RATIO_MIN else [f"less than {RATIO_MIN:g} of the calls pass"]


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m load.flood", description="a flood while calls go on")
    parser.add_argument("--rate", type=float, default=300.0, help="calls/s")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--datagrams", type=int, default=20_000, help="of the flood, a second")
    parser.add_argument("--callgate", default="", help="what to run as callgate")
    parser.add_argument("--sender", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)
    if args.sender:
        flood(args.sender, args.datagrams)

    def measured() -> list[str]:
        with Processes() as processes, bench(Callgate(shlex.split(args.callgate)), PAYERS) as one:
            return measure(one, processes, args.rate, args.seconds, args.datagrams)

    return concluded(6 * args.seconds + 300, measured, "the calls go on unharmed")


if __name__ == "__main__":
    sys.exit(main())
