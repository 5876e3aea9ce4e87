"""What of a call stands in the store from its answer on, so that it outlives its process (policies/heritage.py).

The text is lines, as that of bindings: nothing in a SIP message holds a line feed, and one split reads it. It is
written once, at the answer: what in-dialog requests change later (remote targets, CSeq numbers) is not in it, for these
cost no trip to the store. So a call that is taken up numbers its BYEs far above what its sides can have seen meanwhile.

Not here: early dialogs and further forks of one call; they end with the process that knew them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.lease import Leg
from proxy.engine.call import Call, CallState, Dialog, Peer
from proxy.engine.cseq import Passage
from proxy.engine.record import CallRecord
from proxy.sip.grammar import CSEQ_MAX

if TYPE_CHECKING:
    from policies.account import Mode
    from proxy.engine.core import Core
    from proxy.sip.flow import Flow

_VERSION = "1"
CSEQ_LEAP = 1000
"""RFC 3261 §12.2.1.1 wants a higher number, and §12.2.2 lets it be higher by more than one."""


def dialog_text(core: Core, call: Call, dialog: Dialog) -> str:
    """The call as it stands at the answer that makes this its dialog."""
    record = call.record
    offset = core.wall_offset
    lines = [
        _VERSION,
        call.token,
        call.call_id,
        str(int((_talks_since(call) + offset) * 1000)),
        str(int((record.started_at + offset) * 1000)),
        record.caller,
        record.callee,
        record.trunk,
        str(len(call.legs)),
    ]
    for leg in call.legs:
        limits = leg.limits
        lines += (leg.lease, leg.direction, leg.account, limits.payer, limits.mode)
    _add_peer(lines, call.caller)
    _add_peer(lines, dialog.callee)
    # By how much the caller's CSeq numbers are raised on their way (cseq.py).
    lines.append("0" if dialog.down is None else str(dialog.down.raised))
    return "\n".join(lines)


def _talks_since(call: Call) -> float:
    """The answer of its first leg: one that a transfer brought along was answered before (replaces.py)."""
    since = call.record.answered_at or 0.0
    for leg in call.legs:
        if leg.answered and leg.answered_at < since:
            since = leg.answered_at
    return since


def _add_peer(lines: list[str], peer: Peer) -> None:
    flow = peer.flow
    local = flow.local
    trunk = peer.trunk
    lines += (
        flow.transport,
        flow.host,
        str(flow.port),
        local.host,
        str(local.port),
        peer.tag,
        peer.line,
        peer.target,
        trunk.name if trunk is not None else "",
        str(peer.cseq),
        str(len(peer.routes)),
        *peer.routes,
    )


def read_dialog(core: Core, text: str, now: float) -> Call | None:
    """The call, answered, with its legs as limits are now. None: another version wrote the text, or no payer or socket
    of ours fits it."""
    lines = _Lines(text)
    try:
        return _read(core, lines, now) if lines.next() == _VERSION else None
    except ValueError:
        return None


class _Lines:
    """A text, line by line."""

    __slots__ = ("_at", "_lines")

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        self._at = 0

    def next(self) -> str:
        """Raises: ValueError at the end."""
        return self.some(1)[0]

    def some(self, count: int) -> list[str]:
        """Raises: ValueError when there are not so many."""
        found = self._lines[self._at : self._at + count]
        if len(found) != count:
            raise ValueError
        self._at += count
        return found


def _read(core: Core, lines: _Lines, now: float) -> Call | None:
    token, call_id = lines.some(2)
    answered_at, started_at = [int(text) / 1000 - core.wall_offset for text in lines.some(2)]
    caller_name, callee_name, trunk = lines.some(3)
    told_legs = [lines.some(5) for _ in range(int(lines.next()))]
    caller = _read_peer(core, lines)
    callee = _read_peer(core, lines)
    raised = int(lines.next())
    if caller is None or callee is None:
        return None
    record = CallRecord(call_id, caller.tag, caller_name, callee_name, started_at)
    record.answered_at, record.status, record.decision, record.trunk = answered_at, 200, "admitted", trunk
    call = Call(token, call_id, caller, record, None)
    call.taken_up = True
    legs: list[Leg] = []
    for lease, direction, account, payer, mode in told_legs:
        limits = core.limits_of_payer(payer, _mode(mode), now)
        if limits is None:
            return None
        leg = Leg(
            lease=lease,
            limits=limits,
            direction="in" if direction == "in" else "out",
            account=account,
            aor="",
            nonce="",
            nc=0,
            call=call,
        )
        leg.answered = True
        leg.answered_at = answered_at
        legs.append(leg)
        found = core.snapshot.catalog.accounts.get(account)
        if leg.direction == "in":
            call.callee_account = found
        else:
            call.caller_account = found
        record.payers.append(payer)
        if not record.mode:
            record.mode, record.direction = mode, direction
    call.caller_trunk, call.route_trunk = caller.trunk, callee.trunk
    call.legs = tuple(legs)
    call.leg_index = len(legs)
    call.state = CallState.ANSWERED
    dialog = Dialog(callee)
    dialog.confirmed = dialog.acked = True
    if raised > 0:
        dialog.down = Passage(raised)
    call.dialogs.append(dialog)
    return call


def _mode(text: str) -> Mode:
    return "gateway" if text == "gateway" else "softphone"


def _read_peer(core: Core, lines: _Lines) -> Peer | None:
    transport, host, port, local_host, local_port = lines.some(5)
    tag, line, target, trunk, cseq = lines.some(5)
    routes = tuple(lines.some(int(lines.next())))
    flow = _flow(core, transport, host, int(port), local_host, int(local_port))
    if flow is None:
        return None
    peer = Peer(flow, tag, line, target, routes, core.snapshot.catalog.trunks.get(trunk))
    peer.follow_flow = not trunk
    peer.cseq = min(int(cseq) + CSEQ_LEAP, CSEQ_MAX)
    return peer


def _flow(core: Core, transport: str, host: str, port: int, local_host: str, local_port: int) -> Flow | None:
    """By the very socket if we have it, else by one of its kind; a connection has to be opened anew."""
    for table in core.flows:
        local = table.local
        if local.transport == transport and local.host == local_host and local.port == local_port:
            return table.get(host, port)
    return core.flow_to(transport, host, port)
