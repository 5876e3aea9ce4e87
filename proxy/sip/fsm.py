"""The grammar of a state machine table, and its compilation into what the stack reads at full speed.

A machine is data: for every (state, input) the actions, the next state and why; for every state the timers that
entering it starts. Its file holds its whole truth. `Machine` refuses a table with a pair missing, and no input ever
raises or destroys state unless its row says so.

Timers are started by entering a state and are never stopped: one that fires in a state it means nothing to is a row
that says ABSORB. The actions of a row are done in a fixed order: what goes on the wire, then the new state with its
timers, then the user is told (so it may call back into the stack), then what terminated is let go of.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from proxy.sip.timers import Handler, Lane, Timers

if TYPE_CHECKING:
    from proxy.sip.transaction import TimerConfig

# A compiled cell is one int: the next state in the low three bits, the actions above. So a machine has at most eight
# states, and "nothing to do" is `cell == state`.
STATE_MASK: Final = 7


class Action(enum.IntFlag):
    """What a row asks for."""

    ABSORB = 0
    """Nothing, on purpose."""
    SEND = 1 << 3
    """Transmit the response the user passed."""
    KEEP = 1 << 4
    """It is from now on what a retransmitted request is answered with."""
    RESEND = 1 << 5
    """Transmit again what was kept: the request, the ACK, the last response. Nothing when nothing was kept."""
    ACK = 1 << 6
    """Build the ACK for this response (RFC 3261 §17.1.1.3), transmit it, keep it in place of the INVITE."""
    FORGET = 1 << 7
    """Drop the request and the kept bytes (before KEEP): nothing can ask for them again."""
    BACKOFF = 1 << 8
    """Start the retransmission timer again with its interval doubled, up to the machine's cap."""
    SLOW = 1 << 9
    """Start the retransmission timer again with T2."""
    EXPIRE = 1 << 10
    """Start the timer that gives up 64*T1 from now (RFC 3261 §9.1)."""
    PASS = 1 << 11
    """Pass the message to the user."""
    TIMEOUT = 1 << 12
    """Tell the user that the peer stayed silent."""
    ERROR = 1 << 13
    """Tell the user that the transport failed."""


class Delay(enum.Enum):
    """How long a timer runs when its state is entered; the value is how the documentation writes it."""

    T1 = "T1"
    T4 = "T4"
    LONG = "64*T1"
    AT_LEAST_32S = "32 s"
    """RFC 3261 §17.1.1.2 on Timer D: the peer's T1 is unknown, so this does not scale with ours."""


class Reliable(enum.Enum):
    """What becomes of a timer on a reliable transport."""

    SAME = "the same"
    OFF = "not started"
    ZERO = "0 s"
    """Fires at once: the state is left as it is entered."""


class Timer(NamedTuple):
    """A timer that entering a state starts."""

    input: enum.IntEnum
    delay: Delay
    reliable: Reliable
    rfc: str


Row = tuple[Action, enum.IntEnum, str]
"""Actions, next state, and why: the RFC section, or what makes the input meaningless here."""
Table = Mapping[tuple[enum.IntEnum, enum.IntEnum], Row]
TimerTable = Mapping[enum.IntEnum, tuple[Timer, ...]]

# Inputs that a stack feeds without asking which machine it has before it keep one number in all of them.
TRANSPORT_ERROR: Final = 0  # client machines
REQUEST: Final = 0  # server machines: a retransmission of the request


class Machine:
    """One of the four. States before the final response have the first numbers, TERMINATED has the last."""

    __slots__ = (
        "by_class",
        "capped",
        "give_up",
        "inputs",
        "invite",
        "name",
        "number",
        "repeat",
        "rfc",
        "settled",
        "states",
        "table",
        "timers",
    )

    def __init__(
        self,
        name: str,
        rfc: str,
        number: int,
        invite: bool,
        states: type[enum.IntEnum],
        inputs: type[enum.IntEnum],
        table: Table,
        timers: TimerTable,
        settled: enum.IntEnum,
        by_class: Sequence[enum.IntEnum],
        repeat: enum.IntEnum | None,
        capped: bool,
        give_up: enum.IntEnum | None = None,
    ) -> None:
        pairs = {(state, input_) for state in states for input_ in inputs}
        if table.keys() != pairs:
            raise ValueError(f"{name}: pairs missing {pairs - table.keys()}, unknown {table.keys() - pairs}")
        if timers.keys() != set(states):
            raise ValueError(f"{name}: every state says which timers it starts, if only ()")
        if [*states] != [*range(len(states))] or [*inputs] != [*range(len(inputs))] or len(states) > 8:
            raise ValueError(f"{name}: states and inputs are numbered from 0, at most 8 states")
        self.name = name
        self.rfc = rfc
        self.number = number
        """Index into `Counters.started` and `Counters.ended`."""
        self.invite = invite
        self.states = states
        self.inputs = inputs
        self.table = table
        self.timers = timers
        self.settled = int(settled)
        """The first state in which there is a final response; all before it are pending."""
        self.by_class = tuple(by_class)
        """The input for a response, by its class: seven entries, index status // 100."""
        self.repeat = repeat
        """The retransmission timer, Timer A, E or G."""
        self.capped = capped
        """Whether its interval stops growing at T2."""
        self.give_up = give_up
        """The timer that EXPIRE starts."""


class Plan:
    """A machine compiled for one stack and one kind of transport: ints, tuples and lanes only."""

    __slots__ = (
        "at_once",
        "backoff",
        "by_class",
        "cells",
        "entry",
        "give_up",
        "machine",
        "number",
        "patience",
        "reliable",
        "repeat",
        "settled",
        "terminated",
    )

    def __init__(
        self, machine: Machine, reliable: bool, config: TimerConfig, timers: Timers, handler: Handler
    ) -> None:
        self.machine = machine
        self.number = machine.number
        self.reliable = reliable
        self.settled = machine.settled
        self.terminated = len(machine.states) - 1
        self.by_class = tuple(int(input_) for input_ in machine.by_class)
        self.repeat = int(machine.repeat) if machine.repeat is not None else -1
        self.cells: tuple[tuple[int, ...], ...] = tuple(
            tuple(
                int(machine.table[state, input_][0]) | int(machine.table[state, input_][1])
                for input_ in machine.inputs
            )
            for state in machine.states
        )
        """cells[state][input] = actions | next state"""
        seconds = {
            Delay.T1: config.t1,
            Delay.T4: config.t4,
            Delay.LONG: 64 * config.t1,
            Delay.AT_LEAST_32S: max(32.0, 64 * config.t1),
        }
        entry: list[tuple[tuple[Lane, int], ...]] = []
        at_once: list[int] = []
        for state in machine.states:
            started = machine.timers[state]
            zero = [timer for timer in started if reliable and timer.reliable is Reliable.ZERO]
            kept = [timer for timer in started if not reliable or timer.reliable is Reliable.SAME]
            entry.append(tuple((timers.lane(seconds[t.delay], handler), int(t.input)) for t in kept))
            at_once.append(int(zero[0].input) if zero else -1)
        self.entry = tuple(entry)
        """entry[state] = the timers to start: (lane, input)"""
        self.at_once = tuple(at_once)
        """at_once[state] = the input of a timer of 0 s, or -1"""
        intervals = [config.t1 * 2**doubling for doubling in range(7)]
        if machine.capped:
            intervals = [interval for interval in intervals if interval < config.t2] + [config.t2]
        self.backoff = tuple(timers.lane(interval, handler) for interval in intervals)
        """backoff[n] = the lane of the interval after n retransmissions; the last one stays."""
        self.patience = timers.lane(64 * config.t1, handler)
        """The lane of the timer that EXPIRE starts; `give_up` is its input."""
        self.give_up = int(machine.give_up) if machine.give_up is not None else -1
