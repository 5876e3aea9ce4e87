"""Who calls whom: the caller by what it proved or where it sends from, not by its From; the callee by our tables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from proxy.engine.digest import Flaw, Missing, Stale, Verified, Wrong
from proxy.engine.flowtoken import Edge, read_token
from proxy.sip.headers import parse_name_addr
from proxy.sip.uri import parse_uri, unescape

if TYPE_CHECKING:
    from policies.catalog import Account, Trunk
    from proxy.engine.core import Core
    from proxy.sip.flow import Flow
    from proxy.sip.message import Request
    from proxy.sip.stack import ServerTransaction


_PLAIN_IDENTITY: Final = re.compile(r"[^\"<,]*<sip:([A-Za-z0-9._+\-]+)@([a-z0-9.\-]+)[>:;]")
"""What nearly every From looks like: no escapes, nothing to fold; the parser has seen to the rest of it."""


class Caller:
    """A caller we know: one of our accounts, or somebody outside who comes by a trunk."""

    __slots__ = ("account", "nc", "nonce", "trunk")

    def __init__(self, account: Account | None, trunk: Trunk | None, nonce: str = "", nc: int = 0) -> None:
        self.account = account
        """None: an outside caller; only a callee of ours is charged."""
        self.trunk = trunk
        self.nonce = nonce
        self.nc = nc


class Unproved:
    """To be challenged."""

    __slots__ = ("stale", "wrong")

    def __init__(self, stale: bool, wrong: bool = False) -> None:
        self.stale = stale
        self.wrong = wrong
        """By a wrong password, which the guard wants to hear of."""


class Unknown:
    """Nobody we serve; `words` for the log."""

    __slots__ = ("words",)

    def __init__(self, words: str) -> None:
        self.words = words


class AskFirst:
    """Only the store can say whether `account` registered from this flow."""

    __slots__ = ("account",)

    def __init__(self, account: Account) -> None:
        self.account = account


CallerFound = Caller | Unproved | Unknown | AskFirst


def caller_of(
    core: Core, request: Request, source: Flow, trunks: Sequence[Trunk], asked: bool, now: float
) -> CallerFound:
    """The caller of a request that starts something. `trunks`: those that send from there. `asked`: the store has been
    asked about this flow already."""
    if trunks:
        trunk = trunks[0] if trunks[0].header is None else _told_apart(trunks, request)
        if trunk is not None:
            return _trunk_caller(core, request, trunk)
    if core.snapshot.config.auth.invite == "registered_source":
        return _source_caller(core, request, source, asked, now)
    if core.snapshot.catalog.forwarding:
        claimed = claimed_account(core, request.value("from") or "")
        if claimed is not None and claimed.forward:
            # Its password is its registrar's: we know it by the flow of the REGISTER that the registrar granted.
            return _source_caller(core, request, source, asked, now)
    return _digest_caller(core, request, source, now)


def _told_apart(trunks: Sequence[Trunk], request: Request) -> Trunk | None:
    """Of several trunks at one address the one whose header the request carries; None: it is nobody's."""
    for trunk in trunks:
        header = trunk.header
        if header is None or any(value.strip(" \t") == header[1] for value in request.values(header[0])):
            return trunk
    return None


def _trunk_caller(core: Core, request: Request, trunk: Trunk) -> CallerFound:
    if trunk.identity == "none":
        return Caller(None, trunk)
    key = "from" if trunk.identity == "from" else "p-asserted-identity"
    for text in request.all_values(key):
        account = claimed_account(core, text)
        if account is not None:
            return Caller(account, trunk)
    return Unknown(f"trunk {trunk.name} names no account of ours in its {key}")


def _source_caller(core: Core, request: Request, source: Flow, asked: bool, now: float) -> CallerFound:
    claimed = claimed_account(core, request.value("from") or "")
    aor = core.sources.find(source, now, claimed.aor if claimed is not None else "")
    account = core.snapshot.catalog.accounts.get(aor)
    if account is not None:
        return Caller(account, None)
    if claimed is not None and not asked:
        # Another instance may have taken its REGISTER, or this one has been restarted since.
        return AskFirst(claimed)
    return Unknown("nobody registered from this address")


def claimed_account(core: Core, text: str) -> Account | None:
    """The account that a name-addr names; by its user part alone where the domain is none of ours."""
    catalog = core.snapshot.catalog
    plain = _PLAIN_IDENTITY.match(text)
    if plain is not None:
        user, host = plain[1], plain[2]
    else:
        identity = parse_name_addr(text)
        uri = parse_uri(identity.uri) if identity is not None else None
        if uri is None or uri.user is None:
            return None
        user, host = real_text(unescape(uri.user)), uri.host
    return catalog.accounts.get(f"{user}@{host}") or catalog.by_user.get(user)


def real_text(text: str) -> str:
    """Latin-1 dress off: names in the catalog are real text; what is no UTF-8 matches none of them."""
    return text if text.isascii() else text.encode("latin-1").decode("utf-8", "replace")


def _digest_caller(core: Core, request: Request, source: Flow, now: float) -> CallerFound:
    catalog = core.snapshot.catalog
    realm = realm_of(core, request)
    found = core.digest.verify(
        request.values("proxy-authorization"),
        request.method,
        request.uri,
        realm,
        domain_of(core, request),
        catalog.accounts.get,
        now + core.wall_offset,
    )
    match found:
        case Verified():
            if core.guard.on:
                core.guard.proved(source, found.account.aor, now)
            return Caller(found.account, None, found.nonce, found.nc)
        case Stale():
            return Unproved(stale=True)
        case Wrong():
            return Unproved(stale=False, wrong=core.guard.on and found.flaw is Flaw.PASSWORD)
        case Missing():
            return Unproved(stale=False)


def domain_of(core: Core, request: Request) -> str:
    """The domain of ours that the caller belongs to: that of its From, else our first one."""
    identity = parse_name_addr(request.value("from") or "")
    uri = parse_uri(identity.uri) if identity is not None else None
    if uri is not None and uri.host in core.snapshot.catalog.domains:
        return uri.host
    return core.snapshot.config.domains[0]


def realm_of(core: Core, request: Request) -> str:
    """The realm of our challenges to this caller."""
    return core.snapshot.config.auth.realm or domain_of(core, request)


def challenge(core: Core, txn: ServerTransaction, stale: bool, now: float) -> None:
    """RFC 3261 §22.3: 407, one Proxy-Authenticate for each algorithm, the one we like best first (RFC 8760 §2.3)."""
    request = txn.request
    assert request is not None
    core.counters.challenges += 1
    values = core.digest.challenge(realm_of(core, request), stale, now + core.wall_offset, core.rng)
    lines = [f"Proxy-Authenticate: {value}" for value in values]
    core.answer(txn, 407, "Proxy Authentication Required", now, lines)


class Callee:
    """Where a request is to go: an account of ours, or a trunk. Neither: nowhere (404)."""

    __slots__ = ("account", "edge", "trunk", "user")

    def __init__(
        self, account: Account | None, trunk: Trunk | None, user: str, edge: Edge | None = None
    ) -> None:
        self.account = account
        self.edge = edge
        """The flow it is to be reached over, where the request says that itself (our Path); else its bindings tell."""
        self.trunk = trunk
        self.user = user
        """The user part as it was written."""


def callee_for(core: Core, caller: Caller, request: Request, flow_token: str) -> Callee:
    """Where a request of this caller is to go. `flow_token`: of a Route that we wrote as Path."""
    catalog = core.snapshot.catalog
    if flow_token:
        edge = read_token(core, flow_token)
        called = catalog.accounts.get(edge.aor) if edge is not None else None
        uri = parse_uri(request.uri)
        return Callee(called, None, (uri.user if uri is not None else None) or "", edge)
    account = caller.account
    if account is None:
        registered = catalog.registered.get(caller.trunk.name) if caller.trunk is not None else None
        return (
            callee_of(core, request.uri)
            if registered is None
            else _by_registration(core, registered, request.uri)
        )
    if account.forward:
        uri = parse_uri(request.uri)
        if uri is not None and uri.host == account.domain:
            # Its registrar's domain: who is meant there is for that one to say, though it be another account of ours.
            return Callee(None, catalog.trunks[account.forward], uri.user or "")
    callee = callee_of(core, request.uri)
    if account.register is not None and callee.account is None and callee.user:
        # Its own provider or PBX comes before what `routes` say for everybody.
        callee.trunk = catalog.trunks[account.register.trunk]
    return callee


def _by_registration(core: Core, registered: Mapping[str, Account], request_uri: str) -> Callee:
    """A call from where callgate registers accounts: for whom it is says the contact it registered."""
    uri = parse_uri(request_uri)
    if uri is not None and uri.user is not None:
        account = registered.get(real_text(unescape(uri.user)))
        if account is not None:
            return Callee(account, None, uri.user)
    callee = callee_of(core, request_uri)
    if callee.account is None and callee.trunk is None and len(registered) == 1:
        # A provider that puts the number that was dialled there: it has one registration of ours to mean.
        callee.account = next(iter(registered.values()))
    return callee


def callee_of(core: Core, request_uri: str) -> Callee:
    """After our own registered accounts the routes, the first that matches the user part of the Request-URI."""
    uri = parse_uri(request_uri)
    if uri is None or uri.user is None:
        return Callee(None, None, "")
    catalog = core.snapshot.catalog
    user = real_text(unescape(uri.user))
    account = catalog.accounts.get(f"{user}@{uri.host}")
    if account is None and (uri.host, uri.port or 5060) in core.own:
        account = catalog.by_user.get(user)
    if account is not None:
        return Callee(account, None, uri.user)
    return Callee(None, catalog.route(user), uri.user)
