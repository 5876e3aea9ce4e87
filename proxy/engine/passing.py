"""REGISTERs of accounts that another registrar keeps: passed on with Path (RFC 3327), counted when it says 200.

The account's `registrar: {forward: TRUNK}` names the trunk behind which its registrar stands; the domain is that
registrar's, and it alone asks for the password. We hold a place among `sip_accounts` before the REGISTER leaves, so
that none is ever registered there that the tariff does not allow; the 200 makes it a binding of ours, anything else
gives it back. A registrar that reaches its client through our Path sends its calls by us, over the client's flow.

Not here: the registrar's own rules (intervals, order of CSeq, who may register): its answers pass as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from policies.account import NoPlan
from policies.reasons import Reason
from policies.verdicts import PlaceHeld, RegisterRefused, Unavailable
from proxy.engine.bindings import contact_key
from proxy.engine.contacts import (
    HOUR,
    Asked,
    expires_of,
    flow_key,
    is_first_hop,
    knows,
    read_contacts,
    record_of,
)
from proxy.engine.digest import is_stale
from proxy.engine.effects import AskPlace, AskRegister, RegisterAsk, ReturnPlace
from proxy.engine.flowtoken import token_of
from proxy.engine.forward import Context, lower_max_forwards, next_group
from proxy.engine.lines import add, remove_all
from proxy.engine.registration import Answer, Go, Registration, refusal
from proxy.engine.trunks import trunk_targets
from proxy.sip.headers import parse_delta, parse_name_addrs

if TYPE_CHECKING:
    from policies.catalog import Trunk
    from policies.verdicts import PlaceVerdict, RegisterVerdict
    from proxy.engine.core import Core
    from proxy.sip.message import Response

HOLD_MARGIN: Final = 10.0
"""Seconds a place is held beyond the longest transaction, for the store to be asked after it."""

_CREDENTIALS: Final = ("authorization", "proxy-authorization")
_CHALLENGES: Final = ("www-authenticate", "proxy-authenticate")


class Passing:
    """What is remembered of a REGISTER while the other registrar has it."""

    __slots__ = ("asked", "place", "response", "trunk")

    def __init__(self, trunk: Trunk) -> None:
        self.trunk = trunk
        self.asked: list[Asked] = []
        self.place: PlaceHeld | None = None
        self.response: Response | None = None
        """The registrar's 200, kept until the store has it too."""


def begin(core: Core, registration: Registration) -> Answer | Go:
    """A REGISTER of such an account: `registration.account` is set."""
    account = registration.account
    if account.disabled:
        return refusal(core, Reason.ACCOUNT_DISABLED, "", None)
    limits = core.limits_of(account, registration.now)
    if isinstance(limits, NoPlan):
        return refusal(core, Reason.NO_PLAN, limits.mode, None)
    registration.limits = limits
    asked = read_contacts(core, registration, True)
    if isinstance(asked, Answer):
        return asked
    passing = registration.passing = Passing(core.snapshot.catalog.trunks[account.forward])
    passing.asked = asked
    if any(one.expires for one in asked):
        hold = 64 * core.snapshot.config.timers.t1 + HOLD_MARGIN
        core.out.append(AskPlace(account.aor, limits, hold, registration))
    else:
        _forward(core, registration, passing)
    return Go.ASKED


def place_decided(core: Core, registration: Registration, verdict: PlaceVerdict) -> Answer | None:
    """events.PlaceDecided. An answer: it goes no further."""
    passing = registration.passing
    assert passing is not None
    if isinstance(verdict, RegisterRefused):
        return refusal(core, verdict.reason, verdict.limit, None)
    if isinstance(verdict, PlaceHeld):
        passing.place = verdict
    elif core.snapshot.config.store.on_store_failure == "refuse":
        return refusal(core, Reason.STORE_UNAVAILABLE, "", None)
    if registration.txn.pending:
        _forward(core, registration, passing)
    else:
        give_back(core, registration)
    return None


def _forward(core: Core, registration: Registration, passing: Passing) -> None:
    request, txn = registration.request, registration.txn
    context = Context(txn, request, registration.source)
    context.registration = registration
    # RFC 5626 §5.1: the first hop of a client that registers flows says so by `ob`.
    flows = is_first_hop(registration) and any(flow_key(one.contact) for one in passing.asked)
    token = token_of(core, txn.flow, registration.account.aor)
    context.record_route = f";f={token}{';ob' if flows else ''}>"
    if not knows(registration, "path"):
        # RFC 3327 §5.3: a registrar that heeds the letter refuses a Path (420) whose client does not know it.
        # We differ: the client has nothing to do with ours, so we say `Supported: path` in its place.
        add(request, "supported", "Supported: path")
    # Where it goes is for the account's trunk to say.
    remove_all(request, "route")
    lower_max_forwards(request)
    txn.user = context
    context.groups = trunk_targets(
        core, passing.trunk, request.uri, True, core.finder.challengers.pop(request.call_id, None)
    )
    if context.groups:
        next_group(core, context, registration.now)
        return
    row, extra = core.refusal(Reason.TRUNK_DOWN, "", None)
    core.answer(txn, row.status, row.phrase, registration.now, extra)
    give_back(core, registration)


def accepted(core: Core, registration: Registration, response: Response, now: float) -> bool:
    """The registrar's 2xx. True: it waits for the store, which is told what holds there."""
    passing = registration.passing
    assert passing is not None
    registration.now = now
    registration.wall = now + core.wall_offset
    if core.guard.on:
        core.guard.proved(registration.source, registration.account.aor, now)
    if not passing.asked and not registration.remove_all:
        return False
    passing.response = response
    registration.contacts = _granted(core, registration, passing, response)
    core.out.append(
        AskRegister(
            RegisterAsk(
                aor=registration.aor,
                account=registration.account.aor,
                limits=registration.limits,
                call_id=registration.request.call_id,
                cseq=registration.request.cseq,
                contacts=registration.contacts,
                remove_all=registration.remove_all,
                nonce="",
                nc=0,
                user=registration,
            )
        )
    )
    return True


def _granted(
    core: Core, registration: Registration, passing: Passing, response: Response
) -> list[tuple[str, int, str]]:
    """Each contact asked for, with the interval that the registrar lists it with (RFC 3261 §10.2.4)."""
    header = response.value("expires")
    listed = {}
    for line in response.values("contact"):
        for contact in parse_name_addrs(line) or ():
            listed[flow_key(contact) or contact_key(contact.uri)] = contact
    # Where it lists us by a contact of its own making, the one just refreshed is the one that lasts longest.
    said = parse_delta(header) if header is not None else None
    longest = max((expires_of(contact, header, HOUR) for contact in listed.values()), default=said or HOUR)
    granted = []
    for one in passing.asked:
        found = listed.get(one.key)
        expires = min(one.expires, longest)
        if expires and found is not None:
            expires = expires_of(found, header, HOUR)
        granted.append((one.key, expires, record_of(core, registration, one, expires)))
    return granted


def decided(core: Core, registration: Registration, verdict: RegisterVerdict) -> Answer | None:
    """The store's word on what the registrar granted. None: the registrar's answer is passed to the client."""
    passing = registration.passing
    assert passing is not None
    if isinstance(verdict, RegisterRefused) and verdict.reason is Reason.SIP_ACCOUNTS:
        # The place was held for longer than a transaction lasts: only a limit lowered meanwhile gets here.
        return refusal(core, verdict.reason, verdict.limit, verdict.resets_in_ms)
    if isinstance(verdict, Unavailable) and core.snapshot.config.store.on_store_failure == "refuse":
        return refusal(core, Reason.STORE_UNAVAILABLE, "", None)
    # Too many contacts, or out of order: the registrar is the judge of these, and it has said yes.
    return None


def refused(core: Core, registration: Registration, response: Response | None, now: float) -> float:
    """The registrar did not say 200. Seconds that its answer waits; below 0: the client gets none.

    A wrong password there is one here, too: to the registrar all of them come from us, and it would shut us out.
    """
    give_back(core, registration)
    source, request = registration.source, registration.request
    if response is None or response.status not in (401, 403, 407):
        return 0.0
    if not core.guard.on or core.trunks_at(source.host) or not any(map(request.has, _CREDENTIALS)):
        return 0.0
    if any(is_stale(value) for key in _CHALLENGES for value in response.values(key)):
        return 0.0
    return core.guard.failed(source, registration.account.aor, now)


def give_back(core: Core, registration: Registration) -> None:
    """Its place among `sip_accounts` is free again."""
    passing = registration.passing
    if passing is None or passing.place is None or not passing.place.until_ms:
        return
    core.out.append(ReturnPlace(registration.account.aor, registration.limits, passing.place))
    passing.place = None
