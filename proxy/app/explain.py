"""`callgate explain`: one call thought through, by the code that would carry it, and told. Calls nobody.

The engine is real: made from the files as `serve` makes it, without sockets. What the counters say is asked of the
store if it answers (usage.py).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from config.load import Loaded
from policies.account import Direction, Limit, Limits, Mode
from policies.catalog import Account, Catalog, Trunk, build
from policies.foresight import foreseen
from policies.options import BY_NAME, PLAN_WIDE
from policies.payer import Charge, workers_of
from policies.payers import Usage
from policies.plan import AUTO, Activation
from policies.reasons import Reason
from policies.resolve import Choice, explain, group_size, owner_and_member
from policies.verdicts import Refused
from proxy.app.shown import limits_shown, usage_shown
from proxy.app.usage import Seen
from proxy.engine.admission import nobody_pays
from proxy.engine.core import Core
from proxy.engine.engine import Engine
from proxy.engine.facts import Callee, Caller, callee_for, claimed_account
from proxy.engine.snapshot import Snapshot
from proxy.ops.cdr import instant
from proxy.sip.flow import FlowTable, Local
from proxy.sip.message import Request
from proxy.sip.parse import parse
from proxy.sip.uri import parse_uri


class NoSuchCall(Exception):
    """It cannot be said what call is meant. The text says why."""


@dataclass(frozen=True, slots=True)
class Side:
    """One leg of the call."""

    account: Account
    direction: Direction
    charge: Charge


class Imagined:
    """A call of `who` to `to`, by the trunk `by` ("" = by no trunk), at a moment in Unix seconds."""

    def __init__(self, loaded: Loaded, who: str, to: str, by: str, at: float) -> None:
        """Raises: NoSuchCall."""
        self.at = at
        self._core = core = _core(loaded, at)
        self.catalog: Catalog = core.snapshot.catalog
        self.uri = to if to.startswith(("sip:", "sips:")) else f"sip:{to}"
        if "@" not in self.uri:
            self.uri += f"@{loaded.config.domains[0]}"
        self.trunk = self._trunk(by)
        self.caller = Caller(self._account(who), self.trunk)
        self.who = self.caller.account.aor if self.caller.account is not None else who
        self.callee: Callee = callee_for(core, self.caller, self._invite(), "")
        self.sides = self._sides()

    def limits(self) -> list[Limits]:
        """Whose counters matter."""
        return [side.charge.limits for side in self.sides if isinstance(side.charge.limits, Limits)]

    def called(self) -> Account | None:
        """The account of ours that has to be registered for the call to go anywhere."""
        return self.callee.account if self.callee.edge is None else None

    def answer(self, seen: Seen) -> Refused | None:
        """What would refuse the call; None = nothing that is known."""
        if self.trunk is None and self.caller.account is None:
            return Refused(Reason.UNKNOWN_CALLER)
        reason = nobody_pays(self.caller.account, self.callee)
        if reason is not None:
            return Refused(reason)
        for side in self.sides:
            if side.charge.refusal is not None:
                return Refused(side.charge.refusal, side.charge.limit)
        missing = Refused(Reason.NOT_REGISTERED) if seen.contacts == 0 else None
        for side in self.sides:
            if missing and side.direction == "in" and side.charge.payer == side.account.subscriber:
                # One script looks for its bindings and then at its limits.
                return missing
            limits = side.charge.limits
            assert isinstance(limits, Limits)
            usage = seen.usages.get((limits.payer, limits.mode))
            found = foreseen(limits, side.direction, usage) if isinstance(usage, Usage) else None
            if found is not None:
                return found
        return missing

    def told(self, seen: Seen) -> dict[str, Any]:
        """Everything, as JSON has it."""
        return {
            "at": instant(self.at),
            "from": self.who,
            "from_trunk": self.trunk.name if self.trunk is not None else None,
            "to": self.uri,
            "to_account": self.callee.account.aor if self.callee.account is not None else None,
            "to_contacts": seen.contacts,
            "to_trunk": self.callee.trunk.name if self.callee.trunk is not None else None,
            "legs": [self._leg(side, seen) for side in self.sides],
            "answer": self._answer(seen),
        }

    # Who and where ----------------------------------------------------------------------------------------------------

    def _trunk(self, name: str) -> Trunk | None:
        if not name:
            return None
        trunk = self.catalog.trunks.get(name)
        if trunk is None:
            raise NoSuchCall(f"there is no trunk {name}")
        return trunk

    def _account(self, who: str) -> Account | None:
        if self.trunk is not None and self.trunk.identity == "none":
            # Whoever it says it is: an outside caller.
            return None
        user = who.removeprefix("sip:")
        account = claimed_account(self._core, f"<sip:{user}@>" if "@" not in user else f"<sip:{user}>")
        return account or self.catalog.by_user.get(user)

    def _invite(self) -> Request:
        lines = (
            f"INVITE {self.uri} SIP/2.0",
            "Via: SIP/2.0/UDP localhost;branch=z9hG4bKexplained",
            "From: <sip:explain@localhost>;tag=1",
            f"To: <{self.uri}>",
            "Call-ID: explained",
            "CSeq: 1 INVITE",
            "Max-Forwards: 70",
            "Content-Length: 0",
        )
        found = parse("\r\n".join((*lines, "", "")).encode())
        if not isinstance(found, Request) or parse_uri(self.uri) is None:
            raise NoSuchCall(f"{self.uri} is no SIP address that can be called")
        return found

    def _sides(self) -> list[Side]:
        caller, callee = self.caller, self.callee
        if nobody_pays(caller.account, callee) is not None:
            return []
        mine, theirs = workers_of(caller.account, caller.trunk, callee.account, callee.trunk)
        sides: list[Side] = []
        if caller.account is not None:
            sides.append(Side(caller.account, "out", self._core.charge_of(caller.account, mine, 0.0)))
        if callee.account is not None:
            sides.append(Side(callee.account, "in", self._core.charge_of(callee.account, theirs, 0.0)))
        return sides

    # As JSON ----------------------------------------------------------------------------------------------------------

    def _leg(self, side: Side, seen: Seen) -> dict[str, Any]:
        charge, mode = side.charge, side.account.mode
        owner, member = owner_and_member(charge.payer)
        found = explain(self.catalog, owner, mode, self.at, member)
        limits = charge.limits
        usage = seen.usages.get((charge.payer, mode), "there is no plan")
        options = limits_shown(found)["options"]
        return {
            "direction": side.direction,
            "account": side.account.aor,
            "mode": mode,
            "payer": charge.payer,
            "why": charge.why,
            "plans": [_plan(activation, mode, member) for activation in found.active],
            "limits": {
                name: _option(options[name], choice, getattr(limits, name, None), side.direction)
                for name, choice in found.choices.items()
                if _concerns(name, mode, member)
            },
            "group": self._group(owner) if member else None,
            "workers": [
                {"worker": one.worker, "allowed": one.allowed, "why": one.why} for one in charge.workers
            ],
            "valid_until": None if charge.valid_until == float("inf") else instant(charge.valid_until),
            "usage": usage_shown(limits, usage, {})
            if isinstance(limits, Limits) and isinstance(usage, Usage)
            else None,
            "usage_unknown": usage if isinstance(usage, str) else None,
            "refusal": charge.refusal.value if charge.refusal is not None else None,
        }

    def _group(self, owner: str) -> dict[str, Any]:
        group = self.catalog.subscribers[owner].group
        size, choice = group_size(self.catalog, owner, self.at)
        return {
            "owner": owner,
            "members_with_access": len(group.with_access) if group is not None else 0,
            "group_size": "unlimited" if size is None else size,
            "why": choice.why,
        }

    def _answer(self, seen: Seen) -> dict[str, Any]:
        refused = self.answer(seen)
        if refused is None:
            asked = all(isinstance(seen.usages.get((one.payer, one.mode)), Usage) for one in self.limits())
            return {"decision": "admitted" if asked else "admitted, if the counters let it"}
        row, extra = self._core.refusal(refused.reason, refused.limit, refused.resets_in_ms)
        return {
            "decision": "refused",
            "reason": refused.reason.value,
            "status": row.status,
            "phrase": row.phrase,
            "warning": extra[0].partition('"')[2].rstrip('"'),
        }


def _core(loaded: Loaded, at: float) -> Core:
    config = loaded.config
    tables = []
    for listen in config.listen:
        told = listen.advertise or config.advertise
        host, port = (
            (told.host, told.port) if told is not None else (listen.address.host, listen.address.port)
        )
        name = f"[{host}]" if ":" in host else host
        family = 6 if ":" in host else 4
        tables.append(FlowTable(Local(listen.address.transport, name, port or listen.address.port, family)))
    engine = Engine(Snapshot(config, build(loaded)), tables, random.Random(0), "explain", b"explain")
    engine.core.wall_offset = at
    return engine.core


def _plan(activation: Activation, mode: Mode, member: str) -> dict[str, Any]:
    needed = {mode, "group"} if member else {mode}
    by_itself = activation.id == f"{activation.plan}@{AUTO}"
    return {
        "plan": activation.plan,
        "since": None if by_itself else instant(activation.since),
        "until": None if activation.until == float("inf") else instant(activation.until),
        "by_itself": by_itself,
        "counts_here": needed <= activation.categories,
    }


def _concerns(name: str, mode: Mode, member: str) -> bool:
    """Whether the option has a meaning in this mode, and for a group where one pays."""
    option = BY_NAME[name]
    if PLAN_WIDE in option.categories:
        return True
    return mode in option.categories and (option.lendable or not member)


def _option(shown: dict[str, Any], choice: Choice, limit: object, direction: Direction) -> dict[str, Any]:
    return {
        **shown,
        "chosen_at_activation": bool(choice.candidates) and choice.candidates[0].value.chosen,
        "others": [f"{one.value} from {one.activation.id}" for one in choice.candidates[1:]],
        "applies": limit.applies(direction) if isinstance(limit, Limit) else None,
    }
