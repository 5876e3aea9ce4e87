"""A bad line: a datagram relay that loses every message the first time it passes.

What is lost is decided by what the message is and not by chance, so a test that passes once passes always.
"""

from __future__ import annotations

import selectors
import socket
import threading
from types import TracebackType

from tests.e2e.net import Address


class BadLine:
    """Between `near` (where it listens) and `far` (where it passes on to, from an address of its own)."""

    def __init__(self, near: Address, far: Address, out: str) -> None:
        """`out`: the host it speaks to `far` from."""
        self.lost = 0
        self._far = far
        self._seen: set[tuple[bool, bytes]] = set()
        self._near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._near.bind(near)
        self._away = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._away.bind((out, 0))
        self._caller: Address | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> BadLine:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._near.close()
        self._away.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._near, selectors.EVENT_READ)
            selector.register(self._away, selectors.EVENT_READ)
            while not self._over.is_set():
                for key, _ in selector.select(0.05):
                    self._pass_on(key.fileobj is self._near)

    def _pass_on(self, outwards: bool) -> None:
        data, peer = (self._near if outwards else self._away).recvfrom(65535)
        if outwards:
            self._caller = peer
        if self._loses(outwards, data):
            self.lost += 1
        elif outwards:
            self._away.sendto(data, self._far)
        elif self._caller is not None:
            self._near.sendto(data, self._caller)

    def _loses(self, outwards: bool, data: bytes) -> bool:
        """A message is its start line and CSeq: an ACK sent again may have another branch and is the same to us."""
        head = data.partition(b"\r\n\r\n")[0].split(b"\r\n")
        cseq = next((line for line in head if line.lower().startswith(b"cseq:")), b"")
        message = (outwards, head[0] + cseq)
        if message in self._seen:
            return False
        self._seen.add(message)
        return True
