"""Whom a source address stands for: of IPv4 itself, of IPv6 the /64 that one customer has whole (RFC 6177 §2).

Who has 2^64 addresses would else never be met twice at one of them. Asked for each datagram while a site is shut out,
and the next one comes from an address never seen before: nothing is remembered, and ipaddress takes ten times as long.
"""

from __future__ import annotations

_NAT64 = ["64", "ff9b", "0", "0", "0", "0"]


def site_of(host: str) -> str:
    """`host`, an address as the kernel writes it (RFC 5952), or its network as 2001:db8::/64.

    A link-local address is a neighbour's, and stands for itself. So does a site, and what is no address: an operator
    may name anything.
    """
    if ":" not in host or "/" in host:
        return host
    head, gap, tail = host.partition("::")
    groups = head.split(":") if head else []
    if gap:
        last = tail.split(":") if tail else []
        # An IPv4 address at the end stands for two.
        groups += ["0"] * (8 - len(groups) - len(last) - ("." in tail)) + last
    # RFC 4291 §2.5.6: link-local is fe80::/64. RFC 6052 §2.1: to a server without IPv4 all that Internet has one /64.
    if len(groups) < 7 or host == "::1" or host.startswith("fe80:") or groups[:6] == _NAT64:
        return host
    network = groups[:4]
    while network and network[-1] == "0":
        network.pop()
    return f"{':'.join(network)}::/64"
