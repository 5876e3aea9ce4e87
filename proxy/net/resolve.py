"""RFC 3263: NAPTR, SRV, A and AAAA, from the name in a SIP URI to the servers behind it.

dnspython asks and caches, each record for its own TTL and each "there is none" for what its SOA says (RFC 2308); here
is what SIP makes of it. /etc/hosts goes before DNS for addresses, as everywhere else on the machine. Answers are drawn
up whole and in no order: who uses them draws by weight each time (proxy/engine/finding.py), which also remembers them
and asks once for all that wait.

We differ: RFC 7984 would have IPv6 tried first where both are there; here IPv4 is. Most SIP servers with an AAAA record
are not really tested over it, and each dead first address costs a caller four seconds.
Not here: DNSSEC, which is the name server's to check, and TLSA.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.message
import dns.nameserver
import dns.rdatatype
import dns.resolver
import structlog

from config.reaching import Resolver as Settings
from proxy.engine.events import NameFound
from proxy.engine.finding import Question, Server

RECORDS_MAX = 8192
"""Answers of name servers remembered; an address of a server is one."""
TTL_MIN = 1.0
"""Seconds. Shorter ones (0 is allowed) would have every request of a burst ask again."""
TTL_MAX = 3600.0
"""Seconds. Longer ones would keep a server that has moved for a day; asking once an hour costs nothing."""
NEGATIVE_TTL = 30.0
"""Seconds a name is taken for absent where no SOA says how long."""
NEGATIVE_TTL_MAX = 300.0
"""RFC 2308 §5 would allow hours; a name that has just been made should work soon."""
FAILED_TTL = 5.0
"""Seconds until a question that nobody answered is asked again (RFC 2308 §7: at most five minutes)."""
HOSTS_TTL = 5.0
"""Seconds between two looks whether /etc/hosts has changed."""
SERVERS_MAX = 16
"""SRV records, and addresses of a name, that are used at most."""

# RFC 3263 §4.1 and the IANA registry "SIP Table of Mappings from Service Field Values to Transport Protocols".
_SERVICES = {
    "SIP+D2U": ("UDP", False),
    "SIP+D2T": ("TCP", False),
    "SIPS+D2T": ("TLS", True),
    "SIP+D2W": ("WS", False),
    "SIPS+D2W": ("WSS", True),
}
_PREFIXES = {"UDP": "_sip._udp.", "TCP": "_sip._tcp.", "TLS": "_sips._tcp."}
"""RFC 3263 §4.2. WebSocket servers have none (RFC 7118 §5: the URI is given as it is)."""
_DEFAULT_PORTS = {"UDP": 5060, "TCP": 5060, "TLS": 5061, "WS": 80, "WSS": 443}

_NO_ANSWER = (dns.resolver.NoNameservers, dns.exception.Timeout, dns.exception.DNSException, OSError)


class _Hosts:
    """/etc/hosts."""

    __slots__ = ("_looked_at", "_names", "_path", "_stamp")

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names: dict[str, list[str]] = {}
        self._stamp: tuple[int, int] | None = None
        self._looked_at = -HOSTS_TTL

    def addresses(self, name: str) -> list[str]:
        """Of this name, in the order of the file."""
        now = time.monotonic()
        if now - self._looked_at >= HOSTS_TTL:
            self._looked_at = now
            self._read()
        found = self._names.get(name, [])
        # RFC 6761 §6.3: localhost is loopback, whatever anybody says.
        return found or (["127.0.0.1", "::1"] if name == "localhost" or name.endswith(".localhost") else [])

    def _read(self) -> None:
        try:
            stat = self._path.stat()
            if self._stamp == (stat.st_mtime_ns, stat.st_size):
                return
            text = self._path.read_text("utf-8", "replace")
        except OSError:
            self._names, self._stamp = {}, None
            return
        self._stamp = (stat.st_mtime_ns, stat.st_size)
        names: dict[str, list[str]] = {}
        for line in text.splitlines():
            address, *hosts = line.partition("#")[0].split() or [""]
            if _is_address(address):
                for host in hosts:
                    names.setdefault(host.lower().rstrip("."), []).append(address.partition("%")[0])
        self._names = names


class _Answer:
    """What was found, and until when it holds (monotonic seconds; only the earliest of all counts)."""

    __slots__ = ("failed", "ttl")

    def __init__(self) -> None:
        self.ttl = TTL_MAX
        self.failed = False
        """A question went unanswered."""

    def holds(self, ttl: float) -> None:
        self.ttl = min(self.ttl, max(ttl, TTL_MIN))


class Resolver:
    """Finds the servers behind names. One for each process."""

    def __init__(self, settings: Settings, reachable: Collection[tuple[str, int]]) -> None:
        """`reachable`: (transport, IP version) of each socket of ours; what leads elsewhere is not looked for."""
        self._transports = {transport for transport, _ in reachable}
        self._families = set(reachable)
        self._hosts = _Hosts(settings.hosts)
        self._log = structlog.get_logger("callgate.resolver")
        try:
            self._dns = dns.asyncresolver.Resolver(configure=not settings.servers)
        except dns.resolver.NoResolverConfiguration:
            # A machine without name servers: /etc/hosts is all there is.
            self._dns = dns.asyncresolver.Resolver(configure=False)
        if settings.servers:
            self._dns.nameservers = [
                dns.nameserver.Do53Nameserver(server.host, server.port) for server in settings.servers
            ]
        self._dns.timeout = settings.timeout
        self._dns.lifetime = 2 * settings.timeout
        self._dns.cache = dns.resolver.LRUCache(RECORDS_MAX)

    async def find(self, question: Question) -> NameFound:
        """Never raises: a failure is an answer, too."""
        answer = _Answer()
        try:
            servers = [server for server in await self._servers(question, answer) if server.addresses]
        except UnicodeError:
            # A name that is none: a label too long, an IDN that cannot be encoded.
            servers = []
        if not servers:
            answer.holds(NEGATIVE_TTL)
            answer.ttl = min(answer.ttl, FAILED_TTL if answer.failed else NEGATIVE_TTL_MAX)
            self._log.warning("a name leads nowhere", name=question.host, answered=not answer.failed)
        return NameFound(question, servers, answer.ttl, answer.failed and not servers)

    async def _servers(self, question: Question, answer: _Answer) -> list[Server]:
        transport = question.transport
        if question.port:
            # §4.1: "if no transport protocol is specified, and the TARGET is not numeric, but an explicit port is
            # provided": UDP, for sips TLS. §4.2: A and AAAA of the name.
            transport = transport or ("TLS" if question.secure else "UDP")
            return [await self._plain(question, transport, question.port, 0, answer)]
        if transport:
            found = await self._by_srv(_PREFIXES.get(transport, ""), question.host, transport, 0, answer)
            if found is not None:
                return found
        else:
            found = await self._by_naptr(question, answer)
            if found is not None:
                return found
            transport = "TLS" if question.secure else "UDP"
        # §4.2: "If no SRV records were found, the client performs an A or AAAA record lookup of the domain name."
        return [await self._plain(question, transport, _DEFAULT_PORTS.get(transport, 5060), 0, answer)]

    async def _plain(
        self, question: Question, transport: str, port: int, rank: int, answer: _Answer
    ) -> Server:
        addresses = await self._addresses(question.host, transport, answer)
        return Server(rank, 0, transport, port, addresses)

    async def _by_naptr(self, question: Question, answer: _Answer) -> list[Server] | None:
        """§4.1, no transport given: NAPTR, else SRV of each transport we have. None: there are no records of either.

        All are asked at once: names that have NAPTR cost two questions too many, the others one wait less.
        """
        host = question.host
        usable = [
            transport
            for transport in (("TLS",) if question.secure else ("UDP", "TCP", "TLS"))
            if transport in self._transports
        ]
        aside = _Answer()
        naptr, *srvs = await asyncio.gather(
            self._ask(host, dns.rdatatype.NAPTR, answer),
            *(self._ask(_PREFIXES[transport] + host, dns.rdatatype.SRV, aside) for transport in usable),
        )
        services = []
        for record in naptr:
            service = _SERVICES.get(record.service.decode("ascii", "replace").upper())
            # "a client resolving a SIPS URI MUST discard any services that do not contain "SIPS"", and whatever
            # transport it has not got. Flag "s": the replacement is the name of SRV records.
            if service is None or record.flags.upper() != b"S" or service[0] not in self._transports:
                continue
            if question.secure and not service[1]:
                continue
            services.append((record.order, record.preference, service[0], record.replacement.to_text(True)))
        if services:
            found: list[Server] = []
            for rank, (_, _, transport, name) in enumerate(sorted(services)[:SERVERS_MAX]):
                found += await self._by_srv("", name, transport, rank, answer) or []
            return found
        answer.holds(aside.ttl)
        answer.failed = answer.failed or aside.failed
        # §4.1: "If no NAPTR records are found, the client constructs SRV queries for those transport protocols it
        # supports".
        found, any_there = [], False
        for rank, (transport, records) in enumerate(zip(usable, srvs, strict=True)):
            any_there = any_there or bool(records)
            found += await self._srv_servers(records, transport, rank, answer)
        return found if any_there else None

    async def _by_srv(
        self, prefix: str, host: str, transport: str, rank: int, answer: _Answer
    ) -> list[Server] | None:
        """None: the name has no SRV records, or its transport knows none."""
        if not prefix and transport in ("WS", "WSS") and not host.startswith("_"):
            return None
        records = await self._ask(prefix + host, dns.rdatatype.SRV, answer)
        return await self._srv_servers(records, transport, rank, answer) if records else None

    async def _srv_servers(
        self, records: Sequence[Any], transport: str, rank: int, answer: _Answer
    ) -> list[Server]:
        # RFC 2782: a Target of "." means that the service is decidedly not available at this domain.
        usable = sorted(
            (record for record in records if record.target.to_text() != "."),
            key=lambda record: record.priority,
        )[:SERVERS_MAX]
        names = {record.target.to_text(True).lower() for record in usable}
        found = dict(
            zip(
                names,
                await asyncio.gather(*(self._addresses(name, transport, answer) for name in names)),
                strict=True,
            )
        )
        return [
            Server(
                (rank << 16) + record.priority,
                record.weight,
                transport,
                record.port,
                found[record.target.to_text(True).lower()],
            )
            for record in usable
        ]

    async def _addresses(self, host: str, transport: str, answer: _Answer) -> list[str]:
        """Numeric addresses that a socket of ours can reach, IPv4 first."""
        host = host.lower().rstrip(".")
        wanted = [version for version in (4, 6) if (transport, version) in self._families]
        if _is_address(host):
            return [host]
        local = self._hosts.addresses(host)
        if local:
            answer.holds(HOSTS_TTL)
            return sorted(
                (one for one in local if (6 if ":" in one else 4) in wanted), key=lambda one: ":" in one
            )
        kinds = [dns.rdatatype.A if version == 4 else dns.rdatatype.AAAA for version in wanted]
        found = await asyncio.gather(*(self._ask(host, kind, answer) for kind in kinds))
        return [record.address for records in found for record in records][:SERVERS_MAX]

    async def _ask(self, name: str, kind: dns.rdatatype.RdataType, answer: _Answer) -> list[Any]:
        """The records, () when there are none or nobody says."""
        try:
            # A name of one label may be one of the machine's search domains (resolv.conf), as getaddrinfo had it.
            found = await self._dns.resolve(
                name, kind, raise_on_no_answer=False, search="." not in name.rstrip(".")
            )
        except dns.resolver.NXDOMAIN as none:
            answer.holds(min(_negative_ttl(none), NEGATIVE_TTL_MAX))
            return []
        except UnicodeError:
            raise
        except _NO_ANSWER:
            answer.failed = True
            answer.holds(FAILED_TTL)
            return []
        left = found.expiration - time.time()
        if found.rrset is None:
            answer.holds(min(left, NEGATIVE_TTL_MAX))
            return []
        answer.holds(min(left, TTL_MAX))
        return list(found.rrset)


def _negative_ttl(none: dns.resolver.NXDOMAIN) -> float:
    """RFC 2308 §5: what the SOA in the answer says."""
    try:
        ttls = [response.resolve_chaining().minimum_ttl for response in _responses(none)]
    except dns.exception.DNSException:
        ttls = []
    return float(min(ttls, default=NEGATIVE_TTL))


def _responses(none: dns.resolver.NXDOMAIN) -> list[dns.message.QueryMessage]:
    found: dict[Any, dns.message.QueryMessage] = none.kwargs.get("responses") or {}
    return list(found.values())


def _is_address(text: str) -> bool:
    try:
        ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True
