"""The INVITE client transaction: RFC 3261 §17.1.1, figure 5 as RFC 6026 §8.4 replaces it.

An INVITE we sent, until its final response is safely in. The ACK for 300–699 is made here, hop by hop, and again for
each time that response comes again; the ACK for a 2xx is the caller's, end to end. ACCEPTED stays 64*T1 to pass every
2xx (the UAS's retransmissions, and those of other forks) up to the user.

We differ from figure 5 in three rows, each marked. Not here: Timer C (RFC 3261 §16.6 step 11) is the engine's.
"""

from __future__ import annotations

import enum
from typing import Final

from proxy.sip import fsm
from proxy.sip.fsm import Action, Delay, Machine, Reliable, Table, Timer, TimerTable


class State(enum.IntEnum):
    CALLING = 0
    PROCEEDING = 1
    COMPLETED = 2
    ACCEPTED = 3
    TERMINATED = 4


class Input(enum.IntEnum):
    TRANSPORT_ERROR = fsm.TRANSPORT_ERROR
    PROVISIONAL = 1
    SUCCESS = 2
    FAILURE = 3
    """300–699"""
    CANCELLED = 4
    """The user sent a CANCEL for this INVITE."""
    TIMER_A = 5
    TIMER_B = 6
    TIMER_D = 7
    TIMER_M = 8
    TIMER_CANCEL = 9
    """64*T1 after the CANCEL; RFC 3261 §9.1 gives it no letter."""


_CALLING, _PROCEEDING, _COMPLETED, _ACCEPTED, _TERMINATED = State
_ABSORB, _PASS, _RESEND = Action.ABSORB, Action.PASS, Action.RESEND

TABLE: Final[Table] = {
    # RFC 3261 §17.1.1.2: sent, nothing heard yet.
    (_CALLING, Input.TRANSPORT_ERROR): (Action.ERROR, _TERMINATED, "§17.1.4"),
    (_CALLING, Input.PROVISIONAL): (_PASS, _PROCEEDING, "§17.1.1.2"),
    (_CALLING, Input.SUCCESS): (_PASS | Action.FORGET, _ACCEPTED, "RFC 6026 §7.2"),
    (_CALLING, Input.FAILURE): (_PASS | Action.ACK, _COMPLETED, "§17.1.1.2, §17.1.1.3"),
    (_CALLING, Input.CANCELLED): (Action.EXPIRE, _CALLING, "§9.1"),
    (_CALLING, Input.TIMER_A): (_RESEND | Action.BACKOFF, _CALLING, "§17.1.1.2"),
    (_CALLING, Input.TIMER_B): (Action.TIMEOUT, _TERMINATED, "§17.1.1.2"),
    (_CALLING, Input.TIMER_D): (_ABSORB, _CALLING, "not started yet"),
    (_CALLING, Input.TIMER_M): (_ABSORB, _CALLING, "not started yet"),
    (_CALLING, Input.TIMER_CANCEL): (_ABSORB, _CALLING, "Timer B was first"),
    # RFC 3261 §17.1.1.2: the peer works on it. Nothing limits this state but the user (Timer C, then CANCEL).
    # We differ: figure 5 has no transport error here. Without its connection this branch is as good as refused (§16.9).
    (_PROCEEDING, Input.TRANSPORT_ERROR): (Action.ERROR, _TERMINATED, "§16.9: we differ"),
    (_PROCEEDING, Input.PROVISIONAL): (_PASS, _PROCEEDING, "§17.1.1.2"),
    (_PROCEEDING, Input.SUCCESS): (_PASS | Action.FORGET, _ACCEPTED, "RFC 6026 §7.2"),
    (_PROCEEDING, Input.FAILURE): (_PASS | Action.ACK, _COMPLETED, "§17.1.1.2, §17.1.1.3"),
    (_PROCEEDING, Input.CANCELLED): (Action.EXPIRE, _PROCEEDING, "§9.1"),
    (_PROCEEDING, Input.TIMER_A): (_ABSORB, _PROCEEDING, "late: §17.1.1.2 retransmits in Calling only"),
    (_PROCEEDING, Input.TIMER_B): (_ABSORB, _PROCEEDING, "late: §17.1.1.2 times out in Calling only"),
    (_PROCEEDING, Input.TIMER_D): (_ABSORB, _PROCEEDING, "not started yet"),
    (_PROCEEDING, Input.TIMER_M): (_ABSORB, _PROCEEDING, "not started yet"),
    (_PROCEEDING, Input.TIMER_CANCEL): (Action.TIMEOUT, _TERMINATED, "§9.1"),
    # RFC 3261 §17.1.1.2: 300–699 received and acknowledged; stays to acknowledge it again.
    # We differ: figure 5 informs the user of a transport error here; it has its final response and nothing left to do.
    (_COMPLETED, Input.TRANSPORT_ERROR): (_ABSORB, _TERMINATED, "figure 5, but untold: we differ"),
    (_COMPLETED, Input.PROVISIONAL): (_ABSORB, _COMPLETED, "overtaken by the final response"),
    # We differ: figure 5 has no 2xx here, but a fork downstream may answer after another one sent 6xx, and §16.7
    # step 5 wants each 2xx forwarded. Dropped here, the callee's dialog would have no one to end it.
    (_COMPLETED, Input.SUCCESS): (_PASS, _COMPLETED, "§16.7 step 5: we differ"),
    (_COMPLETED, Input.FAILURE): (_RESEND, _COMPLETED, "§17.1.1.2"),
    (_COMPLETED, Input.CANCELLED): (_ABSORB, _COMPLETED, "crossed the final response"),
    (_COMPLETED, Input.TIMER_A): (_ABSORB, _COMPLETED, "late"),
    (_COMPLETED, Input.TIMER_B): (_ABSORB, _COMPLETED, "late"),
    (_COMPLETED, Input.TIMER_D): (_ABSORB, _TERMINATED, "§17.1.1.2"),
    (_COMPLETED, Input.TIMER_M): (_ABSORB, _COMPLETED, "not started"),
    (_COMPLETED, Input.TIMER_CANCEL): (_ABSORB, _COMPLETED, "late"),
    # RFC 6026 §7.2: answered; stays for every further 2xx.
    (_ACCEPTED, Input.TRANSPORT_ERROR): (_ABSORB, _ACCEPTED, "RFC 6026 §8.4: nothing is sent any more"),
    (_ACCEPTED, Input.PROVISIONAL): (_ABSORB, _ACCEPTED, "overtaken by the final response"),
    (_ACCEPTED, Input.SUCCESS): (_PASS, _ACCEPTED, "RFC 6026 §7.2"),
    (_ACCEPTED, Input.FAILURE): (_ABSORB, _ACCEPTED, "RFC 6026 §8.4: only 2xx counts now"),
    (_ACCEPTED, Input.CANCELLED): (_ABSORB, _ACCEPTED, "crossed the 2xx"),
    (_ACCEPTED, Input.TIMER_A): (_ABSORB, _ACCEPTED, "late"),
    (_ACCEPTED, Input.TIMER_B): (_ABSORB, _ACCEPTED, "late"),
    (_ACCEPTED, Input.TIMER_D): (_ABSORB, _ACCEPTED, "not started"),
    (_ACCEPTED, Input.TIMER_M): (_ABSORB, _TERMINATED, "RFC 6026 §7.2"),
    (_ACCEPTED, Input.TIMER_CANCEL): (_ABSORB, _ACCEPTED, "late"),
    # Destroyed; only entries left in the timers' lanes still know it.
    (_TERMINATED, Input.TRANSPORT_ERROR): (_ABSORB, _TERMINATED, "destroyed"),
    (_TERMINATED, Input.PROVISIONAL): (_ABSORB, _TERMINATED, "destroyed"),
    (_TERMINATED, Input.SUCCESS): (_ABSORB, _TERMINATED, "destroyed"),
    (_TERMINATED, Input.FAILURE): (_ABSORB, _TERMINATED, "destroyed"),
    (_TERMINATED, Input.CANCELLED): (_ABSORB, _TERMINATED, "destroyed"),
    (_TERMINATED, Input.TIMER_A): (_ABSORB, _TERMINATED, "late"),
    (_TERMINATED, Input.TIMER_B): (_ABSORB, _TERMINATED, "late"),
    (_TERMINATED, Input.TIMER_D): (_ABSORB, _TERMINATED, "late"),
    (_TERMINATED, Input.TIMER_M): (_ABSORB, _TERMINATED, "late"),
    (_TERMINATED, Input.TIMER_CANCEL): (_ABSORB, _TERMINATED, "late"),
}

TIMERS: Final[TimerTable] = {
    State.CALLING: (
        Timer(Input.TIMER_A, Delay.T1, Reliable.OFF, "§17.1.1.2"),
        Timer(Input.TIMER_B, Delay.LONG, Reliable.SAME, "§17.1.1.2"),
    ),
    State.PROCEEDING: (),
    State.COMPLETED: (Timer(Input.TIMER_D, Delay.AT_LEAST_32S, Reliable.ZERO, "§17.1.1.2"),),
    State.ACCEPTED: (Timer(Input.TIMER_M, Delay.LONG, Reliable.SAME, "RFC 6026 §7.2"),),
    State.TERMINATED: (),
}

MACHINE: Final = Machine(
    name="INVITE client",
    rfc="RFC 3261 §17.1.1 with RFC 6026",
    number=0,
    invite=True,
    states=State,
    inputs=Input,
    table=TABLE,
    timers=TIMERS,
    settled=State.COMPLETED,
    by_class=(Input.PROVISIONAL, Input.PROVISIONAL, Input.SUCCESS, *[Input.FAILURE] * 4),
    repeat=Input.TIMER_A,
    capped=False,
    give_up=Input.TIMER_CANCEL,
)
