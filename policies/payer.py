"""Who pays a leg of a call, and whether that payer may have it at all before any counter is looked at (SPEC §2). Pure.

A call uses the Workers that the accounts and trunks at its two ends name; each leg of it must be allowed them all.

Who pays: the group of a Worker's owner, when the account's subscriber is a member of that group, has been granted this
Worker, and a plan of the owner lends limits for the account's mode; else the account's own subscriber (not who calls
with it), the owner himself on his own Worker too. Of several such groups the one whose Worker is named first pays:
by the leg's own account, by the trunk beside it, by the far account, by the far trunk.

Which Workers: a private one is for its owner and whom he granted it. A free one, and the one that the account's SIP
template names, need no more. Any other needs `all_workers` in a plan of the payer; the group's payer is its owner.

A group that has more members with access than `group_size` refuses what it would pay; nobody else pays that instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Final

from policies.account import Limits, Mode, NoPlan
from policies.catalog import Account, Catalog, Trunk, Worker
from policies.reasons import Reason
from policies.resolve import group_size

LimitsOf = Callable[[str, Mode], Limits | NoPlan]
"""(payer id, mode) → what is in force now: resolve.resolve_payer, or what remembers its answers."""


@dataclass(frozen=True, slots=True)
class WorkerWord:
    """Whether the payer may use one Worker, and why, in words."""

    worker: str
    allowed: bool
    why: str


@dataclass(frozen=True, slots=True)
class Charge:
    """Who pays a leg."""

    payer: str
    """A subscriber, `group:<owner>`, or `group:<owner>:<member>`."""
    why: str
    """In words."""
    limits: Limits | NoPlan
    workers: tuple[WorkerWord, ...]
    """One for each Worker that the call uses."""
    refusal: Reason | None
    """What speaks against the leg, whatever the counters say; None = nothing."""
    limit: str
    """The refusal's limit in words, for its Warning; "" where it has none."""
    valid_until: float
    """Unix seconds: decide again then."""


NO_WORKERS: Final[tuple[tuple[str, ...], tuple[str, ...]]] = ((), ())


def workers_of(
    caller: Account | None, caller_trunk: Trunk | None, callee: Account | None, callee_trunk: Trunk | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The Workers that a call uses, as the caller's leg and as the callee's sees them: each once, the nearest first."""
    mine = caller.worker if caller is not None else ""
    theirs = callee.worker if callee is not None else ""
    here = caller_trunk.worker if caller_trunk is not None else ""
    there = callee_trunk.worker if callee_trunk is not None else ""
    if not (mine or theirs or here or there):
        return NO_WORKERS
    return _distinct(mine, here, theirs, there), _distinct(theirs, there, mine, here)


def _distinct(*names: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name))


def charge(
    catalog: Catalog, account: Account, workers: tuple[str, ...], now_unix: float, limits_of: LimitsOf
) -> Charge:
    """Who pays a leg of this account in a call that uses these Workers, and what speaks against it."""
    subscriber, mode = account.subscriber, account.mode
    used = tuple(worker for name in workers if (worker := catalog.workers.get(name)) is not None)
    refusal, limit, until = None, "", inf
    payer, why = subscriber, f"the account is {subscriber}'s"
    limits: Limits | NoPlan | None = None
    for worker in used:
        owner = worker.owner
        if not _is_member(catalog, worker, subscriber):
            if owner == subscriber:
                why = f"the account is {subscriber}'s, and so is the Worker {worker.name}"
            continue
        lent = limits_of(catalog.group_payer(owner, subscriber), mode)
        until = min(until, lent.valid_until)
        if isinstance(lent, Limits):
            payer, limits = lent.payer, lent
            why = f"{subscriber} is a member of {owner}'s group and uses {owner}'s Worker {worker.name}"
            refusal, limit = _disabled(catalog, owner, now_unix)
            break
        why = f"the account is {subscriber}'s, and no active plan of {owner} lends its group the mode {mode}"
    if limits is None:
        limits = limits_of(payer, mode)
    until = min(until, limits.valid_until)
    all_workers = isinstance(limits, Limits) and limits.all_workers
    words = tuple(_word(catalog, worker, account, all_workers) for worker in used)
    if account.disabled:
        refusal, limit = Reason.ACCOUNT_DISABLED, ""
    elif refusal is None and isinstance(limits, NoPlan):
        refusal, limit = Reason.NO_PLAN, mode
    elif refusal is None:
        for word in words:
            if not word.allowed:
                refusal, limit = Reason.WORKER, f"{word.worker}: {word.why}"
                break
    return Charge(payer, why, limits, words, refusal, limit, until)


def _is_member(catalog: Catalog, worker: Worker, subscriber: str) -> bool:
    """Whether the Worker was granted to the subscriber as one of its owner's group."""
    customer = catalog.subscribers.get(worker.owner)
    return (
        customer is not None
        and customer.group is not None
        and subscriber in customer.group.with_access
        and (worker.owner in worker.granted_groups or subscriber in worker.granted_to)
    )


def _disabled(catalog: Catalog, owner: str, now_unix: float) -> tuple[Reason | None, str]:
    group = catalog.subscribers[owner].group
    members = len(group.with_access) if group is not None else 0
    allowed, _ = group_size(catalog, owner, now_unix)
    if allowed is None or members <= allowed:
        return None, ""
    return Reason.GROUP_DISABLED, f"{members}, and group_size is {allowed}"


def _word(catalog: Catalog, worker: Worker, account: Account, all_workers: bool) -> WorkerWord:
    name, subscriber = worker.name, account.subscriber
    own = worker.owner == subscriber
    if worker.kind == "private" and not own and not catalog.granted(worker, subscriber):
        return WorkerWord(name, False, f"it is private and was not granted to {subscriber}")
    if worker.free:
        return WorkerWord(name, True, "it is free")
    if name == account.template_worker:
        return WorkerWord(name, True, "the account's SIP template names it")
    if all_workers:
        return WorkerWord(name, True, "a plan of the payer has all_workers")
    return WorkerWord(name, False, "it is not free, and no active plan of the payer has all_workers")
