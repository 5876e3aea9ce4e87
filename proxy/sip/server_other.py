"""The non-INVITE server transaction: RFC 3261 §17.2.2, figure 8, with RFC 4320.

Any request somebody sent us but INVITE and ACK, CANCEL too. It never sends by itself: the last response goes again
when the request comes again. SILENT is ours, for RFC 4320 §4.2: a request that cannot be answered in time gets no 408
and no answer at all, but its retransmissions are still known for what they are.

The user decides when 100 may be sent (RFC 4320 §4.1: over UDP not before Timer E would have reached T2).
Not here: transport errors. The state stays until Timer J, as RFC 6026 §7.1 has it for INVITE, and the user hears of a
failed flow by its own event. We differ: figure 8 terminates.
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
    SILENT = 3
    TERMINATED = 4


class Input(enum.IntEnum):
    REQUEST = fsm.REQUEST
    """The request again."""
    PROVISIONAL = 1
    """The user responds 100."""
    FINAL = 2
    """The user responds 200–699."""
    ABANDON = 3
    """The user will never respond."""
    TIMER_J = 4


_TRYING, _PROCEEDING, _COMPLETED, _SILENT, _TERMINATED = State
_ABSORB, _SEND, _RESEND = Action.ABSORB, Action.SEND, Action.RESEND
_FORGET, _KEEP = Action.FORGET, Action.KEEP

TABLE: Final[Table] = {
    # RFC 3261 §17.2.2: the user works on it, nothing sent yet.
    (_TRYING, Input.REQUEST): (_ABSORB, _TRYING, "§17.2.2"),
    (_TRYING, Input.PROVISIONAL): (_SEND | _KEEP, _PROCEEDING, "§17.2.2"),
    (_TRYING, Input.FINAL): (_SEND | _FORGET | _KEEP, _COMPLETED, "figure 8"),
    (_TRYING, Input.ABANDON): (_FORGET, _SILENT, "RFC 4320 §4.2"),
    (_TRYING, Input.TIMER_J): (_ABSORB, _TRYING, "not started yet"),
    # RFC 3261 §17.2.2: 100 sent.
    (_PROCEEDING, Input.REQUEST): (_RESEND, _PROCEEDING, "§17.2.2"),
    (_PROCEEDING, Input.PROVISIONAL): (_SEND | _KEEP, _PROCEEDING, "§17.2.2"),
    (_PROCEEDING, Input.FINAL): (_SEND | _FORGET | _KEEP, _COMPLETED, "§17.2.2"),
    (_PROCEEDING, Input.ABANDON): (_FORGET, _SILENT, "RFC 4320 §4.2"),
    (_PROCEEDING, Input.TIMER_J): (_ABSORB, _PROCEEDING, "not started yet"),
    # RFC 3261 §17.2.2: answered; stays to answer again.
    (_COMPLETED, Input.REQUEST): (_RESEND, _COMPLETED, "§17.2.2"),
    (_COMPLETED, Input.PROVISIONAL): (_ABSORB, _COMPLETED, "overtaken by the final response"),
    (_COMPLETED, Input.FINAL): (_ABSORB, _COMPLETED, "§17.2.2: discarded"),
    (_COMPLETED, Input.ABANDON): (_ABSORB, _COMPLETED, "answered already"),
    (_COMPLETED, Input.TIMER_J): (_ABSORB, _TERMINATED, "§17.2.2"),
    # RFC 4320 §4.2: given up without an answer; stays to absorb retransmissions.
    (_SILENT, Input.REQUEST): (_ABSORB, _SILENT, "RFC 4320 §4.2"),
    (_SILENT, Input.PROVISIONAL): (_ABSORB, _SILENT, "RFC 4320 §4.2: given up"),
    (_SILENT, Input.FINAL): (_ABSORB, _SILENT, "RFC 4320 §4.2: no late final response"),
    (_SILENT, Input.ABANDON): (_ABSORB, _SILENT, "given up already"),
    (_SILENT, Input.TIMER_J): (_ABSORB, _TERMINATED, "as §17.2.2 leaves Completed"),
    # Destroyed; only entries left in the timers' lanes, or a user too late, still know it.
    (_TERMINATED, Input.REQUEST): (_ABSORB, _TERMINATED, "destroyed"),
    (_TERMINATED, Input.PROVISIONAL): (_ABSORB, _TERMINATED, "RFC 4320 §4.2: not without its transaction"),
    (_TERMINATED, Input.FINAL): (_ABSORB, _TERMINATED, "RFC 4320 §4.2: not without its transaction"),
    (_TERMINATED, Input.ABANDON): (_ABSORB, _TERMINATED, "destroyed"),
    (_TERMINATED, Input.TIMER_J): (_ABSORB, _TERMINATED, "late"),
}

TIMERS: Final[TimerTable] = {
    State.TRYING: (),
    State.PROCEEDING: (),
    State.COMPLETED: (Timer(Input.TIMER_J, Delay.LONG, Reliable.ZERO, "§17.2.2"),),
    State.SILENT: (Timer(Input.TIMER_J, Delay.LONG, Reliable.ZERO, "§17.2.2"),),
    State.TERMINATED: (),
}

MACHINE: Final = Machine(
    name="non-INVITE server",
    rfc="RFC 3261 §17.2.2 with RFC 4320",
    number=3,
    invite=False,
    states=State,
    inputs=Input,
    table=TABLE,
    timers=TIMERS,
    settled=State.COMPLETED,
    by_class=(Input.PROVISIONAL, Input.PROVISIONAL, *[Input.FINAL] * 5),
    repeat=None,
    capped=True,
)
