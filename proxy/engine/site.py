"""Whom a source address stands for: of IPv4 itself, of IPv6 the /64 that one customer has whole (RFC 6177 §2).

Who has 2^64 addresses would else never be met twice at one of them.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network

_REMEMBERED = 8192


@lru_cache(_REMEMBERED)
def site_of(host: str) -> str:
    """`host`, or its network as 2001:db8::/64. A link-local address is a neighbour's, and stands for itself."""
    if ":" not in host:
        return host
    address = IPv6Address(host.partition("%")[0])
    if address.is_link_local or address.is_loopback:
        return host
    return str(IPv6Network((int(address) >> 64 << 64, 64)))
