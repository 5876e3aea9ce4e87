"""Writes docs/state-machines.md from the tables of the four machines, or checks that it is current.

python -m tests.sip.diagrams            writes it
python -m tests.sip.diagrams --check    fails when it differs
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Iterator
from pathlib import Path

from proxy.sip import client_invite, client_other, server_invite, server_other
from proxy.sip.fsm import Action, Delay, Machine, Reliable, Timer

MACHINES = (client_invite.MACHINE, client_other.MACHINE, server_invite.MACHINE, server_other.MACHINE)
PATH = Path(__file__).resolve().parents[2] / "docs" / "state-machines.md"

HEAD = """\
# The four transaction machines

Generated from the tables in `proxy/sip/{client,server}_{invite,other}.py` by `python -m tests.sip.diagrams`;
a test fails when this page is not current. § without a number is RFC 3261.

A row reads: in this state, on this input, do the actions and go to the next state. Not shown in the pictures, but
listed below them: what is absorbed. Actions are done in this order: what goes on the wire, the new state with its
timers, the word to the user (the engine), the end of what terminated.

| action | meaning |
| --- | --- |
"""


def words(member: enum.Enum) -> str:
    """TIMER_A → "Timer A", ACCEPTED → "Accepted", TIMER_CANCEL → "Timer CANCEL"."""
    name = member.name
    if name.startswith("TIMER_"):
        return f"Timer {name.removeprefix('TIMER_')}"
    return name.replace("_", " ").capitalize() if name != "ACK" else name


def actions(action: Action) -> str:
    return " + ".join(single.name or "" for single in Action if single and single & action) or "–"


def picture(machine: Machine) -> Iterator[str]:
    """The machine as a mermaid state diagram; inputs of one arrow share its label."""
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield f"    [*] --> {words(machine.states(0))}"
    arrows: dict[tuple[enum.IntEnum, enum.IntEnum], list[str]] = {}
    for (state, input_), (action, following, _) in machine.table.items():
        if action or following != state:
            label = words(input_) + (f" / {actions(action)}" if action else "")
            arrows.setdefault((state, following), []).append(label)
    for (state, following), labels in arrows.items():
        yield f"    {words(state)} --> {words(following)}: {'<br/>'.join(labels)}"
    yield f"    {words(machine.states(len(machine.states) - 1))} --> [*]"
    yield "```"


def timer(machine: Machine, started: Timer) -> str:
    text = f"{words(started.input)}: {started.delay.value}"
    if started.input == machine.repeat:
        text += ", doubling" + (" up to T2" if machine.capped else "")
    if started.delay is Delay.AT_LEAST_32S:
        text += " at least"
    if started.reliable is not Reliable.SAME:
        text += f" ({started.reliable.value} on a reliable transport)"
    return f"{text}, {started.rfc}"


def section(machine: Machine) -> Iterator[str]:
    yield ""
    yield f"## {machine.name[0].upper()}{machine.name[1:]} transaction"
    yield ""
    yield f"{machine.rfc}."
    yield ""
    yield from picture(machine)
    yield ""
    yield "Timers started by entering a state (none is ever stopped):"
    yield ""
    for state, started in machine.timers.items():
        if started:
            yield f"- {words(state)}: {'; '.join(timer(machine, each) for each in started)}"
    if machine.give_up is not None:
        yield f"- {words(machine.give_up)}: {Delay.LONG.value} from the EXPIRE action, §9.1"
    yield ""
    yield "| state | input | actions | next state | why |"
    yield "| --- | --- | --- | --- | --- |"
    for (state, input_), (action, following, why) in machine.table.items():
        if action or following != state:
            yield f"| {words(state)} | {words(input_)} | {actions(action)} | {words(following)} | {why} |"
    yield ""
    yield "Absorbed:"
    yield ""
    for state in machine.states:
        absorbed = [
            f"{words(input_)} ({why})"
            for (at, input_), (action, following, why) in machine.table.items()
            if at is state and not action and following is state
        ]
        yield f"- {words(state)}: {'; '.join(absorbed) if absorbed else 'nothing'}"


def page() -> str:
    """The whole page."""
    meanings = (
        (Action.SEND, "transmit the response the user passed"),
        (Action.KEEP, "it is from now on what a retransmitted request is answered with"),
        (Action.RESEND, "transmit again what was kept: the request, the ACK, the last response"),
        (Action.ACK, "build the ACK for this response, transmit it, keep it in place of the INVITE"),
        (Action.FORGET, "drop the request and the kept bytes: nothing can ask for them again"),
        (Action.BACKOFF, "start the retransmission timer again, its interval doubled up to the cap"),
        (Action.SLOW, "start the retransmission timer again with T2"),
        (Action.EXPIRE, "start the timer that gives up 64*T1 from now"),
        (Action.PASS, "pass the message to the user"),
        (Action.TIMEOUT, "tell the user that the peer stayed silent"),
        (Action.ERROR, "tell the user that the transport failed"),
    )
    assert [action for action, _ in meanings] == [action for action in Action if action], (
        "an action is not explained"
    )
    lines = [f"| {action.name} | {meaning} |" for action, meaning in meanings]
    for machine in MACHINES:
        lines += section(machine)
    return HEAD + "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        current = PATH.is_file() and PATH.read_text(encoding="utf-8") == page()
        print(f"{PATH.name} is {'current' if current else 'not current: python -m tests.sip.diagrams'}")
        return 0 if current else 1
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text(page(), encoding="utf-8")
    print(f"{PATH.name} written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
