"""A call that takes another one's place (RFC 3891): the lease follows it, and is neither dropped nor held twice.

An INVITE with Replaces ends the dialog it names as soon as it is answered: what rings there is the rest of an attended
transfer or a call picked up. To the party that is reached (and to a transferor who pays for both calls) it is one call
going on, on one line. So where a leg of the new call would be charged to the payer, in the mode, of the same party's
leg in the call named, nothing is asked of the store: the new call *borrows* that leg, and gets it with its 2xx: same
lease, same moment of answer, same end of call_duration, one drain of total_duration. Until then the old call keeps it,
and goes on with it when the new one fails; when the old one ends first, the leg passes on at that moment.

What is left of the old call is to be ended by its parties; what still runs 8*T1 later is cut by us, or two calls would
run on one lease; until then the new one lends its legs to nobody, or ten would. A leg that is not the same party's, and
a REFER without Replaces, is a call like any other: its own admission, and the old lease goes with the old BYE. So is a
call that another instance carries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.engine.call import Call, CallState, Handover
from proxy.engine.running import leave
from proxy.sip.headers import parse_params

if TYPE_CHECKING:
    from policies.account import Limit
    from policies.lease import Leg
    from proxy.engine.core import Core
    from proxy.sip.message import Request


def borrow(core: Core, call: Call, request: Request) -> None:
    """The new call's legs that need no lease of their own are taken off it; each is lent by the call it replaces."""
    found = _replaced(core, request)
    if found is None:
        return
    donor, of_caller = found
    lent: list[Leg] = []
    own: list[Leg] = []
    for leg in call.legs:
        # The callee of the new call is the party whose dialog is named; the caller stands in for the other one.
        from_caller = of_caller if leg.direction == "in" else not of_caller
        old = _leg_of(donor, "out" if from_caller else "in")
        if old is not None and _continues(old, leg):
            lent.append(old)
            leave(core, leg)
        else:
            own.append(leg)
    if lent:
        call.legs = tuple(own)
        for leg in own:
            leg.tentative, leg.before = False, None
        call.handover = donor.handover = Handover(donor, call, tuple(lent))


def _replaced(core: Core, request: Request) -> tuple[Call, bool] | None:
    """The live call that the INVITE names, and whether the party it reaches is that call's caller."""
    values = request.values("replaces")
    if len(values) != 1:
        # RFC 3891 §3: more than one is an error, for the UAS to tell.
        return None
    call_id, semicolon, rest = values[0].partition(";")
    params = parse_params(semicolon + rest)
    if params is None:
        return None
    to_tag, from_tag = params.get("to-tag"), params.get("from-tag")
    for donor in core.by_call_id.get(call_id.strip(" \t"), ()):
        if donor.state not in (CallState.TRYING, CallState.ANSWERED) or donor.handover is not None:
            continue
        if donor.heir_of is not None and donor.heir_of.state < CallState.CUTTING:
            continue
        # RFC 3891 §3: to-tag is the tag of who receives the INVITE, from-tag that of the other end.
        for mine, other, of_caller in ((to_tag, from_tag, True), (from_tag, to_tag, False)):
            if mine != donor.caller.tag or not other:
                continue
            dialog = donor.dialog(other)
            if dialog is not None and not dialog.over:
                return donor, of_caller
    return None


def _leg_of(call: Call, direction: str) -> Leg | None:
    for leg in call.legs[: call.leg_index]:
        if leg.direction == direction and not leg.released:
            return leg
    return None


def _continues(old: Leg, new: Leg) -> bool:
    """Whether the new leg is, for its payer, the old one going on."""
    limits = new.limits
    if old.limits.payer != limits.payer or old.limits.mode != limits.mode:
        return False
    if new.direction == "in":
        # Who is reached made no call of its own.
        return old.account == new.account
    # Another answered call that the payer has made is one for success_calls; and what was not counted must not go on
    # uncounted where it would be.
    if limits.success_calls is not None and limits.success_calls.applies(new.direction):
        return False
    return _alike(limits.total_duration, old, new) and _alike(limits.call_duration, old, new)


def _alike(limit: Limit | None, old: Leg, new: Leg) -> bool:
    return limit is None or limit.applies(old.direction) == limit.applies(new.direction)


def hand_over(core: Core, call: Call, now: float) -> None:
    """The call is about to be answered: the legs it borrowed are its own from here on."""
    handover = call.handover
    if handover is None or handover.done or handover.heir is not call:
        return
    _pass_on(handover)
    handover.done = True
    # For its record, which is still to come.
    handover.donor.handover = handover
    call.heir_of = handover.donor
    core.timers.after(8 * core.snapshot.config.timers.t1, core.on_replaced, handover, 0, now)


def over(call: Call, handover: Handover) -> Call | None:
    """One of the two calls ends, and gives back what it holds. Returns the other one where it holds that now."""
    if handover.done:
        return None
    if call is handover.donor:
        # The other one goes on, and needs what this one held.
        _pass_on(handover)
        return handover.heir
    handover.donor.handover = call.handover = None
    return None


def _pass_on(handover: Handover) -> None:
    donor, heir, legs = handover.donor, handover.heir, handover.legs
    donor.legs = tuple(leg for leg in donor.legs if leg not in legs)
    donor.leg_index = min(donor.leg_index, len(donor.legs))
    # First among the heir's, where those stand that are taken.
    heir.legs = (*legs, *heir.legs)
    heir.leg_index += len(legs)
    for leg in legs:
        leg.call = heir
    donor.handover = heir.handover = None
