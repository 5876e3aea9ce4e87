"""A real NAT: phones in a network namespace, a router that masquerades them (nftables), callgate on the far side.

    phones 192.168.77.2 ── router 192.168.77.1 | 198.18.n.2 ── 198.18.n.1 callgate

The router forgets a UDP mapping that nothing passes for `udp_timeout` seconds; what comes to it then is refused.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.tools import cannot_run, require

T = TypeVar("T")

PHONES = "192.168.77.2"
_GATEWAY = "192.168.77.1"
_CLONE_NEWNET = 0x4000_0000
_RULES = """
add table ip cg
add chain ip cg post {{ type nat hook postrouting priority 100; }}
add rule ip cg post oifname {wan} masquerade
add chain ip cg through {{ type filter hook forward priority 0; policy drop; }}
add rule ip cg through iifname {lan} accept
add rule ip cg through ct state established,related accept
"""

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Nat:
    """One router and what is behind it."""

    name: str
    callgate: str
    """Callgate's address on the router's far side."""
    router: str
    """What the phones look like from there."""

    def inside(self, make: Callable[[], T]) -> T:
        """What `make` makes behind the NAT. Sockets stay in the namespace they were made in, whoever uses them."""
        made: list[T] = []
        failed: list[BaseException] = []

        def enter() -> None:
            try:
                _enter(f"{self.name}p")
                made.append(make())
            except BaseException as error:
                failed.append(error)

        # A namespace is a thread's; this one ends with it.
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]
        return made[0]


def _enter(namespace: str) -> None:
    with Path("/run/netns", namespace).open() as handle:
        if _libc.setns(handle.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter the namespace {namespace}")


@contextmanager
def real_nat(udp_timeout_s: int) -> Iterator[Nat]:
    """Skipped with a word where it cannot be made (not root, say), a failure under CI."""
    require("ip")
    require("nft")
    name = f"cg{os.getpid() % 100_000}"
    net = f"198.18.{os.getpid() % 250}"
    nat = Nat(name, f"{net}.1", f"{net}.2")
    phones, router = f"{name}p", f"{name}r"
    wan, outer, lan, inner = (f"{name}{end}" for end in ("w", "o", "l", "i"))
    try:
        try:
            _make(nat, (phones, router), (wan, outer, lan, inner), udp_timeout_s)
        except (OSError, subprocess.CalledProcessError) as error:
            output = getattr(error, "stderr", b"") or b""
            cannot_run(f"no network namespaces with NAT here: {error} {output.decode(errors='replace')}")
        yield nat
    finally:
        for namespace in (phones, router):
            _run("ip", "netns", "del", namespace, check=False)
        _run("ip", "link", "del", outer, check=False)


def _make(
    nat: Nat, namespaces: tuple[str, str], links: tuple[str, str, str, str], udp_timeout_s: int
) -> None:
    phones, router = namespaces
    wan, outer, lan, inner = links
    for namespace in namespaces:
        _run("ip", "netns", "add", namespace)
        _run("ip", "-n", namespace, "link", "set", "lo", "up")
    _run("ip", "link", "add", outer, "type", "veth", "peer", "name", wan, "netns", router)
    _run("ip", "-n", router, "link", "add", lan, "type", "veth", "peer", "name", inner, "netns", phones)
    _run("ip", "addr", "add", f"{nat.callgate}/24", "dev", outer)
    _run("ip", "link", "set", outer, "up")
    _run("ip", "-n", router, "addr", "add", f"{nat.router}/24", "dev", wan)
    _run("ip", "-n", router, "addr", "add", f"{_GATEWAY}/24", "dev", lan)
    _run("ip", "-n", phones, "addr", "add", f"{PHONES}/24", "dev", inner)
    for namespace, link in ((router, wan), (router, lan), (phones, inner)):
        _run("ip", "-n", namespace, "link", "set", link, "up")
    _run("ip", "-n", phones, "route", "add", "default", "via", _GATEWAY)
    _run("ip", "netns", "exec", router, "nft", "-f", "-", words=_RULES.format(wan=wan, lan=lan))
    for key, value in (
        ("net/ipv4/ip_forward", 1),
        ("net/netfilter/nf_conntrack_udp_timeout", udp_timeout_s),
        ("net/netfilter/nf_conntrack_udp_timeout_stream", udp_timeout_s),
    ):
        _run("ip", "netns", "exec", router, "sh", "-c", f"echo {value} >/proc/sys/{key}")


def _run(*argv: str, words: str = "", check: bool = True) -> None:
    program = require(argv[0])
    subprocess.run([program, *argv[1:]], input=words.encode(), capture_output=True, timeout=20, check=check)
