"""The non-INVITE client transaction: RFC 3261 §17.1.2, figure 6.

Any request we sent but INVITE and ACK, CANCEL too. It is repeated over UDP until a final response comes, also after a
provisional one: the server says its last word again only when asked again. The first final is passed up, the rest
absorbed. When none comes there is no answer to pass on either (RFC 4320 §4.2 forbids 408): the engine abandons.
"""

from __future__ import annotations

import enum
from typing import Final

from proxy.sip import fsm
from proxy.sip.fsm import Action, Delay, Machine, Reliable, Table, Timer, TimerTable


class State(enum.IntEnum):
    TRYING = 0
    PROCEEDING = 1
    COMPLETED = 2
    TERMINATED = 3


class Input(enum.IntEnum):
    TRANSPORT_ERROR = fsm.TRANSPORT_ERROR
    PROVISIONAL = 1
    FINAL = 2
    TIMER_E = 3
    TIMER_F = 4
    TIMER_K = 5


_TRYING, _PROCEEDING, _COMPLETED, _TERMINATED = State
_ABSORB, _PASS, _RESEND = Action.ABSORB, Action.PASS, Action.RESEND

TABLE: Final[Table] = {
    # RFC 3261 §17.1.2.2: sent, nothing heard yet.
    (_TRYING, Input.TRANSPORT_ERROR): (Action.ERROR, _TERMINATED, "§17.1.4"),
    (_TRYING, Input.PROVISIONAL): (_PASS, _PROCEEDING, "§17.1.2.2"),
    (_TRYING, Input.FINAL): (_PASS | Action.FORGET, _COMPLETED, "§17.1.2.2"),
    (_TRYING, Input.TIMER_E): (_RESEND | Action.BACKOFF, _TRYING, "§17.1.2.2"),
    (_TRYING, Input.TIMER_F): (Action.TIMEOUT, _TERMINATED, "§17.1.2.2"),
    (_TRYING, Input.TIMER_K): (_ABSORB, _TRYING, "not started yet"),
    # RFC 3261 §17.1.2.2: the peer works on it. Timers E and F started in Trying and run on.
    (_PROCEEDING, Input.TRANSPORT_ERROR): (Action.ERROR, _TERMINATED, "§17.1.4"),
    (_PROCEEDING, Input.PROVISIONAL): (_PASS, _PROCEEDING, "figure 6"),
    (_PROCEEDING, Input.FINAL): (_PASS | Action.FORGET, _COMPLETED, "§17.1.2.2"),
    (_PROCEEDING, Input.TIMER_E): (_RESEND | Action.SLOW, _PROCEEDING, "§17.1.2.2"),
    (_PROCEEDING, Input.TIMER_F): (Action.TIMEOUT, _TERMINATED, "§17.1.2.2"),
    (_PROCEEDING, Input.TIMER_K): (_ABSORB, _PROCEEDING, "not started yet"),
    # RFC 3261 §17.1.2.2: answered; stays to buffer retransmissions of the answer.
    (_COMPLETED, Input.TRANSPORT_ERROR): (_ABSORB, _COMPLETED, "figure 6: nothing is sent any more"),
    (_COMPLETED, Input.PROVISIONAL): (_ABSORB, _COMPLETED, "overtaken by the final response"),
    (_COMPLETED, Input.FINAL): (_ABSORB, _COMPLETED, "§17.1.2.2: a retransmission"),
    (_COMPLETED, Input.TIMER_E): (_ABSORB, _COMPLETED, "late"),
    (_COMPLETED, Input.TIMER_F): (_ABSORB, _COMPLETED, "late"),
    (_COMPLETED, Input.TIMER_K): (_ABSORB, _TERMINATED, "§17.1.2.2"),
    # Destroyed; only entries left in the timers' lanes still know it.
    (_TERMINATED, Input.TRANSPORT_ERROR): (_ABSORB, _TERMINATED, "destroyed"),
    (_TERMINATED, Input.PROVISIONAL): (_ABSORB, _TERMINATED, "destroyed"),
    (_TERMINATED, Input.FINAL): (_ABSORB, _TERMINATED, "destroyed"),
    (_TERMINATED, Input.TIMER_E): (_ABSORB, _TERMINATED, "late"),
    (_TERMINATED, Input.TIMER_F): (_ABSORB, _TERMINATED, "late"),
    (_TERMINATED, Input.TIMER_K): (_ABSORB, _TERMINATED, "late"),
}

TIMERS: Final[TimerTable] = {
    State.TRYING: (
        Timer(Input.TIMER_E, Delay.T1, Reliable.OFF, "§17.1.2.2"),
        Timer(Input.TIMER_F, Delay.LONG, Reliable.SAME, "§17.1.2.2"),
    ),
    State.PROCEEDING: (),
    State.COMPLETED: (Timer(Input.TIMER_K, Delay.T4, Reliable.ZERO, "§17.1.2.2"),),
    State.TERMINATED: (),
}

MACHINE: Final = Machine(
    name="non-INVITE client",
    rfc="RFC 3261 §17.1.2",
    number=1,
    invite=False,
    states=State,
    inputs=Input,
    table=TABLE,
    timers=TIMERS,
    settled=State.COMPLETED,
    by_class=(Input.PROVISIONAL, Input.PROVISIONAL, *[Input.FINAL] * 5),
    repeat=Input.TIMER_E,
    capped=True,
)
