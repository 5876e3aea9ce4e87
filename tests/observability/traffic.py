"""Keeps a callgate busy with a little of everything, so that no panel of the dashboard is empty.

One round: a call is answered, a second one is refused for want of a line, the first is cut at its limit; beside them a
retransmission, an OPTIONS, a REGISTER that is challenged, rubbish, and a caller nobody knows.
"""

from __future__ import annotations

import itertools
import re
import socket
import threading
from types import TracebackType

from tests.e2e.net import Address

PATIENCE = 10.0
"""Seconds to wait for a message: far beyond T1, far below a test's timeout."""

_TAG = re.compile(r"^To:.*;tag=", re.MULTILINE | re.IGNORECASE)


def header_lines(message: str, *names: str) -> list[str]:
    """The lines of these headers, in the order of the message."""
    wanted = tuple(f"{name.lower()}:" for name in names)
    return [line for line in message.split("\r\n") if line.lower().startswith(wanted)]


def answer_to(request: str, status: str, *extra: str) -> str:
    """A response to `request` as a user agent sends it."""
    copied = header_lines(request, "Via", "Record-Route", "From", "To", "Call-ID", "CSeq")
    if not _TAG.search(request):
        copied = [f"{line};tag=peer" if line.lower().startswith("to:") else line for line in copied]
    return "\r\n".join([f"SIP/2.0 {status}", *copied, *extra, "Content-Length: 0", "", ""])


def _socket(address: Address) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(address)
    made.settimeout(PATIENCE)
    return made


class Callee:
    """Answers every request, in a thread of its own: INVITE with a Contact, ACK not at all."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.socket = _socket(address)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Callee:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # An empty datagram from itself ends the thread, which nothing else would wake.
        self.socket.sendto(b"", self.address)
        self._thread.join(PATIENCE)
        self.socket.close()

    def _serve(self) -> None:
        contact = f"Contact: <sip:callee@{self.address[0]}:{self.address[1]}>"
        while True:
            try:
                data, peer = self.socket.recvfrom(65535)
            except TimeoutError:
                continue
            if not data:
                return
            text = data.decode("latin-1")
            if not text.startswith(("SIP/2.0", "ACK ")):
                self.socket.sendto(answer_to(text, "200 OK", contact).encode("latin-1"), peer)


class Caller:
    """Plays rounds of calls against the proxy at `proxy`, from its own thread."""

    def __init__(self, host: str, proxy: Address, user: str, number: str, domain: str) -> None:
        self.proxy = proxy
        self.user = user
        self.number = number
        self.domain = domain
        self.socket = _socket((host, 0))
        self._counter = itertools.count(1)

    def close(self) -> None:
        self.socket.close()

    def request(
        self,
        method: str,
        call: str,
        cseq: int,
        *,
        uri: str = "",
        who: str = "",
        to_tag: str = "",
        extra: tuple[str, ...] = (),
    ) -> str:
        """A request of ours with a branch of its own; outside a dialog to the number called."""
        host, port = self.socket.getsockname()
        target = f"sip:{self.number}@{self.domain}"
        who = who or f"sip:{self.user}@{self.domain}"
        lines = [
            f"{method} {uri or target} SIP/2.0",
            f"Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{next(self._counter)}x{port};rport",
            *extra,
            f"From: <{who}>;tag=me{port}",
            f"To: <{who if method == 'REGISTER' else target}>{to_tag}",
            f"Call-ID: {call}",
            f"CSeq: {cseq} {method}",
            f"Contact: <sip:{self.user}@{host}:{port}>",
            "Max-Forwards: 70",
            "Content-Length: 0",
        ]
        return "\r\n".join([*lines, "", ""])

    def send(self, message: str) -> None:
        self.socket.sendto(message.encode("latin-1"), self.proxy)

    def receive(self, call: str, start: str) -> str:
        """The next message of this call that begins with `start`; others are passed over."""
        while True:
            text = self.socket.recv(65535).decode("latin-1")
            if text.startswith(start) and header_lines(text, "Call-ID") == [f"Call-ID: {call}"]:
                return text

    def ack(self, invite: str, final: str, call: str) -> None:
        """Of a 2xx by its dialog (RFC 3261 §13.2.2.4), of another final response by its transaction (§17.1.1.3)."""
        (to_line,) = header_lines(final, "To")
        tag = to_line.partition(">")[2]
        if final.startswith("SIP/2.0 2"):
            (contact,) = header_lines(final, "Contact")
            routes = [line.partition(":")[2] for line in header_lines(final, "Record-Route")]
            extra = tuple(f"Route:{value}" for value in reversed(routes))
            uri = contact.partition("<")[2].partition(">")[0]
            self.send(self.request("ACK", call, 1, uri=uri, to_tag=tag, extra=extra))
        else:
            (via,) = header_lines(invite, "Via")
            ack = self.request("ACK", call, 1, to_tag=tag)
            self.send(ack.replace(header_lines(ack, "Via")[0], via))

    def round(self) -> None:
        """One round, as the top of this file tells it. Ends when the cut has come."""
        name = f"{next(self._counter)}@{self.socket.getsockname()[0]}"
        first, second = f"a{name}", f"b{name}"
        invite = self.request("INVITE", first, 1)
        self.send(invite)
        self.receive(first, "SIP/2.0 100")
        self.send(invite)
        self.ack(invite, self.receive(first, "SIP/2.0 200"), first)
        refused = self.request("INVITE", second, 1)
        self.send(refused)
        self.ack(refused, self.receive(second, "SIP/2.0 486"), second)
        for method in ("OPTIONS", "REGISTER"):
            self.send(self.request(method, f"{method}{name}", 1, uri=f"sip:{self.domain}"))
            self.receive(f"{method}{name}", "SIP/2.0 ")
        self.send("INVITE is not enough\r\n\r\n")
        unknown = self.request("INVITE", f"c{name}", 1, who="sip:nobody@elsewhere.example")
        self.send(unknown)
        self.ack(unknown, self.receive(f"c{name}", "SIP/2.0 403"), f"c{name}")
        bye = self.receive(first, "BYE ")
        self.send(answer_to(bye, "200 OK"))


class Busy:
    """Rounds, one after the other, as long as the block is open. Its error, if any, is raised at the end."""

    def __init__(self, caller: Caller) -> None:
        self.rounds = 0
        self._caller = caller
        self.error: BaseException | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)

    def __enter__(self) -> Busy:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(2 * PATIENCE)
        self._caller.close()
        if self.error is not None and error is None:
            raise self.error

    def _play(self) -> None:
        try:
            while not self._over.is_set():
                self._caller.round()
                self.rounds += 1
        except BaseException as error:
            self.error = error
