"""CSeq numbers that we raise on the way, one direction of one dialog at a time (RFC 3261 §12.2.1.1, §22.2).

Whoever answers a challenge sends the request anew with a higher CSeq. When that is us, the sender knows nothing of it:
from then on its numbers are one lower than the ones the receiver has seen. So a `Renumbering` goes with each request
that is sent on, and the `Passage` of the dialog remembers it for those that follow: requests are raised, the responses
to them lowered by as much as their own request was, an ACK and a RAck (RFC 3262 §7.2) by as much as their INVITE.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from proxy.sip.grammar import CSEQ_MAX

if TYPE_CHECKING:
    from proxy.engine.call import Call, Dialog
    from proxy.sip.message import Request, Response

_RACK = re.compile(r"([0-9]+)[ \t]+([0-9]+)[ \t]+(\S+)")


class Renumbering:
    """How one request differs from the one that came: its CSeq number, and credentials of ours."""

    __slots__ = ("answers", "lines", "raised")

    def __init__(self, raised: int, lines: tuple[str, ...], answers: int) -> None:
        self.raised = raised
        """By how much its CSeq number is higher."""
        self.lines = lines
        """Authorization and Proxy-Authorization lines of ours."""
        self.answers = answers
        """How many challenges to it have been answered."""


class Passage:
    """One direction of one dialog whose numbers are raised."""

    __slots__ = ("ack", "invite", "raised")

    def __init__(self, raised: int) -> None:
        self.raised = raised
        self.invite = raised
        """By how much its last INVITE was raised, which its ACK and RAck speak of."""
        self.ack: tuple[str, ...] = ()
        """RFC 3261 §22.1: the ACK for a 2xx repeats the credentials of its INVITE."""


def passage(dialog: Dialog, from_caller: bool) -> Passage | None:
    """None: nothing is raised there."""
    return dialog.down if from_caller else dialog.up


def opened(dialog: Dialog, renumbering: Renumbering) -> None:
    """A dialog came of an INVITE that was raised."""
    dialog.down = Passage(renumbering.raised)
    dialog.down.ack = renumbering.lines


def sent(
    call: Call, dialog: Dialog | None, from_caller: bool, request: Request, renumbering: Renumbering
) -> None:
    """A raised request leaves: later ones of its sender follow it, our own among them."""
    sender = call.caller if from_caller or dialog is None else dialog.callee
    sender.cseq = max(sender.cseq, min(request.cseq + renumbering.raised, CSEQ_MAX))
    if dialog is None:
        return
    way = dialog.down if from_caller else dialog.up
    if way is None:
        way = Passage(0)
        if from_caller:
            dialog.down = way
        else:
            dialog.up = way
    way.raised = max(way.raised, renumbering.raised)
    if request.method == "INVITE":
        way.invite, way.ack = renumbering.raised, renumbering.lines


def raised_lines(request: Request, raised: int, rack: int = 0) -> list[str]:
    """The request's lines with CSeq raised and, in a PRACK, RAck by `rack`."""
    lines = list(request.lines)
    at = request.keys.index("cseq")
    lines[at] = f"CSeq: {min(request.cseq + raised, CSEQ_MAX)} {request.method}"
    if rack and "rack" in request.keys:
        at = request.keys.index("rack")
        found = _RACK.fullmatch(lines[at].partition(":")[2].strip(" \t"))
        if found is not None:
            lines[at] = f"RAck: {found[1]} {int(found[2]) + rack} {found[3]}"
    return lines


def lower(response: Response, raised: int) -> None:
    """In place: the number that the sender of the request knows."""
    at = response.keys.index("cseq")
    response.cseq = max(0, response.cseq - raised)
    response.lines[at] = f"CSeq: {response.cseq} {response.cseq_method}"
