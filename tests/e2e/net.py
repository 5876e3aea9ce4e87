"""Addresses of a test run: a piece of 127.0.0.0/8 of its own, so that every part of a call has its own address.

Two runs on one machine do not meet, and a provider is known by its address as in the field.
"""

from __future__ import annotations

import itertools
import os
import socket
import time
from pathlib import Path
from typing import Literal

from load.processes import POLL_S, Child, wait_until

Transport = Literal["UDP", "TCP"]
TRANSPORTS: tuple[Transport, ...] = ("UDP", "TCP")
Address = tuple[str, int]

PATIENCE_S = 15.0
"""How long anything is waited for that comes at once on a quiet machine."""

_TABLES = {
    "UDP": (Path("/proc/net/udp"), Path("/proc/net/udp6"), "07"),
    "TCP": (Path("/proc/net/tcp"), Path("/proc/net/tcp6"), "0A"),
}
"""Where the kernel lists sockets, and the state of one that takes what comes (unconnected, listening)."""


class Net:
    """This run's addresses. One SIP port for all hosts: they differ by address."""

    CALLGATE = 1
    SOFTPHONE = 10
    TRUSTED = 11
    """A trunk with identity `from`: calls as whom it names in From."""
    ASSERTING = 12
    """A trunk with identity `pai`."""
    OUTSIDE = 13
    """A trunk with identity `none`."""
    SOFTPHONES = 30
    """The first of those with an address of their own."""
    PROVIDERS = 100
    """The first of them."""

    def __init__(self) -> None:
        pid = os.getpid()
        self._prefix = f"127.{16 + pid % 200}.{pid // 200 % 256}"
        self.sip_port = free_port("")

    def host(self, number: int) -> str:
        return f"{self._prefix}.{number}"


def free_port(host: str) -> int:
    """A port that nobody has on `host`, neither for UDP nor for TCP. "": on any address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        with (
            socket.socket(family, socket.SOCK_DGRAM) as udp,
            socket.socket(family, socket.SOCK_STREAM) as tcp,
        ):
            udp.bind((host, 0))
            port = int(udp.getsockname()[1])
            try:
                tcp.bind((host, port))
            except OSError:
                continue
            return port


_media_ports = itertools.count(20_000, 4)
"""Below the ports that the kernel hands out, so nobody else is given one between our look and SIPp's bind."""


def media_port(host: str) -> int:
    """For SIPp, which binds it and the second next one, whether there is audio or not."""
    for port in _media_ports:
        if _free(host, port) and _free(host, port + 2):
            return port
    raise AssertionError("ports have run out")


def _free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def listening(transport: Transport, host: str, port: int) -> bool:
    """Whether somebody has this socket. The kernel's table is read: trying to bind would be in the way of who comes."""
    four, six, state = _TABLES[transport]
    if ":" in host:
        packed = socket.inet_pton(socket.AF_INET6, host)
        words = (packed[i : i + 4][::-1] for i in range(0, 16, 4))
        wanted = b"".join(words).hex().upper()
        table = six
    else:
        wanted = socket.inet_aton(host)[::-1].hex().upper()
        table = four
    local = f"{wanted}:{port:04X}"
    rows = (line.split() for line in table.read_text().splitlines()[1:])
    return any(row[1] == local and row[3] == state for row in rows)


def await_listening(child: Child, transport: Transport, host: str, port: int) -> None:
    wait_until("its socket is bound", lambda: listening(transport, host, port), child, PATIENCE_S)


def pause(seconds: float) -> None:
    """Time that the behaviour is made of: a call is held, a lease lapses. Never to wait for an event."""
    time.sleep(seconds)


__all__ = ["POLL_S", "Net", "Transport", "await_listening", "free_port", "listening", "pause"]
