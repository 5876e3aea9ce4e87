"""Where an account can be reached: the text of a binding in the store, and what location lookup makes of it.

A record is lines: a version and one field a line, in the order of `_FIELDS`. A field of a SIP message cannot hold LF
(the parser unfolds lines and refuses a bare LF), so nothing needs escaping, one `split` reads a record (0.5 µs, JSON
takes 4), and `redis-cli --raw` shows it as it is. Text is latin-1 as in sip/.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from proxy.sip.flow import Flow, FlowTable


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
        expires_at: int,
        updated_at: int,
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
        """The contact's URI as written: the Request-URI of what goes there (RFC 3261 §16.6 step 2)."""
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
        """RFC 3327; always "" as yet."""
        self.agent = agent
        """User-Agent, for people."""


def to_record(binding: Binding) -> str:
    """The text that is kept in the store."""
    raise NotImplementedError


def read_record(record: str) -> Binding | None:
    """The binding of a record; None for one that another version wrote."""
    raise NotImplementedError


def read_records(records: Iterable[str]) -> list[Binding]:
    """Those that can be read, in their order."""
    raise NotImplementedError


def contact_key(uri: str) -> str:
    """What tells contacts of one address of record apart: equal keys = the same binding (RFC 3261 §19.1.4)."""
    raise NotImplementedError


def targets(bindings: Sequence[Binding]) -> list[list[Binding]]:
    """Groups to be tried one after the other, the contacts within a group at once (RFC 3261 §16.6: by q).

    A device (+sip.instance) that is there more than once is called where it registered last (RFC 5626 §5.3). Contacts
    that are not sip URIs are left out.
    """
    raise NotImplementedError


def flow_of(binding: Binding, instance: str, tables: Sequence[FlowTable]) -> Flow | None:
    """The flow the contact registered from; None when no socket of ours has its transport and address family.

    `instance` is this process's: a connection's number means something only to the process that holds it, from any
    other the flow has conn 0 (any connection to that peer, or open one).
    """
    raise NotImplementedError


class Sources:
    """Which accounts registered from which flow, as far as this process knows (auth.invite: registered_source)."""

    __slots__ = ("_flows",)

    def __init__(self) -> None:
        self._flows: dict[Flow, dict[str, float]] = {}

    def put(self, flow: Flow, aor: str, until: float, now: float) -> None:
        """`aor` is registered from this flow until `until` (engine seconds); `until` <= `now` takes it away."""
        raise NotImplementedError

    def find(self, flow: Flow, now: float, claimed: str = "") -> str:
        """The aor registered from this flow, "" when there is none.

        Of several (a PBX registers its accounts from one socket) it is the one the request claims to come from, and
        "" when it claims none of them.
        """
        raise NotImplementedError

    def drop(self, flow: Flow) -> None:
        """The flow is gone (its connection failed)."""
        raise NotImplementedError
