"""Peers that send rubbish to a running callgate: what is not SIP, what nearly is, and calls that somebody spoils.

Nothing here is random but by the generator that is passed in; sockets never block.
"""

from __future__ import annotations

import random
import socket
import struct
from collections import deque
from collections.abc import Sequence

from tests.fuzz.test_parser import SEEDS, SPICE, mutated
from tests.torture.stand import Stand
from tests.torture.wire import Address, Heard

DATAGRAM_MAX = 60_000
STREAMS_MAX = 60
"""Streams open at a time; the one that is open longest is then given up."""

_RESET = struct.pack("ii", 1, 0)
_REQUESTS = (
    "INVITE",
    "INVITE",
    "INVITE",
    "OPTIONS",
    "MESSAGE",
    "REGISTER",
    "SUBSCRIBE",
    "BYE",
    "CANCEL",
    "PUBLISH",
)
_URIS = ("sip:user@example.com", "sip:4930@example.com", "sip:nobody@example.com", "sip:example.com")


class Cook:
    """Makes rubbish."""

    def __init__(self, rng: random.Random, here: str) -> None:
        self._rng = rng
        self._here = here
        self._count = 0
        self._last = b""

    def message(self) -> bytes:
        """One datagram's or stream message's worth: random octets, spoilt messages of the RFCs, spoilt live ones."""
        rng = self._rng
        kind = rng.random()
        if kind < 0.1:
            return rng.randbytes(rng.randint(1, 1500))
        if kind < 0.15:
            return b"".join(rng.choice(SPICE) for _ in range(rng.randint(1, 30)))[:DATAGRAM_MAX]
        if kind < 0.6:
            return mutated(rng)[:DATAGRAM_MAX]
        if kind < 0.65 and self._last:
            return self._last
        self._last = self._live()
        return mutated(rng, [self._last, self._last, rng.choice(SEEDS)]) if kind < 0.85 else self._last

    def _live(self) -> bytes:
        """A good request, which asks for something."""
        self._count += 1
        rng, number = self._rng, self._count
        method, uri = rng.choice(_REQUESTS), rng.choice(_URIS)
        body = "v=0\r\n" * rng.randint(0, 3)
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {self._here};branch=z9hG4bKlive{number}{rng.choice(('', ';rport'))}",
            "Max-Forwards: 70",
            f"From: <sip:caller@example.com>;tag=live{number}",
            f"To: <{uri}>",
            f"Call-ID: live-{number}",
            f"CSeq: 1 {method}",
            f"Contact: <sip:caller@{self._here}>",
            f"Content-Length: {len(body)}",
            "",
            body,
        ]
        return "\r\n".join(lines).encode("latin-1")

    def stream(self) -> list[bytes]:
        """Some messages, cut anywhere."""
        rng = self._rng
        data = b"".join(
            rng.choice((self.message(), self.message(), b"\r\n\r\n")) for _ in range(rng.randint(1, 3))
        )
        if rng.random() < 0.1:
            data = data[: rng.randint(0, len(data))]
        cuts = sorted(rng.randint(0, len(data)) for _ in range(rng.choice((0, 1, 1, 3, 20))))
        return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


class Streams:
    """Connections that get on a piece at a time, in any order, and end in every way."""

    def __init__(self, rng: random.Random, host: str, peer: Address) -> None:
        self._rng = rng
        self._host = host
        self._peer = peer
        self._open: deque[tuple[socket.socket, deque[bytes]]] = deque()

    def start(self, pieces: Sequence[bytes], sock: socket.socket | None = None) -> None:
        """One more; by this socket, else by a connection of its own."""
        if sock is None:
            sock = socket.create_connection(self._peer, 10, (self._host, 0))
        sock.setblocking(False)
        self._open.append((sock, deque(pieces)))
        while len(self._open) > STREAMS_MAX:
            self._end(*self._open.popleft())

    def step(self) -> None:
        """A piece of any of them."""
        if not self._open:
            return
        self._open.rotate(self._rng.randrange(len(self._open)))
        sock, pieces = self._open[0]
        try:
            if pieces:
                sent = sock.send(pieces[0]) if pieces[0] else 0
                pieces[0] = pieces[0][sent:]
                if not pieces[0]:
                    pieces.popleft()
                return
        except BlockingIOError:
            return
        except ConnectionError:
            pass  # callgate has closed it: what came was no SIP
        self._open.popleft()
        self._end(sock, pieces)

    def _end(self, sock: socket.socket, pieces: deque[bytes]) -> None:
        how = self._rng.randrange(3)
        if how == 0:
            try:
                sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it is closed already
        elif how == 1:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        sock.close()

    def close(self) -> None:
        while self._open:
            self._end(*self._open.popleft())


class OddCallee:
    """Answers what reaches it: rightly, wrongly, with rubbish, or not at all. What it lets ring it also declines."""

    def __init__(self, stand: Stand, rng: random.Random) -> None:
        self._end = stand.callee
        self._usual = stand.callee.handler
        self._rng = rng
        self.accepts = True
        self.met = 0
        """Requests that reached it, but the probe's."""
        stand.callee.handler = self.take

    def take(self, request: Heard, source: Address) -> None:
        if request.call_id.startswith("stand-"):
            assert self._usual is not None
            self._usual(request, source)
            return
        self.met += 1
        rng = self._rng
        if request.method == "ACK" or rng.random() < 0.2:
            return
        final = self._answer(request, rng.choice(("486 Busy Here", "603 Decline", "503 Service Unavailable")))
        if request.method != "INVITE" or (self.accepts and rng.random() < 0.3):
            final = self._answer(request, "200 OK")
        answers = [self._answer(request, "100 Trying"), self._answer(request, "180 Ringing"), final]
        for answer in answers[rng.randint(0, 2) :]:
            if rng.random() < 0.2:
                self._end.send(mutated(rng, [answer])[:DATAGRAM_MAX], source)
            self._end.send(answer, source)

    def _answer(self, request: Heard, status: str) -> bytes:
        copied = [
            line for key in ("via", "record-route", "from", "call-id", "cseq") for line in request.all(key)
        ]
        lines = [
            f"SIP/2.0 {status}",
            *copied,
            f"To: {request.value('to')}" + ("" if ";tag=" in request.value("to") else ";tag=odd"),
            f"Contact: <sip:odd@{self._end.host}:{self._end.port}>",
            "Content-Length: 0",
        ]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")
