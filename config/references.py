"""What must hold between the three files: every name that is used exists, nothing is claimed twice.

Runs after each file was validated by itself. A name counts as known when its file has it, also when what it names has
mistakes of its own, so that one mistake is told once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Final

from config.certificates import check_certificates
from config.document import Loc
from config.schema import Config, Worker
from config.tariffs import Account, Activation, Plan, Subscriber

Found = tuple[Loc, str]
"""A mistake: where in its file, and the words."""

_MAY_BE_503: Final = ("store_unavailable", "overload", "draining")
_NO_RELAY: Final = "relay needs the section rtpengine of callgate.yaml"
MEETS_A_REGISTER: Final = (
    "account_disabled",
    "contacts",
    "no_plan",
    "sip_accounts",
    "store_unavailable",
    "trunk_down",
)
"""Reasons for which a REGISTER may be refused."""
_TAKEN_STATUSES: Final = (401, 407, 408, 487)


@dataclass(frozen=True, slots=True)
class Known:
    """The names that the files have, and what of them is valid."""

    config: Config | None
    plans: Mapping[str, Plan]
    subscribers: Mapping[str, Subscriber]
    plan_names: Set[str] | None
    """None = the section cannot be read, so nobody can say what is missing in it."""
    subscriber_names: Set[str] | None
    trunk_names: Set[str] | None
    worker_names: Set[str] | None


def check_config(known: Known) -> Iterator[Found]:
    """Of callgate.yaml."""
    config = known.config
    if config is None:
        return
    sockets: dict[object, int] = {}
    for index, listen in enumerate(config.listen):
        first = sockets.setdefault(listen.address, index)
        if first != index and listen.address.port:
            yield ("listen", index), f"the same address as listen[{first}]"
    for index, domain in enumerate(config.domains):
        if domain in config.domains[:index]:
            yield ("domains", index), f"{domain} is written twice"
    for index, route in enumerate(config.routes):
        trunk = config.trunks.get(route.to)
        yield from _missing(("routes", index, "to"), "trunk", route.to, known.trunk_names)
        if trunk and not trunk.targets:
            yield ("routes", index, "to"), f"the trunk {route.to} has no targets to send calls to"
    for reason, status in config.refusals.items():
        if status == 503 and reason not in _MAY_BE_503:
            yield ("refusals", reason), "must not answer 503: upstreams take that for a dead server"
        elif status in _TAKEN_STATUSES:
            yield ("refusals", reason), f"must not answer {status}: it means something else in SIP"
        elif status >= 600 and reason in MEETS_A_REGISTER:
            # RFC 3261 §10.3: "A registrar MUST not generate 6xx responses."
            words = f"must not answer {status}: a REGISTER is refused so, too, and for that SIP allows no 6xx"
            yield ("refusals", reason), words
    yield from check_certificates(config)
    yield from _trunks(config, known)
    for name, worker in config.workers.items():
        yield from _worker(("workers", name), worker, known)


def _trunks(config: Config, known: Known) -> Iterator[Found]:
    owners: dict[object, str] = {}
    has_tls = any(listen.address.transport == "TLS" for listen in config.listen)
    for name, trunk in config.trunks.items():
        for index, target in enumerate(trunk.targets):
            if not has_tls and ";transport=tls" in target.uri.lower():
                yield ("trunks", name, "targets", index), "needs a tls:// listener, for what comes back"
        if trunk.media == "relay" and config.rtpengine is None:
            yield ("trunks", name, "media"), _NO_RELAY
        yield from _missing(("trunks", name, "worker"), "Worker", trunk.worker, known.worker_names)
        header = trunk.match_header
        told = (header.name.lower(), header.value) if header is not None else None
        for index, network in enumerate(trunk.networks):
            owner = owners.setdefault((network, told), name)
            if owner != name:
                same = f"{network} belongs to the trunk {owner} already"
                if header is not None:
                    same += f", with the same {header.name}"
                yield ("trunks", name, "from", index), same


def _worker(loc: Loc, worker: Worker, known: Known) -> Iterator[Found]:
    yield from _missing((*loc, "owner"), "subscriber", worker.owner, known.subscriber_names)
    for index, grantee in enumerate(worker.granted_to):
        name = grantee.removeprefix("group ").strip()
        owner = known.subscribers.get(name)
        yield from _missing((*loc, "granted_to", index), "subscriber", name, known.subscriber_names)
        if name != grantee and owner is not None and owner.group is None:
            yield (*loc, "granted_to", index), f"{name} has no group"


def check_subscribers(known: Known) -> Iterator[Found]:
    """Of subscribers.yaml."""
    accounts: dict[tuple[str, str], str] = {}
    registered: dict[tuple[str, str], str] = {}
    for name, subscriber in known.subscribers.items():
        loc: Loc = ("subscribers", name)
        for index, account in enumerate(subscriber.accounts):
            yield from _account((*loc, "accounts", index), account, subscriber, known)
            if account.registering is not None:
                there = (account.registering.trunk, account.registering.username or account.user)
                if there in registered:
                    yield (
                        (*loc, "accounts", index, "register"),
                        f"{registered[there]} is registered at {there[0]} as {there[1]} already",
                    )
                registered.setdefault(there, account.user)
            if known.config is not None:
                key = (account.user, account.domain or known.config.domains[0])
                if key in accounts:
                    yield (
                        (*loc, "accounts", index),
                        f"{key[0]}@{key[1]} is an account of {accounts[key]} already",
                    )
                accounts.setdefault(key, name)
        yield from _activations(loc, subscriber, known)
        for key_, template in subscriber.templates.items():
            where = (*loc, "templates", key_, "worker")
            yield from _missing(where, "Worker", template.worker, known.worker_names)
        for index, member in enumerate(subscriber.group.members if subscriber.group else ()):
            where = (*loc, "group", "members", index)
            if member == name:
                yield where, f"{name} owns the group and is no member of it"
            elif subscriber.group and member in subscriber.group.members[:index]:
                yield where, f"{member} is written twice"


def check_members(known: Known) -> Iterator[Found]:
    """Of subscribers.yaml, as warnings: a member who is no subscriber yet has no account to call with."""
    for name, subscriber in known.subscribers.items():
        for index, member in enumerate(subscriber.group.members if subscriber.group else ()):
            where: Loc = ("subscribers", name, "group", "members", index)
            yield from _missing(where, "subscriber", member, known.subscriber_names)


def _account(loc: Loc, account: Account, subscriber: Subscriber, known: Known) -> Iterator[Found]:
    yield from _missing((*loc, "template"), "SIP template", account.template, subscriber.templates.keys())
    yield from _missing((*loc, "worker"), "Worker", account.worker, known.worker_names)
    for index, user in enumerate(account.users):
        yield from _missing((*loc, "users", index), "subscriber", user, known.subscriber_names)
    config = known.config
    if account.registrar is not None:
        where = (*loc, "registrar", "forward")
        yield from _registrar_of(where, account.registrar.forward, "to send REGISTER to", known)
    if account.registering is not None:
        where = (*loc, "register", "trunk")
        yield from _registrar_of(where, account.registering.trunk, "to register at", known)
    if config is None:
        return
    if account.media == "relay" and config.rtpengine is None:
        yield (*loc, "media"), _NO_RELAY
    if account.domain and account.domain not in config.domains:
        yield (*loc, "domain"), f"{account.domain} is not in `domains` ({', '.join(config.domains)})"
    for algorithm in config.auth.algorithms if account.ha1 is not None else ():
        if algorithm not in (account.ha1 or {}):
            yield (*loc, "ha1"), f"has no digest for {algorithm}, which auth.algorithms asks for"


def _registrar_of(loc: Loc, name: str, purpose: str, known: Known) -> Iterator[Found]:
    """A trunk that is to be registered at has somewhere to send REGISTER."""
    yield from _missing(loc, "trunk", name, known.trunk_names)
    trunk = known.config.trunks.get(name) if known.config is not None else None
    if trunk is not None and not trunk.targets:
        yield loc, f"the trunk {name} has no targets {purpose}"


def _activations(loc: Loc, subscriber: Subscriber, known: Known) -> Iterator[Found]:
    seen: dict[tuple[str, int], int] = {}
    for index, activation in enumerate(subscriber.activations):
        where = (*loc, "activations", index)
        first = seen.setdefault((activation.plan, activation.since), index)
        if first != index:
            yield where, f"activates {activation.plan} at the same moment as activations[{first}]"
        yield from _missing((*where, "plan"), "plan", activation.plan, known.plan_names)
        if plan := known.plans.get(activation.plan):
            yield from _overrides((*where, "options"), activation, plan)


def _overrides(loc: Loc, activation: Activation, plan: Plan) -> Iterator[Found]:
    for key in activation.options.chosen():
        category_name, _, option_name = key.rpartition(".")
        holder = getattr(plan.categories, category_name) if category_name else plan
        option = getattr(holder, option_name, None)
        if option is None:
            yield (*loc, key), f"the plan {activation.plan} has no option {key}"
        elif not option.mutable:
            text = f"is not mutable in the plan {activation.plan}: its value there holds for every activation"
            yield (*loc, key), text


def _missing(loc: Loc, kind: str, name: str | None, known: Set[str] | None) -> Iterator[Found]:
    """A mistake when something is named that is not there."""
    if name is None or known is None or name in known:
        return
    names = sorted(known)
    listed = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    yield loc, f"there is no {kind} {name}" + (f" (there is: {listed})" if names else "")
