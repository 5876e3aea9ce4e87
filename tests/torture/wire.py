"""The ends of the wire around callgate: sockets that send torture messages as they stand and note what comes back.

All of them are in one thread and never sleep: `Ends.until` waits for sockets. What arrives is kept as messages; bytes
that are none are kept as `strange`, for callgate must never send such.
"""

from __future__ import annotations

import re
import selectors
import socket
import time
from collections.abc import Callable
from pathlib import Path

from proxy.sip.grammar import header_key

Address = tuple[str, int]
PATIENCE_S = 10.0
"""How long anything is waited for that comes at once on a quiet machine."""

_LENGTH = re.compile(rb"^(?:content-length|l)[ \t]*:[ \t]*([0-9]+)", re.IGNORECASE | re.MULTILINE)
_STATUS = re.compile(r"SIP/2\.0 ([1-6][0-9]{2}) [^\r\n]*")
_REQUEST = re.compile(r"[^\s]+ [^\s]+ SIP/2\.0")


class Heard:
    """A message as it came. Not read by the parser under test: an answer to nonsense repeats its nonsense."""

    def __init__(self, data: bytes) -> None:
        """Raises: ValueError when it is not even shaped like a message."""
        head, blank, self.body = data.partition(b"\r\n\r\n")
        self.data = data
        self.start, *lines = head.decode("latin-1").split("\r\n")
        self.lines = lines
        status = _STATUS.fullmatch(self.start)
        self.status = int(status[1]) if status else 0
        """0 of a request."""
        self.method = "" if status else self.start.partition(" ")[0]
        shaped = status or _REQUEST.fullmatch(self.start)
        if not blank or not shaped or any(":" not in line or re.search(r"[\r\n]", line) for line in lines):
            raise ValueError(data)

    def __repr__(self) -> str:
        return self.start

    def all(self, key: str) -> list[str]:
        """Every header line with this name."""
        return [line for line in self.lines if header_key(line.partition(":")[0]) == key]

    def value(self, key: str) -> str:
        """Of the first line with this name, "" when there is none."""
        return next((line.partition(":")[2].strip() for line in self.all(key)), "")

    @property
    def call_id(self) -> str:
        return self.value("call-id")


class End:
    """One socket and what came to it."""

    def __init__(self, sock: socket.socket, stream: bool) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.stream = stream
        self.host, self.port = sock.getsockname()[:2]
        self.inbox: list[Heard] = []
        self.strange: list[bytes] = []
        self.count = 0
        """Messages that came, since the start."""
        self.closed = False
        self.handler: Callable[[Heard, Address], None] | None = None
        """Takes the requests that come, instead of the inbox."""
        self._buffer = b""

    @property
    def transport(self) -> str:
        return "TCP" if self.stream else "UDP"

    def send(self, data: bytes, to: Address) -> None:
        if self.stream:
            self.sock.setblocking(True)
            self.sock.sendall(data)
            self.sock.setblocking(False)
        else:
            self.sock.sendto(data, to)

    def take(self) -> None:
        """Read whatever is there."""
        while not self.closed:
            try:
                data, peer = self.sock.recvfrom(65535)
            except BlockingIOError:
                return
            except ConnectionError:
                data, peer = b"", None
            if not self.stream:
                self._keep(data, peer)
            elif data:
                self._buffer += data
                self._cut()
            else:
                self.closed = True

    def _cut(self) -> None:
        while b"\r\n\r\n" in self._buffer:
            head, blank, rest = self._buffer.partition(b"\r\n\r\n")
            found = _LENGTH.search(head)
            size = int(found[1]) if found else 0
            if len(rest) < size:
                return
            self._keep(head + blank + rest[:size], (self.host, self.port))
            self._buffer = rest[size:]

    def _keep(self, data: bytes, peer: Address) -> None:
        self.count += 1
        try:
            message = Heard(data)
        except ValueError:
            self.strange.append(data)
            return
        if message.method and self.handler is not None:
            self.handler(message, peer)
        else:
            self.inbox.append(message)

    def responses(self, call_id: str) -> list[Heard]:
        """The final responses of this call that came."""
        return [one for one in self.inbox if one.call_id == call_id and one.status >= 200]

    def taken_by(self, peer: Address) -> bool:
        """Whether all that was sent has been read by the process at the other end (the kernel's table tells)."""
        local, remote = _in_table(peer), _in_table((self.host, self.port))
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[1] == local and fields[2] == remote:
                return fields[4].endswith(":00000000")
        return True


def _in_table(address: Address) -> str:
    """As /proc/net/tcp writes it."""
    return f"{socket.inet_aton(address[0])[::-1].hex().upper()}:{address[1]:04X}"


class Ends:
    """Several of them, waited for together."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._all: list[End] = []
        self._gone = 0

    def udp(self, host: str, port: int = 0) -> End:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((host, port))
        return self._add(End(sock, False))

    def tcp(self, host: str, peer: Address) -> End:
        sock = socket.create_connection(peer, PATIENCE_S, (host, 0))
        return self._add(End(sock, True))

    def _add(self, end: End) -> End:
        self._all.append(end)
        self._selector.register(end.sock, selectors.EVENT_READ, end)
        return end

    def drop(self, end: End) -> None:
        self._selector.unregister(end.sock)
        self._all.remove(end)
        self._gone += end.count
        end.sock.close()

    def close(self) -> None:
        for end in tuple(self._all):
            self.drop(end)
        self._selector.close()

    @property
    def count(self) -> int:
        """Messages that came to any of them."""
        return self._gone + sum(end.count for end in self._all)

    @property
    def strange(self) -> list[bytes]:
        return [data for end in self._all for data in end.strange]

    def until(self, holds: Callable[[], bool], patience_s: float = PATIENCE_S) -> bool:
        """Take what comes until this holds; False when it never does."""
        deadline = time.monotonic() + patience_s
        while not holds():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            for key, _ in self._selector.select(min(left, 0.05)):
                end: End = key.data
                end.take()
                if end.closed:
                    # Readable for ever; it is waited for no more.
                    self._selector.modify(end.sock, selectors.EVENT_WRITE, end)
        return True
