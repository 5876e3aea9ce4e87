"""Whom a source address stands for: of IPv4 itself, of IPv6 the /64 that one customer has whole (RFC 6177 §2).

Who has 2^64 addresses would else never be met twice at one of them.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network

_REMEMBERED = 8192
_NAT64 = IPv6Network("64:ff9b::/96")


@lru_cache(_REMEMBERED)
def site_of(host: str) -> str:
    """`host`, or its network as 2001:db8::/64. A link-local address is a neighbour's, and stands for itself.

    A site stands for itself, too, and so does what is no address: an operator may name anything.
    """
    if ":" not in host or "/" in host:
        return host
    try:
        address = IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    # RFC 6052 §2.1: before a server without IPv4 all the IPv4 Internet has one /64.
    if address.is_link_local or address.is_loopback or address in _NAT64:
        return host
    return str(IPv6Network((int(address) >> 64 << 64, 64)))
