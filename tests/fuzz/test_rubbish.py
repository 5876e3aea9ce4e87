"""10,000 pieces of rubbish at a running callgate, datagrams and streams, from strangers and from a registered caller:

1. Nothing raises past the parser: no internal error is counted, no traceback logged, the process lives.
2. After each thousand an OPTIONS is answered, by UDP and by a new connection, and requests get to a registered user.
3. Memory stays flat: once every table has met its bound, the process needs no more.
4. Every datagram was read (the kernel dropped none); what is no SIP is counted.
5. When it is over, nothing is left: no call, no transaction, no connection.

T1 is 50 ms, so that what a peer leaves unanswered is over in seconds and not in a minute.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path

import pytest

from tests.e2e.net import Net
from tests.e2e.service import Callgate, Tariff
from tests.fuzz.rubbish import Cook, OddCallee, Streams
from tests.torture.stand import Stand

PIECES = 10_000
THOUSAND = 1_000
BURST = 20
"""Datagrams between two looks at whether callgate keeps up: they fit its receive buffer."""
WARM_AFTER = 5
"""Thousands. The parser's tables of remembered lines hold 4,096 each, and every piece brings new lines."""
GROWTH_MAX_KB = 5_000
"""A leak of 1 kB a piece. What is seen is half of it: tables that fill, and the allocator."""
TARIFFS = {"everybody": Tariff({"call_duration": "1s"}, accounts=("caller", "user"))}


class Rubbish:
    """One run."""

    def __init__(self, stand: Stand) -> None:
        self.rng = random.Random(4475)
        self.stand = stand
        self.known = stand.sender(0)
        self.stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.stranger.bind((stand.rows_host, 0))
        self.cook = Cook(self.rng, f"{self.known.host}:{self.known.port}")
        self.streams = Streams(self.rng, stand.rows_host, stand.address)
        self.callee = OddCallee(stand, random.Random(5118))
        self.datagrams = 0

    def thousand(self) -> None:
        for number in range(THOUSAND):
            if self.rng.random() < 0.6:
                self._datagram()
            else:
                self._stream()
            for _ in range(3):
                self.streams.step()
            if number % BURST == BURST - 1:
                self.stand.probe()
                self.known.inbox.clear()
                self.known.strange.clear()

    def _datagram(self) -> None:
        sock = self.known.sock if self.rng.random() < 0.5 else self.stranger
        sock.sendto(self.cook.message(), self.stand.address)
        self.datagrams += 1

    def _stream(self) -> None:
        if self.rng.random() < 0.05:
            # From a connection of the registered caller, who is let further.
            end = self.stand.connection()
            self.streams.start(self.cook.stream(), end.sock.dup())
            self.stand.ends.drop(end)
        else:
            self.streams.start(self.cook.stream())

    def close(self) -> None:
        self.streams.close()
        self.stranger.close()


def resident_kb(pid: int) -> int:
    """VmRSS."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def dropped(stand: Stand) -> int:
    """Datagrams the kernel had no room for, by its table of sockets."""
    host, port = stand.address
    local = f"{socket.inet_aton(host)[::-1].hex().upper()}:{port:04X}"
    (row,) = (line.split() for line in Path("/proc/net/udp").read_text().splitlines() if f" {local} " in line)
    return int(row[-1])


def options_by_a_new_connection(stand: Stand) -> int:
    end = stand.ends.tcp(stand.rows_host, stand.address)
    status = stand.ask(
        end, stand.request(end, "OPTIONS", f"sip:{stand.address[0]}:{stand.address[1]}")
    ).status
    stand.ends.drop(end)
    return status


def left_over(service: Callgate) -> dict[str, float]:
    """What is still there, by its gauge; of transactions, what may not be."""
    names = ("callgate_calls_active", "callgate_connections_open", "callgate_transactions_active")
    found = {name: service.metric(name) for name in names}
    # RFC 3261 §17.1.1.2: Timer D is 32 s, whatever T1 is; until then an INVITE that failed knows its final response.
    declined = service.metric("callgate_call_outcomes_total", outcome="fail")
    repeating = service.metric("callgate_transactions_active", machine="client_invite")
    if repeating <= declined:
        found["callgate_transactions_active"] -= repeating
    return {name: value for name, value in found.items() if value}


@pytest.mark.timeout(120)
def test_ten_thousand_pieces_of_rubbish(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    timers = {"t1": "50ms", "t2": "200ms", "t4": "100ms"}
    with Stand(Net(), tmp_path, TARIFFS, timers=timers) as stand:
        service, rubbish = stand.service, Rubbish(stand)
        sizes: list[int] = []
        for number in range(PIECES // THOUSAND):
            rubbish.callee.accepts = number < 8
            rubbish.thousand()
            stand.probe()
            assert options_by_a_new_connection(stand) == 200
            assert service.metric("callgate_internal_errors_total") == 0, service.running.tail(60)
            sizes.append(resident_kb(service.running.pid))
        rubbish.close()
        with capsys.disabled():
            print(f"\nRubbish: {PIECES} pieces; memory after each thousand, in kB: {sizes}")
        assert max(sizes[WARM_AFTER:]) - sizes[WARM_AFTER - 1] < GROWTH_MAX_KB, sizes
        assert dropped(stand) == 0
        assert service.metric("callgate_messages_dropped_total") == 0
        assert service.metric("callgate_parse_errors_total") > rubbish.datagrams / 4
        assert rubbish.callee.met > 200, rubbish.callee.met
        service.until("nothing is left", lambda: left_over(service) == {}, 15.0)
        errors = [line for line in service.log() if line["level"] not in ("info", "warning")]
        assert not errors
