"""From `listen:` in the configuration to bound sockets and what peers are told of them (`Local`).

Binding comes before everything else of a start: it is what fails most often, and it gives the port when 0 was asked.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections.abc import Sequence

from config.listen import HostPort, Listen, Verify
from proxy.sip.flow import FlowTable, Local

BUFFER_BYTES = 8 << 20
"""Asked of the kernel for each direction; what it gives is bounded by net.core.[rw]mem_max. A burst of 2,000 INVITEs
is about 4 MB of it (each message counts with its kernel overhead), so 8 MB outlast a stall of the loop of 200 ms."""

BACKLOG = 1024
"""Connections the kernel holds for us to accept. Precedent: nginx 511, Kamailio 1,024 (tcp_listen_backlog)."""


class ListenError(Exception):
    """A listening address cannot be had. Its text names the address and says why, for the operator."""


class Bound:
    """A bound socket and the flows of its peers."""

    __slots__ = ("sock", "table", "verify")

    def __init__(self, sock: socket.socket, table: FlowTable, verify: Verify | None) -> None:
        self.sock = sock
        self.table = table
        self.verify: Verify | None = verify
        """Of the listener alone, instead of tls.verify."""

    @property
    def local(self) -> Local:
        return self.table.local


def bind(listens: Sequence[Listen], advertise: HostPort | None) -> list[Bound]:
    """Bind all of them, in order. Raises: ListenError, with nothing left open."""
    bound: list[Bound] = []
    try:
        bound.extend(_bind_one(listen, listen.advertise or advertise) for listen in listens)
    except ListenError:
        for one in bound:
            one.sock.close()
        raise
    return bound


def _bind_one(listen: Listen, advertise: HostPort | None) -> Bound:
    endpoint = listen.address
    shown = f"{endpoint.transport.lower()}://{HostPort(endpoint.host, endpoint.port)}"
    kind = socket.SOCK_DGRAM if endpoint.transport == "UDP" else socket.SOCK_STREAM
    try:
        family, _, _, _, address = socket.getaddrinfo(
            endpoint.host, endpoint.port, type=kind, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise ListenError(f"cannot listen on {shown}: {error.strerror}") from None
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            # So that 0.0.0.0 and [::] can be given next to each other, and a peer has one address, not two.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            # A restart must not wait for the old connections' TIME_WAIT. Not for UDP: there it would let two
            # processes bind one port and share its datagrams by chance.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        sock.bind(address)
        if kind == socket.SOCK_STREAM:
            sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise ListenError(f"cannot listen on {shown}: {_why(error)}") from None
    host, port = sock.getsockname()[:2]
    told = HostPort(_reachable(host, family), port)
    if advertise is not None:
        told = HostPort(advertise.host, advertise.port or port)
    name = f"[{told.host}]" if ":" in told.host else told.host
    local = Local(endpoint.transport, name, told.port, 6 if family == socket.AF_INET6 else 4)
    return Bound(sock, FlowTable(local), listen.verify)


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the port is taken by another program"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address"
    return os.strerror(error.errno) if error.errno else str(error)


def _reachable(host: str, family: int) -> str:
    """The address peers are told when we listen on every one: that of the interface with the default route.

    Nothing is sent: connecting a UDP socket only asks the routing table. On a machine without a route: loopback.
    """
    if not ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
        return host
    # Documentation addresses (RFC 5737, RFC 3849): routed by default and never answered.
    probe, loopback = ("192.0.2.1", "127.0.0.1") if family == socket.AF_INET else ("2001:db8::1", "::1")
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((probe, 9))
        except OSError:
            return loopback
        return str(sock.getsockname()[0])
