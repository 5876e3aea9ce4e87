"""Everything that policies know of subscribers, accounts, trunks and routes: one immutable snapshot, swapped whole.

Made from a config.load.Loaded, whose constructors have named every field that is wrong. Lookups on the call path are
one dict access; `trunks_at` and `route` are for the caller to remember or to pay once a call.
Not here: who pays for group members and what Workers a payer may use (payer.py), only who they are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from types import MappingProxyType
from typing import Final, Literal

from config.load import Loaded
from config.patterns import ROUTE_USER_MAX, compile_route
from config.reaching import Health
from config.schema import Config, Credentials
from config.schema import Trunk as TrunkSchema
from config.tariffs import Account as AccountSchema
from config.tariffs import Algorithm, Mode, Subscriber
from config.tariffs import Group as GroupSchema
from policies.plan import Activation, Tariffs

_HASHES: Final[Mapping[Algorithm, str]] = {"MD5": "md5", "SHA-256": "sha256"}


@dataclass(frozen=True, slots=True)
class Registering:
    """How callgate registers an account elsewhere."""

    trunk: str
    username: str
    password: str = field(repr=False)
    domain: str
    expires: int
    """Seconds asked for."""


@dataclass(frozen=True, slots=True)
class Account:
    """One SIP identity of ours."""

    aor: str
    """`user@domain`, domain in lower case: its name everywhere."""
    user: str
    domain: str
    realm: str
    subscriber: str
    """Who owns it and pays."""
    mode: Mode
    ha1: Mapping[Algorithm, str]
    """Per algorithm the hexadecimal digest of `user:realm:password` (RFC 7616 §3.4.2)."""
    worker: str
    """The Worker its calls use; "" = none."""
    template_worker: str
    """The Worker its SIP template names, which its payer may use without all_workers; "" = none."""
    users: tuple[str, ...]
    disabled: bool
    forward: str = ""
    """The trunk behind which its registrar stands; "" = we are its registrar."""
    register: Registering | None = None
    """Where callgate registers it, with credentials that answer challenges there."""
    relayed: bool = False
    """The media of its calls go through rtpengine."""


@dataclass(frozen=True, slots=True)
class Trunk:
    """A neighbour known by address."""

    name: str
    targets: tuple[str, ...]
    """SIP URIs by priority; empty = it only calls."""
    identity: Literal["none", "from", "pai"]
    worker: str
    trusted: bool = False
    """In our trust domain (RFC 3325 §2.3): told who calls, and believed."""
    groups: tuple[tuple[tuple[str, int], ...], ...] = ()
    """(URI, weight) of each target, those of one priority together, the first to try first."""
    answer_timeout: float = 4.0
    """Seconds a target has for its first word, where there is another."""
    block: float = 30.0
    """Seconds a target that failed is tried last."""
    health: Health | None = None
    """None: nobody looks whether its targets are alive."""
    header: tuple[str, str] | None = None
    """Key and value of the header that its requests carry, where others come from the same address."""
    relayed: bool = False
    """The media of its calls go through rtpengine."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A server that turns SIP voice into Telegram voice."""

    name: str
    kind: Literal["official", "public", "private"]
    free: bool
    owner: str
    granted_to: frozenset[str]
    """Subscribers with access."""
    granted_groups: frozenset[str]
    """Owners whose group has access: its members, not its owner."""


@dataclass(frozen=True, slots=True)
class Group:
    """A subscriber's circle."""

    members: frozenset[str]
    per_member: bool
    """One set of counters for each member, instead of one that they share."""
    with_access: frozenset[str]
    """Members who may use one of the owner's Workers at least: only they count against `group_size`."""


@dataclass(frozen=True, slots=True)
class Customer:
    """A subscriber as policies see it."""

    name: str
    activations: tuple[Activation, ...]
    """Past, present and future, and those that every subscriber has."""
    group: Group | None


class Catalog:
    """The snapshot. Made by `build`; nothing changes afterwards."""

    __slots__ = (
        "_networks",
        "_routes",
        "accounts",
        "automatic",
        "by_user",
        "credentials",
        "domains",
        "forwarding",
        "registered",
        "subscribers",
        "trunks",
        "workers",
    )

    def __init__(self, loaded: Loaded) -> None:
        config = loaded.config
        self.domains = frozenset(config.domains)
        self.workers: Mapping[str, Worker] = _workers(config)
        tariffs = Tariffs(loaded.plans)
        self.automatic = tuple(activation.plan for activation in tariffs.automatic)
        """The plans that every subscriber has from first use."""
        self.subscribers: Mapping[str, Customer] = _customers(loaded, tariffs, self.workers)
        self.trunks: Mapping[str, Trunk] = MappingProxyType(
            {name: _trunk(name, trunk) for name, trunk in config.trunks.items()}
        )
        self.credentials: Mapping[str, Credentials] = MappingProxyType(
            {
                name: trunk.credentials
                for name, trunk in config.trunks.items()
                if trunk.credentials is not None
            }
        )
        """By trunk name: what we answer its challenges with."""
        accounts = {
            account.aor: account
            for name, subscriber in loaded.subscribers.items()
            for account in _accounts(name, subscriber, config, self.trunks)
        }
        self.accounts: Mapping[str, Account] = MappingProxyType(accounts)
        """By `user@domain`."""
        self.forwarding = any(account.forward for account in accounts.values())
        """Some account has its registrar elsewhere."""
        self.registered: Mapping[str, Mapping[str, Account]] = _registered(accounts)
        """Accounts that callgate registers: by trunk, then by their user name there."""
        order = {domain: index for index, domain in enumerate(config.domains)}
        by_user: dict[str, Account] = {}
        for account in sorted(accounts.values(), key=lambda account: order[account.domain], reverse=True):
            by_user[account.user] = account
        self.by_user: Mapping[str, Account] = MappingProxyType(by_user)
        """By user part, for trunks that name one of our accounts; of several domains the first in `domains`."""
        self._networks = _networks(config, self.trunks)
        self._routes = tuple((compile_route(route.match), self.trunks[route.to]) for route in config.routes)

    def trunks_at(self, host: str) -> tuple[Trunk, ...]:
        """The trunks whose `from` has this numeric address, those of the narrowest range.

        Nearly always one or none. Of several each but the last has a header of its own that its requests carry.
        """
        try:
            address: IPv4Address | IPv6Address = ip_address(host.partition("%")[0])
        except ValueError:
            return ()
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        bits = int(address)
        for version, shift, trunks in self._networks:
            if version == address.version and (found := trunks.get(bits >> shift)) is not None:
                return found
        return ()

    def route(self, user: str) -> Trunk | None:
        """The trunk for a user part that is none of our accounts: the first route that matches.

        One that is too long or has control characters (a `$` would match before a line break) goes nowhere.
        """
        if len(user) > ROUTE_USER_MAX or not user.isprintable():
            return None
        for pattern, trunk in self._routes:
            if pattern.search(user) is not None:
                return trunk
        return None

    def group_payer(self, owner: str, member: str) -> str:
        """The payer id of a leg that the owner's group pays for: shared by the members, or one for each."""
        customer = self.subscribers.get(owner)
        shared = customer is None or customer.group is None or not customer.group.per_member
        return f"group:{owner}" if shared else f"group:{owner}:{member}"

    def granted(self, worker: Worker, subscriber: str) -> bool:
        """Whether the Worker's owner lets the subscriber use it, by name or as a member of a group."""
        return subscriber in worker.granted_to or any(
            (customer := self.subscribers.get(owner)) is not None
            and customer.group is not None
            and subscriber in customer.group.members
            for owner in worker.granted_groups
        )


def build(loaded: Loaded) -> Catalog:
    """The catalog of what was loaded. Some 40 µs a subscriber, on top of some 150 µs for loading it."""
    return Catalog(loaded)


def _trunk(name: str, trunk: TrunkSchema) -> Trunk:
    by_priority: dict[int, list[tuple[str, int]]] = {}
    for place, target in enumerate(trunk.targets, 1):
        by_priority.setdefault(target.priority or place, []).append((target.uri, target.weight))
    groups = tuple(tuple(by_priority[priority]) for priority in sorted(by_priority))
    return Trunk(
        name=name,
        targets=tuple(uri for group in groups for uri, _ in group),
        identity=trunk.identity,
        worker=trunk.worker or "",
        groups=groups,
        answer_timeout=trunk.answer_timeout,
        block=trunk.block,
        health=trunk.health,
        trusted=trunk.trusted,
        header=_header(trunk),
        relayed=trunk.media == "relay",
    )


def _customers(loaded: Loaded, tariffs: Tariffs, workers: Mapping[str, Worker]) -> Mapping[str, Customer]:
    owned: dict[str, list[Worker]] = {}
    for worker in workers.values():
        owned.setdefault(worker.owner, []).append(worker)
    customers = {}
    for name, subscriber in loaded.subscribers.items():
        group = subscriber.group
        customers[name] = Customer(
            name,
            (*(tariffs.activation(bought) for bought in subscriber.activations), *tariffs.automatic),
            _group(name, group, owned.get(name, [])) if group is not None else None,
        )
    return MappingProxyType(customers)


def _group(owner: str, group: GroupSchema, workers: list[Worker]) -> Group:
    members = frozenset(group.members)
    if any(owner in worker.granted_groups for worker in workers):
        with_access = members
    else:
        with_access = frozenset(
            member for member in members if any(member in worker.granted_to for worker in workers)
        )
    return Group(members, group.counters == "per_member", with_access)


def _accounts(
    name: str, subscriber: Subscriber, config: Config, trunks: Mapping[str, Trunk]
) -> list[Account]:
    made = []
    for account in subscriber.accounts:
        domain = account.domain or config.domains[0]
        realm = config.auth.realm or domain
        template = subscriber.templates.get(account.template) if account.template else None
        made.append(
            Account(
                aor=f"{account.user}@{domain}",
                user=account.user,
                domain=domain,
                realm=realm,
                subscriber=name,
                mode=account.mode,
                ha1=MappingProxyType(_ha1(account, realm, config.auth.algorithms)),
                worker=account.worker or (template.worker if template else None) or "",
                template_worker=(template.worker if template else None) or "",
                users=account.users,
                disabled=account.disabled,
                relayed=account.media == "relay",
                forward=account.registrar.forward if account.registrar else "",
                register=_registering(account, trunks),
            )
        )
    return made


def _registered(accounts: Mapping[str, Account]) -> Mapping[str, Mapping[str, Account]]:
    found: dict[str, dict[str, Account]] = {}
    for account in accounts.values():
        if account.register is not None:
            found.setdefault(account.register.trunk, {})[account.register.username] = account
    return MappingProxyType(found)


def _registering(account: AccountSchema, trunks: Mapping[str, Trunk]) -> Registering | None:
    said = account.registering
    if said is None:
        return None
    host = trunks[said.trunk].targets[0].removeprefix("sip:").rpartition("@")[2]
    return Registering(
        said.trunk,
        said.username or account.user,
        said.password,
        said.domain or re.sub(r"(:[0-9]+)?(;.*)?$", "", host),
        round(said.expires),
    )


def _ha1(account: AccountSchema, realm: str, algorithms: tuple[Algorithm, ...]) -> dict[Algorithm, str]:
    if account.ha1 is not None:
        return dict(account.ha1)
    if account.password is None:
        return {}
    secret = f"{account.user}:{realm}:{account.password}".encode()
    return {
        algorithm: hashlib.new(_HASHES[algorithm], secret, usedforsecurity=False).hexdigest()
        for algorithm in algorithms
    }


def _workers(config: Config) -> Mapping[str, Worker]:
    return MappingProxyType(
        {
            name: Worker(
                name,
                worker.kind,
                worker.free,
                worker.owner or "",
                frozenset(one for one in worker.granted_to if not one.startswith("group ")),
                frozenset(
                    one.removeprefix("group ").strip()
                    for one in worker.granted_to
                    if one.startswith("group ")
                ),
            )
            for name, worker in config.workers.items()
        }
    )


def _header(trunk: TrunkSchema) -> tuple[str, str] | None:
    match = trunk.match_header
    return (match.name.lower(), match.value) if match is not None else None


def _networks(
    config: Config, trunks: Mapping[str, Trunk]
) -> list[tuple[int, int, dict[int, tuple[Trunk, ...]]]]:
    """(IP version, bits to drop, leading bits → trunks), the narrowest ranges first."""
    tables: dict[tuple[int, int], dict[int, tuple[Trunk, ...]]] = {}
    for name, trunk in config.trunks.items():
        for network in trunk.networks:
            shift = network.max_prefixlen - network.prefixlen
            table = tables.setdefault((network.version, shift), {})
            start = int(network.network_address) >> shift
            # Whoever has no header to tell it by comes last: it is meant where no other is.
            there = (*table.get(start, ()), trunks[name])
            table[start] = tuple(sorted(there, key=lambda one: one.header is None))
    return [
        (version, shift, table)
        for (version, shift), table in sorted(tables.items(), key=lambda item: item[0][1])
    ]
