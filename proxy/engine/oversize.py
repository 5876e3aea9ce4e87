"""RFC 3261 §18.1.1: a request larger than 1,300 bytes does not go by UDP, if its target takes TCP.

Only where the URI leaves the transport open. We differ for the rest: `transport=udp` in a URI is taken at its word, and
an account is reached over the flow it registered from, whatever the size, for behind a NAT there is no other way to it;
the kernel then splits the datagram. The ACK of a 2xx goes as the route says: no transaction of it could try twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.engine.core import Core
    from proxy.sip.flow import Flow

UDP_MAX: Final = 1300
"""Bytes of a request. §18.1.1: "larger than 1300 bytes and the path MTU is unknown"."""
REFUSED_FOR: Final = 600.0
"""Seconds. A dropped SYN costs each such call 4 s, so a peer without TCP is asked for it once in a while only."""
PEERS_MAX: Final = 4096


def tcp_instead(core: Core, flow: Flow, now: float) -> Flow | None:
    """The way by TCP to the peer of this UDP flow; None when we have no such socket, or the peer takes none."""
    until = core.tcp_refused.get((flow.host, flow.port))
    if until is not None:
        if until > now:
            return None
        del core.tcp_refused[flow.host, flow.port]
    return core.flow_to("TCP", flow.host, flow.port)


def refused(core: Core, flow: Flow, now: float) -> None:
    """No connection could be made there."""
    if len(core.tcp_refused) >= PEERS_MAX:
        core.tcp_refused.clear()
    core.tcp_refused[flow.host, flow.port] = now + REFUSED_FOR
