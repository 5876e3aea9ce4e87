"""Where an account can be reached: the text of a binding in the store, and what location lookup makes of it.

A record is lines: a version and one field a line, in the order of `to_record`. A field of a SIP message cannot hold LF
(the parser unfolds lines and refuses a bare LF), so nothing needs escaping, one `split` reads a record (2 µs in all,
JSON takes 6, and each call to an account pays it), and `redis-cli --raw` shows it as it is. Text is latin-1 as in sip/.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from proxy.sip.flow import Flow, FlowTable
from proxy.sip.grammar import QUOTED
from proxy.sip.uri import canonical_host, escape_user, parse_uri, unescape

FLOWS_MAX: Final = 65_536
"""Flows whose accounts are remembered (~0.4 kB each). What is forgotten is asked of the store again."""
ACCOUNTS_MAX: Final = 256
"""Accounts remembered of one flow: a PBX that registers more calls with digest."""

_VERSION: Final = "1"
_FIELDS: Final = 17

# One piece of `name-addr;param;param`, up to the next semicolon that separates.
_PIECE: Final = re.compile(rf'(?:[^;"<]|{QUOTED}|<[^>]*+>)*', re.DOTALL)


class Binding:
    """One contact of one address of record."""

    __slots__ = (
        "agent",
        "conn",
        "contact",
        "expires_at",
        "host",
        "instance",
        "local_host",
        "local_port",
        "path",
        "port",
        "q",
        "reg_id",
        "sip_instance",
        "transport",
        "updated_at",
        "uri",
    )

    def __init__(
        self,
        *,
        uri: str,
        contact: str,
        q: int,
        expires_at: float,
        updated_at: float,
        transport: str,
        host: str,
        port: int,
        conn: int,
        local_host: str,
        local_port: int,
        instance: str,
        sip_instance: str = "",
        reg_id: str = "",
        path: str = "",
        agent: str = "",
    ) -> None:
        self.uri = uri
        """The Request-URI of what goes there (RFC 3261 §16.6 step 2): as written, without what may not stand there."""
        self.contact = contact
        """The Contact value as registered, in <> and without `expires`: `;expires=…` may follow it."""
        self.q = q
        """Thousandths, 0 … 1000."""
        self.expires_at = expires_at
        """Unix seconds."""
        self.updated_at = updated_at
        """Unix seconds of the REGISTER."""
        self.transport = transport
        self.host = host
        """The peer's address the REGISTER came from: IPv6 without brackets."""
        self.port = port
        self.conn = conn
        """The connection's number within `instance`; 0 for UDP."""
        self.local_host = local_host
        self.local_port = local_port
        """The socket of ours (proxy.sip.flow.Local) it came to."""
        self.instance = instance
        """The callgate process that took the REGISTER."""
        self.sip_instance = sip_instance
        """+sip.instance (RFC 5626 §4.1), "" when absent."""
        self.reg_id = reg_id
        self.path = path
        """The Path values (RFC 3327) in one line, "" when it came straight from the client."""
        self.agent = agent
        """User-Agent, for people."""


def to_record(binding: Binding) -> str:
    """The text that is kept in the store. Its fields must hold no LF: they come from a parsed message or from us."""
    return "\n".join(
        [
            _VERSION,
            binding.uri,
            binding.contact,
            str(binding.q),
            f"{binding.expires_at:.3f}",
            f"{binding.updated_at:.3f}",
            binding.transport,
            binding.host,
            str(binding.port),
            str(binding.conn),
            binding.local_host,
            str(binding.local_port),
            binding.instance,
            binding.sip_instance,
            binding.reg_id,
            binding.path,
            binding.agent,
        ]
    )


def read_record(record: str) -> Binding | None:
    """The binding of a record; None for one that another version wrote."""
    fields = record.split("\n")
    if len(fields) != _FIELDS or fields[0] != _VERSION:
        return None
    (_, uri, contact, q, expires_at, updated_at, transport, host, port, conn, local_host, local_port) = (
        fields[:12]
    )
    try:
        return Binding(
            uri=uri,
            contact=contact,
            q=int(q),
            expires_at=float(expires_at),
            updated_at=float(updated_at),
            transport=transport,
            host=host,
            port=int(port),
            conn=int(conn),
            local_host=local_host,
            local_port=int(local_port),
            instance=fields[12],
            sip_instance=fields[13],
            reg_id=fields[14],
            path=fields[15],
            agent=fields[16],
        )
    except ValueError:
        return None


def read_records(records: Iterable[str]) -> list[Binding]:
    """Those that can be read, in their order."""
    return [binding for record in records if (binding := read_record(record)) is not None]


def registered_contact(value: str) -> str:
    """The Contact value (one that parses) as registered, its URI in <> and without `expires`.

    RFC 4475 §3.3.12: without <> what follows the URI are header parameters, and must not come back as the URI's.
    """
    end = _piece_end(value, 0)
    head = value[:end].rstrip(" \t")
    kept = [head if head.endswith(">") else f"<{head}>"]
    while end < len(value):
        start = end + 1
        end = _piece_end(value, start)
        piece = value[start:end].strip(" \t")
        if piece.partition("=")[0].rstrip(" \t").lower() != "expires":
            kept.append(piece)
    return ";".join(kept)


def _piece_end(value: str, start: int) -> int:
    match = _PIECE.match(value, start)
    return len(value) if match is None else match.end()


def contact_key(uri: str) -> str:
    """What tells contacts of one address of record apart: equal keys = the same binding.

    We differ: by RFC 3261 §19.1.4 a parameter that stands in one URI only is ignored (other than user, ttl, method,
    maddr, transport), so a equals a;x=1 and a;x=2 though these two are not equal: no key can say that. Here they are
    three. Phones write the same contact in each refresh, and those that write ;line=… or ;ob mean it.
    """
    parsed = parse_uri(uri)
    if parsed is None:
        return uri  # RFC 3261 §10.2.1: a contact may have any scheme
    # Case is ignored but in the user information; escaped and plain are the same; an omitted port or transport is
    # not the default one. Headers matter, their order does not.
    user = escape_user(unescape(parsed.user or ""))
    password = "" if parsed.password is None else ":" + parsed.password
    params = [
        unescape(name if value is None else f"{name}={value}").lower()
        for name, value in parsed.params.items()
    ]
    headers = "&".join(sorted(unescape(header) for header in parsed.headers.split("&")))
    port = "" if parsed.port is None else f":{parsed.port}"
    host = canonical_host(parsed.host)
    return f"{parsed.scheme}:{user}{password}@{host}{port};{';'.join(sorted(params))}?{headers}"


def devices(bindings: Sequence[Binding]) -> list[list[list[Binding]]]:
    """Groups of devices to be tried one after the other, those within a group at once (RFC 3261 §16.6: by q).

    A device (+sip.instance) that registered more than once, over several flows say, is called by one binding at a time
    (RFC 5626 §7): they stand in their order, the newest first. Contacts that are not sip URIs are left out.
    """
    if len(bindings) == 1 and bindings[0].uri[:4].lower() == "sip:":
        return [[[bindings[0]]]]
    found: dict[str, list[Binding]] = {}
    for number, binding in enumerate(bindings):
        if binding.uri[:4].lower() == "sip:":
            found.setdefault(binding.sip_instance or str(number), []).append(binding)
    groups: dict[int, list[list[Binding]]] = {}
    for device in found.values():
        # What was registered in the same moment keeps its order turned round, so that the last one counts.
        device.reverse()
        device.sort(key=lambda binding: -binding.updated_at)
        groups.setdefault(device[0].q, []).append(device)
    return [groups[q] for q in sorted(groups, reverse=True)]


def flow_of(binding: Binding, instance: str, tables: Sequence[FlowTable]) -> Flow | None:
    """The flow the contact registered from; None when it is gone (RFC 5626 §5.3), or no socket of ours has its kind.

    `instance` is this process's: a connection belongs to the process that holds it, so for any other it is gone. The
    port it came from is a client's own and takes no connection.
    """
    if binding.conn and binding.instance != instance:
        return None
    family = 6 if ":" in binding.host else 4
    found: FlowTable | None = None
    for table in tables:
        local = table.local
        if local.transport != binding.transport or local.family != family:
            continue
        if local.host == binding.local_host and local.port == binding.local_port:
            # The very socket: the only one a NAT in between lets through to the phone.
            found = table
            break
        if found is None:
            found = table
    if found is None:
        return None
    flow = found.get(binding.host, binding.port, binding.conn)
    return None if flow.gone else flow


def came_by(binding: Binding, flow: Flow, instance: str) -> bool:
    """Whether the contact registered from this flow. `instance` is this process's."""
    return (
        binding.port == flow.port
        and binding.host == flow.host
        and binding.transport == flow.transport
        and binding.conn == flow.conn
        # A UDP peer is the same seen from any process; a connection belongs to the one that holds it.
        and (flow.conn == 0 or binding.instance == instance)
    )


class Sources:
    """Which accounts registered from which flow, as far as this process knows (auth.invite: registered_source)."""

    __slots__ = ("_flows", "_newest")

    def __init__(self) -> None:
        self._flows: dict[Flow, dict[str, float]] = {}
        self._newest: dict[str, Flow] = {}
        """By aor: where it registered last."""

    def put(self, flow: Flow, aor: str, until: float, now: float) -> None:
        """`aor` is registered from this flow until `until` (engine seconds); `until` <= `now` takes it away."""
        # Taken out and put in again, so that the dict's order is that of the last touch.
        accounts = self._flows.pop(flow, None)
        if accounts is None:
            accounts = {}
        accounts.pop(aor, None)
        if until > now:
            if len(accounts) >= ACCOUNTS_MAX:
                oldest = next(iter(accounts))
                del accounts[oldest]
                self._forget(flow, oldest)
            accounts[aor] = until
            self._newest[aor] = flow
        else:
            self._forget(flow, aor)
        if accounts:
            if len(self._flows) >= FLOWS_MAX:
                self.drop(next(iter(self._flows)))
            self._flows[flow] = accounts

    def find(self, flow: Flow, now: float, claimed: str = "") -> str:
        """The aor registered from this flow, "" when there is none.

        Of several (a PBX registers its accounts from one socket) it is the one the request claims to come from, and
        "" when it claims none of them.
        """
        accounts = self._flows.get(flow)
        if accounts is None:
            return ""
        if accounts.get(claimed, 0.0) > now:
            return claimed
        alive = [aor for aor, until in accounts.items() if until > now]
        if not alive:
            del self._flows[flow]
        return alive[0] if len(alive) == 1 else ""

    def newest(self, aor: str) -> Flow | None:
        """Where this account registered last, as far as this process knows."""
        return self._newest.get(aor)

    def connections(self, now: float) -> set[Flow]:
        """The connections that an account is registered over."""
        flows = self._flows.items()
        return {flow for flow, accounts in flows if flow.reliable and max(accounts.values()) > now}

    def drop(self, flow: Flow) -> None:
        """The flow is gone (its connection failed)."""
        for aor in self._flows.pop(flow, ()):
            self._forget(flow, aor)

    def _forget(self, flow: Flow, aor: str) -> None:
        if self._newest.get(aor) is flow:
            del self._newest[aor]
