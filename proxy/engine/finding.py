"""RFC 3263: from the host of a URI to the flows that lead there, in the order in which they are to be tried.

The look-up is the world's (effects.AskName, answered by events.NameFound); here its answers are remembered for as long
as their TTL says, requests for one name wait together, and each use draws the order anew, so that the weights of
RFC 2782 hold over many calls and not for one a TTL. Numeric hosts never come here: their one flow is known at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from proxy.engine.effects import AskName

if TYPE_CHECKING:
    from proxy.engine.core import Core
    from proxy.engine.events import NameFound
    from proxy.sip.flow import Flow

NAMES_MAX = 4096
"""Names remembered at once. Precedent: Kamailio's dns_cache_mem is 500 kB, some 4,000 entries."""
WAITING_MAX = 10_000
"""Requests that wait for a name at once; more fail as if the name had no address."""
QUESTIONS_MAX = 512
"""Names asked for at once: whoever makes us ask for more is refused, not the resolver flooded."""
WAYS_MAX = 16
"""Flows that one request tries at most."""
CHALLENGERS_MAX = 1024
"""Challenges that wait for their credentials; the oldest is forgotten, and its request goes to any server."""
STALE_MAX = 3600.0
"""Seconds an answer is used beyond its TTL while nobody can say anything newer (RFC 8767 §5: one to three days)."""
STALE_TTL = 30.0
"""Seconds until a resolver that failed is asked again (RFC 8767 §4: "It is recommended to use 30 seconds")."""


class Question(NamedTuple):
    """What a URI says about where it leads (RFC 3263 §4)."""

    host: str
    port: int
    """0: none given, so SRV decides (§4.2)."""
    transport: str
    """"UDP", "TCP" …; "": none given, so NAPTR decides (§4.1)."""
    secure: bool
    """A sips URI: nothing but TLS will do."""


class Server:
    """One SRV record (or a name's plain addresses) with what its name resolved to."""

    __slots__ = ("addresses", "port", "rank", "transport", "weight")

    def __init__(self, rank: int, weight: int, transport: str, port: int, addresses: Sequence[str]) -> None:
        self.rank = rank
        """Lower is first: the order of transports, then the SRV priority."""
        self.weight = weight
        self.transport = transport
        self.port = port
        self.addresses = tuple(addresses)
        """Numeric, IPv6 without brackets; tried in this order."""


Then = Callable[[Sequence["Flow"], float], None]
"""Takes the flows, best first, () when there is none, and `now`."""


class _Known:
    """What a name was found to mean."""

    __slots__ = ("good_until", "servers", "until")

    def __init__(self, servers: Sequence[Server], until: float, good_until: float) -> None:
        self.servers = servers
        self.until = until
        """When it is asked for again."""
        self.good_until = good_until
        """When its TTL was over; before `until` only for what is used though it is stale."""


class Finder:
    """The names the engine knows, and who waits for those it has asked for."""

    __slots__ = ("challengers", "known", "waiting", "waiting_count")

    def __init__(self) -> None:
        self.known: dict[Question, _Known] = {}
        self.waiting: dict[Question, list[Callable[[Sequence[Server], float], None]]] = {}
        self.waiting_count = 0
        self.challengers: dict[str, Flow] = {}
        """Call-ID → the server that asked for credentials: its nonce may mean nothing to the others of its name."""

    def challenged(self, call_id: str, flow: Flow) -> None:
        """A 401 or 407 went up. RFC 3261 §22.2: the same request with credentials follows, with the same Call-ID."""
        if len(self.challengers) >= CHALLENGERS_MAX:
            del self.challengers[next(iter(self.challengers))]
        self.challengers[call_id] = flow

    def remembered(self, core: Core, question: Question) -> list[Flow]:
        """Every flow behind the name as it was last found, in no order that counts."""
        known = self.known.get(question)
        return _all_flows(core, question.host, known.servers) if known is not None else []


def find(core: Core, question: Question, then: Then, now: float) -> None:
    """Call `then` with the flows to try: at once when the name is known, else when NameFound comes."""
    _find(core, question, partial(_draw, core, question.host, then), now)


def find_all(core: Core, question: Question, then: Then, now: float) -> None:
    """The same with every flow there is, also those known to be down."""
    _find(core, question, partial(_take_all, core, question.host, then), now)


def _draw(core: Core, name: str, then: Then, servers: Sequence[Server], now: float) -> None:
    ways = _all_flows(core, name, servers if len(servers) < 2 else drawn(servers, core.rng))
    then(core.reach.order(ways) if core.reach.outages else ways, now)


def _take_all(core: Core, name: str, then: Then, servers: Sequence[Server], now: float) -> None:
    then(_all_flows(core, name, servers), now)


def _find(
    core: Core, question: Question, then: Callable[[Sequence[Server], float], None], now: float
) -> None:
    finder = core.finder
    if question.host.endswith(".invalid"):
        # RFC 6761 §6.4: there is no such name, so nobody is asked. Browsers name themselves so (RFC 7118 §8.1).
        then((), now)
        return
    known = finder.known.get(question)
    if known is not None and known.until > now:
        then(known.servers, now)
        return
    line = finder.waiting.get(question)
    if finder.waiting_count >= WAITING_MAX or (line is None and len(finder.waiting) >= QUESTIONS_MAX):
        then((), now)
        return
    finder.waiting_count += 1
    if line is None:
        finder.waiting[question] = line = []
        core.out.append(AskName(question))
    line.append(then)


def found(core: Core, event: NameFound, now: float) -> None:
    """events.NameFound."""
    finder = core.finder
    question = event.question
    old = finder.known.pop(question, None)
    if not event.failed:
        known = _Known(event.servers, now + event.ttl, now + event.ttl)
    elif old is not None and old.servers and now - old.good_until < STALE_MAX:
        # RFC 8767 §5: an old answer is better than none while the name servers are away.
        known = _Known(old.servers, now + STALE_TTL, old.good_until)
    else:
        known = _Known((), now + event.ttl, now + event.ttl)
    if len(finder.known) >= NAMES_MAX:
        del finder.known[next(iter(finder.known))]
    finder.known[question] = known
    for then in finder.waiting.pop(question, ()):
        finder.waiting_count -= 1
        # Each draws for itself.
        then(known.servers, now)


def _all_flows(core: Core, name: str, servers: Sequence[Server]) -> list[Flow]:
    """Flows to these servers in their order, leaving out what no socket of ours can reach.

    RFC 3263 §4.1, RFC 5922 §4: over TLS they have to prove the name that was looked up, not the one DNS led to.
    """
    ways: list[Flow] = []
    for server in servers:
        for address in server.addresses:
            flow = core.flow_to(server.transport, address, server.port, name)
            if flow is not None and flow not in ways:
                ways.append(flow)
                if len(ways) == WAYS_MAX:
                    return ways
    return ways


def drawn(servers: Sequence[Server], rng: random.Random) -> list[Server]:
    """RFC 2782, "Usage rules": by priority, and within one by chance, in proportion to the weights."""
    order: list[Server] = []
    ranks = sorted({server.rank for server in servers})
    for rank in ranks:
        # "arrange all SRV RRs … in any order, except that all those with weight 0 are placed at the beginning".
        left = sorted((one for one in servers if one.rank == rank), key=lambda one: one.weight)
        while left:
            order.append(left.pop(pick([one.weight for one in left], rng)))
    return order


def pick(weights: Sequence[int], rng: random.Random) -> int:
    """The index that chance takes: the first whose running sum reaches a number from 0 to the sum of all."""
    if len(weights) == 1:
        return 0
    # RFC 2782 draws from 0 in any case, so that weight 0 has its "very small chance". We differ where none is 0: it
    # would only favour the first.
    number = rng.randint(0 if 0 in weights else 1, sum(weights))
    for index, weight in enumerate(weights):
        number -= weight
        if number <= 0:
            return index
    return len(weights) - 1
