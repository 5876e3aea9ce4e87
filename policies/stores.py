"""What `store.url` asks for: one link, or a Cluster of them."""

from __future__ import annotations

from config.store_url import servers_of
from policies.cluster import Cluster
from policies.counters import StoreCounters
from policies.link import Link
from policies.scripts import Scripts
from policies.store import LinkUser


def store_of(
    url: str, scripts: Scripts, counters: StoreCounters, user: LinkUser, *, deadline_s: float
) -> Link | Cluster:
    """Raises: ValueError for a URL that is none. Needs a running loop; `start` connects."""
    servers = servers_of(url)
    if servers is not None and servers.kind == "cluster":
        return Cluster(servers, scripts, counters, user, deadline_s=deadline_s)
    return Link(url, scripts, counters, user, deadline_s=deadline_s)
