"""Schema of callgate.yaml. The keys are explained for operators in config/callgate.yaml; here stand types and bounds.

Durations are float seconds, sizes bytes. Once loaded, a path holds from
the working directory. What the two other files hold is in
config.tariffs.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from config.guard import Guard
from config.listen import Advertise, HostPort, Listen, Tls, WebSocket
from config.model import Model, listed, mapped
from config.patterns import compile_route
from config.reaching import Health, Resolver, Target
from config.store_url import check_store_url
from config.tariffs import Algorithm
from config.units import Domain, FilePath, Name, Network, Text, YesNo, host_port_of, seconds, whole

StorePolicy = Literal["refuse", "admit"]
LogLevel = Literal["debug", "info", "warning", "error"]

ReasonName = Literal[
    "total_duration",
    "success_calls",
    "fail_calls",
    "call_duration",
    "lines",
    "sip_accounts",
    "no_plan",
    "worker",
    "group_disabled",
    "account_disabled",
    "unknown_caller",
    "contacts",
    "not_registered",
    "no_route",
    "trunk_down",
    "store_unavailable",
    "overload",
    "draining",
    "hangup",
    "session_expired",
    "dialog_lost",
    "replaced",
]
"""The values of policies.reasons.Reason (a layer above this one; a test holds the two to each other)."""


def _host_port_of(raw: object) -> HostPort:
    return raw if isinstance(raw, HostPort) else HostPort(*host_port_of(raw if isinstance(raw, str) else ""))


class Spool(Model):
    """Outcomes wait here while the store is away."""

    path: FilePath = Path("var/spool")
    size_max: Annotated[int, whole(65536, 1 << 40)] = 64 * 1024 * 1024
    """Bytes on disk; a full spool is an alarm."""


class Store(Model):
    """Redis, or the private server of `embedded`."""

    url: Annotated[Text, AfterValidator(check_store_url)] = Field("embedded", repr=False)
    data: FilePath = Path("var/store")
    """Folder of the embedded server's data."""
    on_store_failure: StorePolicy = "refuse"
    deadline: Annotated[float, seconds(0.005, 10)] = 0.2
    lease: Annotated[float, seconds(2, 600)] = 30.0
    spool: Spool = Spool()


class Metrics(Model):
    """The HTTP side: /metrics, /healthz, /readyz."""

    listen: Annotated[HostPort, BeforeValidator(_host_port_of)] = HostPort("127.0.0.1", 9105)


class Admin(Model):
    """Where `callgate calls`, `hangup` … reach the running proxy."""

    socket: FilePath = Path("var/callgate.sock")


class Credentials(Model):
    """What a neighbour that challenges us is answered with."""

    username: Text
    password: Text = Field(repr=False)


_HEADER = re.compile(r"[A-Za-z0-9!%*_+`'~.-]{1,64}")


def _header_of(raw: object) -> str:
    if isinstance(raw, str) and _HEADER.fullmatch(raw):
        return raw
    raise ValueError(f"not the name of a header: {raw!r}; write it as X-Trunk")


class MatchHeader(Model):
    """What tells two trunks at one address apart: a header of the requests that come from there."""

    name: Annotated[str, BeforeValidator(_header_of)]
    value: Text
    """The whole value of it, case and all."""


class Trunk(Model):
    """A neighbour known by address: a provider or a PBX."""

    targets: Annotated[tuple[Target, ...], listed] = ()
    answer_timeout: Annotated[float, seconds(0.1, 32)] = 4.0
    """A target that has not said a word by then is passed over, where there is another."""
    block: Annotated[float, seconds(0, 86400)] = 30.0
    """A target that failed a call is tried last for this long; 0 = not, nor is Retry-After heeded."""
    health: Health | None = None
    networks: Annotated[tuple[Network, ...], listed] = Field((), alias="from")
    match_header: MatchHeader | None = None
    """Only requests from there that carry this are the trunk's."""
    identity: Literal["none", "from", "pai"] = "none"
    media: Literal["direct", "relay"] = "direct"
    """relay: the media of its calls go through rtpengine."""
    trusted: YesNo = False
    """In the trust domain of RFC 3325: P-Asserted-Identity goes there and is believed from there."""
    worker: Name | None = None
    credentials: Credentials | None = None
    """For requests of our own, as the BYE of a cut; challenges to a caller's requests are the caller's to answer."""

    @model_validator(mode="after")
    def _has_a_use(self) -> Self:
        if not self.targets and not self.networks:
            raise ValueError("a trunk needs targets (to be called), from (to call), or both")
        if self.match_header is not None and not self.networks:
            raise ValueError("match_header tells apart who calls from one address: it needs `from`")
        return self


def _route_pattern(text: str) -> str:
    compile_route(text)
    return text


class Route(Model):
    """Calls whose user part matches go to a trunk."""

    match: Annotated[Text, AfterValidator(_route_pattern)]
    """Regular expression, searched in the user part (config.patterns)."""
    to: Name


class Worker(Model):
    """A server that turns SIP voice into Telegram voice."""

    kind: Literal["official", "public", "private"]
    free: YesNo = False
    owner: Name | None = None
    granted_to: Annotated[tuple[Text, ...], listed] = ()
    """Subscribers, and groups as `group <owner>`."""

    @model_validator(mode="after")
    def _owner_fits_kind(self) -> Self:
        if self.kind == "official" and self.owner is not None:
            raise ValueError("an official Worker has no owner")
        if self.kind != "official" and self.owner is None:
            raise ValueError(f"a {self.kind} Worker needs an owner")
        if self.kind != "official" and self.free:
            raise ValueError("only an official Worker can be free")
        return self


class Auth(Model):
    """How callers and registrations prove who they are."""

    invite: Literal["digest", "registered_source"] = "digest"
    realm: Text | None = None
    """None = the account's domain."""
    algorithms: Annotated[tuple[Algorithm, ...], listed] = ("SHA-256", "MD5")
    """Challenges, most wanted first (RFC 8760 §2.3)."""
    nonce_life: Annotated[float, seconds(5, 86400)] = 300.0
    nonce_secret: Text | None = Field(None, repr=False)
    """The same on all instances of one service; None = a new one at each start."""

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if not self.algorithms or len(set(self.algorithms)) != len(self.algorithms):
            raise ValueError("algorithms must name SHA-256, MD5 or both, each once")
        return self


def _ping_of(raw: object) -> object:
    return 0.0 if raw is False or (isinstance(raw, str) and raw.lower() in ("off", "no", "false")) else raw


class Nat(Model):
    """Clients behind NAT."""

    ping: Annotated[float, seconds(0, 3600), BeforeValidator(_ping_of)] = 30.0
    """Seconds between OPTIONS to phones that registered over UDP from behind NAT; 0 = off."""
    flow_timer: Annotated[float, seconds(10, 3600)] = 120.0
    """Seconds: what clients of RFC 5626 are told for their pings over streams."""


class Registrar(Model):
    """How long registrations last."""

    expires_min: Annotated[float, seconds(1, 86400)] = 60.0
    expires_default: Annotated[float, seconds(1, 604800)] = 3600.0
    expires_max: Annotated[float, seconds(1, 604800)] = 3600.0

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.expires_min <= self.expires_default <= self.expires_max:
            raise ValueError("must be expires_min <= expires_default <= expires_max")
        return self


class Timers(Model):
    """RFC 3261 §17 and §16.6; seconds."""

    t1: Annotated[float, seconds(0.05, 10)] = 0.5
    t2: Annotated[float, seconds(0.1, 60)] = 4.0
    t4: Annotated[float, seconds(0.1, 60)] = 5.0
    timer_c: Annotated[float, seconds(180.001, 3600)] = 181.0
    """RFC 3261 §16.6 step 11: larger than 3 minutes."""
    drain_timeout: Annotated[float, seconds(0, 86400)] = 300.0


class SessionTimers(Model):
    """RFC 4028; seconds."""

    enabled: YesNo = False
    session_expires: Annotated[float, seconds(90, 86400)] = 1800.0
    """The longest a session may go without a refresh."""
    min_se: Annotated[float, seconds(90, 86400)] = 90.0
    """RFC 4028 §8.1: at least 90 s. Who asks for less is answered 422."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min_se > self.session_expires:
            raise ValueError("must be min_se <= session_expires")
        return self


class DialogPing(Model):
    """OPTIONS of ours within dialogs that nobody refreshes."""

    enabled: YesNo = False
    every: Annotated[float, seconds(1, 86400)] = 60.0
    lost_after: Annotated[int, whole(1, 100)] = 2
    """Pings in a row without an answer; 481 is enough at once."""


class Rtpengine(Model):
    """A relay for the media of those that ask for it, spoken to by its ng protocol."""

    address: Annotated[HostPort, BeforeValidator(_host_port_of)]
    timeout: Annotated[float, seconds(0.02, 5)] = 0.3
    """What it has not answered then goes on without it."""


class Bounds(Model):
    """A bound on everything; what is beyond it is refused or dropped, and counted. Key `limits`."""

    message_size_max: Annotated[int, whole(1500, 1 << 24)] = 65535
    headers_max: Annotated[int, whole(16, 4096)] = 128
    calls_max: Annotated[int, whole(1, 10_000_000)] = 100_000
    transactions_max: Annotated[int, whole(1, 10_000_000)] = 200_000
    pending_admissions_max: Annotated[int, whole(1, 1_000_000)] = 5_000
    connections_max: Annotated[int, whole(1, 1_000_000)] = 10_000
    connection_idle: Annotated[float, seconds(10, 86400)] = 900.0
    handshakes_max: Annotated[int, whole(1, 100_000)] = 500
    """Connections whose TLS or WebSocket handshake is under way."""
    handshake: Annotated[float, seconds(0.1, 60)] = 10.0
    """For each of the two."""
    contacts_max: Annotated[int, whole(1, 100)] = 10
    loop_lag_max: Annotated[float, seconds(0.01, 10)] = 0.5
    retry_after: Annotated[float, seconds(1, 3600)] = 10.0


class Log(Model):
    """Structured logs on standard error."""

    level: LogLevel = "info"
    format: Literal["json", "console"] = "console"
    mask_numbers: YesNo = False


class Cdr(Model):
    """One JSON line a call."""

    file: FilePath | None = None


def _status_of(raw: object) -> int:
    if isinstance(raw, int):
        return raw
    if isinstance(raw, str) and re.fullmatch(r"[456][0-9][0-9]", raw):
        return int(raw)
    raise ValueError(f"must be a SIP status from 400 to 699, not {raw!r}")


Status = Annotated[int, BeforeValidator(_status_of)]


def _one_process(count: int) -> int:
    if count != 1:
        raise ValueError(f"{count} processes are not supported yet: use 1")
    return count


class Config(Model):
    """callgate.yaml."""

    domains: Annotated[tuple[Domain, ...], listed, Field(min_length=1)]
    listen: Annotated[tuple[Listen, ...], listed, Field(min_length=1)]
    advertise: Advertise | None = None
    """For listeners that have none of their own."""
    tls: Tls = Tls()
    websocket: WebSocket = WebSocket()
    processes: Annotated[int, AfterValidator(_one_process), whole(1, 1024)] = 1
    store: Store = Store()
    resolver: Resolver = Resolver()
    guard: Guard = Guard()
    metrics: Metrics = Metrics()
    admin: Admin = Admin()
    plans: FilePath = Path("plans.yaml")
    subscribers: FilePath = Path("subscribers.yaml")
    trunks: Annotated[dict[Name, Trunk], mapped] = Field(default_factory=dict)
    routes: Annotated[tuple[Route, ...], listed] = ()
    workers: Annotated[dict[Name, Worker], mapped] = Field(default_factory=dict)
    auth: Auth = Auth()
    registrar: Registrar = Registrar()
    nat: Nat = Nat()
    timers: Timers = Timers()
    rtpengine: Rtpengine | None = None
    session_timers: SessionTimers = SessionTimers()
    dialog_ping: DialogPing = DialogPing()
    refusals: Annotated[dict[ReasonName, Status], mapped] = Field(default_factory=dict)
    limits: Bounds = Bounds()
    log: Log = Log()
    cdr: Cdr = Cdr()
