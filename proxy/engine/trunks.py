"""A trunk's targets: the order in which a call tries them, and what the answers say about them (RFC 3263 §4.3).

Within a priority chance decides by weight, as with SRV records; what failed of late is tried last, what is known to be
down not at all (proxy/engine/reach.py). A trunk of one address costs none of this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from proxy.engine.finding import pick
from proxy.engine.reach import RETRY_AFTER_MAX, OutageCause
from proxy.engine.targets import Target, hop_of
from proxy.sip.headers import parse_retry_after
from proxy.sip.uri import parse_uri

if TYPE_CHECKING:
    from policies.catalog import Trunk
    from proxy.engine.core import Core
    from proxy.engine.facts import Callee
    from proxy.engine.forward import Branch
    from proxy.sip.flow import Flow
    from proxy.sip.message import Response

BLOCK = 30.0
"""Seconds a server that is no trunk's is tried last after a failure."""


def trunk_targets(
    core: Core, trunk: Trunk, request_uri: str, keep: bool = False, prefer: Flow | None = None
) -> list[Sequence[Target]]:
    """One group a target, the first to try last. The dialled user part goes to each target's host, unless `keep`.

    `prefer`: the server to try first, where it is one of them.
    """
    dialled = parse_uri(request_uri)
    user = dialled.user if dialled is not None else None
    if len(trunk.targets) == 1:
        only = _target(core, trunk.targets[0], user, request_uri if keep else "")
        if only is None or (core.reach.outages and not _usable(core, only)):
            return []
        if only.flow is None:
            only.prefer = prefer
        return [(only,)]
    uri = request_uri if keep else ""
    targets = [found for text in order(core, trunk) if (found := _target(core, text, user, uri)) is not None]
    if core.reach.outages:
        outages = core.reach.outages
        targets = [target for target in targets if _usable(core, target)]
        targets.sort(key=lambda target: target.flow in outages)
    if prefer is not None:
        for target in targets:
            target.prefer = prefer
        targets.sort(key=lambda target: target.flow is not prefer)
    return [(target,) for target in reversed(targets)]


def _target(core: Core, text: str, user: str | None, uri: str) -> Target | None:
    # "sip:host" or "sip:user@host": what was dialled takes the place of the user.
    own_user, _, host = text.removeprefix("sip:").rpartition("@")
    return hop_of(core, text, uri or f"sip:{user or own_user}@{host}")


def order(core: Core, trunk: Trunk) -> list[str]:
    """The URIs of its targets, by priority, and within one by chance in proportion to the weights."""
    found: list[str] = []
    for group in trunk.groups:
        left = list(group)
        while left:
            found.append(left.pop(pick([weight for _, weight in left], core.rng))[0])
    return found


def _usable(core: Core, target: Target) -> bool:
    """Of a name nothing is known before it is looked up; then `Reach.order` says."""
    outage = core.reach.outages.get(target.flow) if target.flow is not None else None
    return outage is None or not outage.firm


def all_down(core: Core, callee: Callee) -> bool:
    """Whether there is no use in trying: it would go to a trunk of which every target is known to be down."""
    trunk = callee.trunk
    if trunk is None or callee.edge is not None or not trunk.targets:
        return False
    return not any(
        not ways or core.reach.order(ways) for ways in (_ways(core, text) for text in trunk.targets)
    )


def _ways(core: Core, text: str) -> Sequence[Flow]:
    """Every flow of a target as far as it is known without asking anybody."""
    target = hop_of(core, text, text)
    if target is None:
        return ()
    if target.flow is not None:
        return (target.flow,)
    return core.finder.remembered(core, target.question)


def note_failure(
    core: Core, trunk: Trunk | None, flow: Flow, branch: Branch, response: Response | None, now: float
) -> None:
    """A branch ended with 408 or 503: what that says about its server."""
    seconds = trunk.block if trunk is not None else BLOCK
    if not seconds:
        # We differ from RFC 3261 §21.5.4 where the operator says so.
        return
    firm = False
    if branch.status == 503:
        cause = OutageCause.UNAVAILABLE if response is not None else OutageCause.TRANSPORT
        asked = parse_retry_after(response.value("retry-after") or "") if response is not None else None
        if asked:
            # RFC 3261 §21.5.4: "It SHOULD NOT forward any other requests to that server for the duration specified
            # in the Retry-After header field, if present."
            seconds, firm = min(float(asked), RETRY_AFTER_MAX), True
    elif response is None and not branch.provisional:
        cause = OutageCause.TIMEOUT
    else:
        # It is alive: it, or somebody behind it, had no answer in time.
        return
    core.reach.bad(flow, cause, seconds, firm, now)


# What operators see --------------------------------------------------------------------------------------------------


def shown(core: Core, now: float) -> list[dict[str, Any]]:
    """Every trunk with targets: what each of them is, and how it does."""
    return [
        {
            "trunk": trunk.name,
            "health": trunk.health is not None,
            "targets": [
                {
                    "uri": uri,
                    "priority": priority,
                    "weight": weight,
                    "state": state_of(core, uri),
                    "addresses": [_shown_flow(core, flow, now) for flow in _ways(core, uri)],
                }
                for priority, group in enumerate(trunk.groups, 1)
                for uri, weight in group
            ],
        }
        for trunk in core.snapshot.catalog.trunks.values()
        if trunk.targets
    ]


def _shown_flow(core: Core, flow: Flow, now: float) -> dict[str, Any]:
    host = f"[{flow.host}]" if ":" in flow.host else flow.host
    shown: dict[str, Any] = {"address": f"{flow.transport.lower()}:{host}:{flow.port}", "state": "up"}
    outage = core.reach.outages.get(flow)
    if outage is not None:
        shown["state"] = "down" if outage.firm else "suspect"
        shown["cause"] = outage.cause.value
        shown["since_s"] = round(now - outage.since, 1)
        shown["until_s"] = None if outage.until is None else round(outage.until - now, 1)
    shown.update(core.health.shown(flow, now))
    return shown


def state_of(core: Core, uri: str) -> str:
    """up: a call goes there. suspect: only when nothing better is left. down: none goes. unknown: not looked up yet."""
    ways = _ways(core, uri)
    if not ways:
        return "unknown"
    outages = core.reach.outages
    if any(flow not in outages for flow in ways):
        return "up"
    return "suspect" if core.reach.order(ways) else "down"


STATES = ("up", "suspect", "down", "unknown")


def counted(core: Core) -> Mapping[tuple[str, str], int]:
    """By (trunk, state): how many of its targets are so."""
    numbers: dict[tuple[str, str], int] = {}
    for trunk in core.snapshot.catalog.trunks.values():
        if trunk.targets:
            numbers |= {(trunk.name, state): 0 for state in STATES}
            for uri in trunk.targets:
                numbers[trunk.name, state_of(core, uri)] += 1
    return numbers
