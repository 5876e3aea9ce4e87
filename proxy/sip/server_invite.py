"""The INVITE server transaction: RFC 3261 §17.2.1, figure 7 as RFC 6026 §8.6 replaces it.

An INVITE somebody sent us, until its final response is safely there. A 300–699 is repeated until its ACK comes, which
ends here; a 2xx is passed on as often as the user passes one, and repeated by the UAS alone, end to end. ACCEPTED
stays 64*T1 to absorb retransmissions of the INVITE. The 100 (Trying) is the user's, at once.

Not here: transport errors. RFC 6026 §7.1 keeps the state, and the user hears of a failed flow by its own event.
"""

from __future__ import annotations

import enum
from typing import Final

from proxy.sip import fsm
from proxy.sip.fsm import Action, Delay, Machine, Reliable, Table, Timer, TimerTable


class State(enum.IntEnum):
    PROCEEDING = 0
    COMPLETED = 1
    CONFIRMED = 2
    ACCEPTED = 3
    TERMINATED = 4


class Input(enum.IntEnum):
    REQUEST = fsm.REQUEST
    """The INVITE again."""
    ACK = 1
    PROVISIONAL = 2
    """The user responds 100–199."""
    SUCCESS = 3
    """The user responds 2xx."""
    FAILURE = 4
    """The user responds 300–699."""
    TIMER_G = 5
    TIMER_H = 6
    TIMER_I = 7
    TIMER_L = 8


_PROCEEDING, _COMPLETED, _CONFIRMED, _ACCEPTED, _TERMINATED = State
_ABSORB, _SEND, _RESEND = Action.ABSORB, Action.SEND, Action.RESEND
_FORGET, _KEEP = Action.FORGET, Action.KEEP

TABLE: Final[Table] = {
    # RFC 3261 §17.2.1: the user works on it. Nothing limits this state but the user.
    (_PROCEEDING, Input.REQUEST): (_RESEND, _PROCEEDING, "§17.2.1: the last provisional again"),
    (_PROCEEDING, Input.ACK): (_ABSORB, _PROCEEDING, "nothing to acknowledge yet"),
    (_PROCEEDING, Input.PROVISIONAL): (_SEND | _KEEP, _PROCEEDING, "§17.2.1"),
    (_PROCEEDING, Input.SUCCESS): (_SEND | _FORGET, _ACCEPTED, "RFC 6026 §7.1"),
    (_PROCEEDING, Input.FAILURE): (_SEND | _FORGET | _KEEP, _COMPLETED, "§17.2.1"),
    (_PROCEEDING, Input.TIMER_G): (_ABSORB, _PROCEEDING, "not started yet"),
    (_PROCEEDING, Input.TIMER_H): (_ABSORB, _PROCEEDING, "not started yet"),
    (_PROCEEDING, Input.TIMER_I): (_ABSORB, _PROCEEDING, "not started yet"),
    (_PROCEEDING, Input.TIMER_L): (_ABSORB, _PROCEEDING, "not started yet"),
    # RFC 3261 §17.2.1: 300–699 sent, waiting for its ACK.
    (_COMPLETED, Input.REQUEST): (_RESEND, _COMPLETED, "§17.2.1"),
    (_COMPLETED, Input.ACK): (_FORGET, _CONFIRMED, "§17.2.1"),
    (_COMPLETED, Input.PROVISIONAL): (_ABSORB, _COMPLETED, "overtaken by the final response"),
    # RFC 3261 §16.7 step 5: after another final response a 2xx, and only that, is still forwarded.
    (_COMPLETED, Input.SUCCESS): (_SEND, _COMPLETED, "§16.7 step 5"),
    (_COMPLETED, Input.FAILURE): (_ABSORB, _COMPLETED, "§16.7 step 5: one such final only"),
    (_COMPLETED, Input.TIMER_G): (_RESEND | Action.BACKOFF, _COMPLETED, "§17.2.1"),
    (_COMPLETED, Input.TIMER_H): (Action.TIMEOUT, _TERMINATED, "§17.2.1"),
    (_COMPLETED, Input.TIMER_I): (_ABSORB, _COMPLETED, "not started yet"),
    (_COMPLETED, Input.TIMER_L): (_ABSORB, _COMPLETED, "not started"),
    # RFC 3261 §17.2.1: acknowledged; stays to absorb further ACKs.
    (_CONFIRMED, Input.REQUEST): (_ABSORB, _CONFIRMED, "figure 7: overtaken by its ACK"),
    (_CONFIRMED, Input.ACK): (_ABSORB, _CONFIRMED, "§17.2.1"),
    (_CONFIRMED, Input.PROVISIONAL): (_ABSORB, _CONFIRMED, "overtaken by the final response"),
    (_CONFIRMED, Input.SUCCESS): (_SEND, _CONFIRMED, "§16.7 step 5"),
    (_CONFIRMED, Input.FAILURE): (_ABSORB, _CONFIRMED, "§16.7 step 5: one such final only"),
    (_CONFIRMED, Input.TIMER_G): (_ABSORB, _CONFIRMED, "late: §17.2.1 ignores it here"),
    (_CONFIRMED, Input.TIMER_H): (_ABSORB, _CONFIRMED, "late"),
    (_CONFIRMED, Input.TIMER_I): (_ABSORB, _TERMINATED, "§17.2.1"),
    (_CONFIRMED, Input.TIMER_L): (_ABSORB, _CONFIRMED, "not started"),
    # RFC 6026 §7.1: 2xx sent; stays to absorb retransmissions of the INVITE.
    (_ACCEPTED, Input.REQUEST): (_ABSORB, _ACCEPTED, "RFC 6026 §7.1: the UAS repeats its 2xx"),
    (_ACCEPTED, Input.ACK): (Action.PASS, _ACCEPTED, "RFC 6026 §7.1"),
    (_ACCEPTED, Input.PROVISIONAL): (_ABSORB, _ACCEPTED, "overtaken by the final response"),
    (_ACCEPTED, Input.SUCCESS): (_SEND, _ACCEPTED, "RFC 6026 §7.1"),
    (_ACCEPTED, Input.FAILURE): (_ABSORB, _ACCEPTED, "§16.7 step 5: only 2xx counts now"),
    (_ACCEPTED, Input.TIMER_G): (_ABSORB, _ACCEPTED, "not started"),
    (_ACCEPTED, Input.TIMER_H): (_ABSORB, _ACCEPTED, "not started"),
    (_ACCEPTED, Input.TIMER_I): (_ABSORB, _ACCEPTED, "not started"),
    (_ACCEPTED, Input.TIMER_L): (_ABSORB, _TERMINATED, "RFC 6026 §7.1"),
    # Destroyed; only entries left in the timers' lanes, or a user too late, still know it.
    (_TERMINATED, Input.REQUEST): (_ABSORB, _TERMINATED, "destroyed"),
    (_TERMINATED, Input.ACK): (_ABSORB, _TERMINATED, "destroyed"),
    (_TERMINATED, Input.PROVISIONAL): (_ABSORB, _TERMINATED, "RFC 6026 §6: not without its transaction"),
    (_TERMINATED, Input.SUCCESS): (_ABSORB, _TERMINATED, "RFC 6026 §6: not without its transaction"),
    (_TERMINATED, Input.FAILURE): (_ABSORB, _TERMINATED, "RFC 6026 §6: not without its transaction"),
    (_TERMINATED, Input.TIMER_G): (_ABSORB, _TERMINATED, "late"),
    (_TERMINATED, Input.TIMER_H): (_ABSORB, _TERMINATED, "late"),
    (_TERMINATED, Input.TIMER_I): (_ABSORB, _TERMINATED, "late"),
    (_TERMINATED, Input.TIMER_L): (_ABSORB, _TERMINATED, "late"),
}

TIMERS: Final[TimerTable] = {
    State.PROCEEDING: (),
    State.COMPLETED: (
        Timer(Input.TIMER_G, Delay.T1, Reliable.OFF, "§17.2.1"),
        Timer(Input.TIMER_H, Delay.LONG, Reliable.SAME, "§17.2.1"),
    ),
    State.CONFIRMED: (Timer(Input.TIMER_I, Delay.T4, Reliable.ZERO, "§17.2.1"),),
    State.ACCEPTED: (Timer(Input.TIMER_L, Delay.LONG, Reliable.SAME, "RFC 6026 §7.1"),),
    State.TERMINATED: (),
}

MACHINE: Final = Machine(
    name="INVITE server",
    rfc="RFC 3261 §17.2.1 with RFC 6026",
    number=2,
    invite=True,
    states=State,
    inputs=Input,
    table=TABLE,
    timers=TIMERS,
    settled=State.COMPLETED,
    by_class=(Input.PROVISIONAL, Input.PROVISIONAL, Input.SUCCESS, *[Input.FAILURE] * 4),
    repeat=Input.TIMER_G,
    capped=True,
)
