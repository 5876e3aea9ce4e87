"""Dialogs that nobody refreshes: an OPTIONS of ours to both sides now and then, to notice that one of them is gone.

Any answer but 481 shows that the dialog is known there (RFC 3261 §12.2.1.2), whatever it thinks of OPTIONS; 408 and
silence count as unanswered, and so many in a row end the call on both sides.

We differ from RFC 3261 §12.2.1.1 in the CSeq: a ping repeats the highest number that its apparent sender has used
instead of taking the next one. §12.2.2 has a UAS refuse only *lower* numbers, and those that refuse equal ones too do
so after they have found the dialog, which is all we ask. So the real sender's next number is still the next one, and
nothing in the dialog (CSeq, RAck, ACK, on this instance or another) ever has to be shifted.

Not here: calls taken up from a process that died, whose numbers nobody knows; their limits still end them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.engine import watch as watching
from proxy.engine import within

if TYPE_CHECKING:
    from proxy.engine.call import Call, Dialog
    from proxy.engine.core import Core
    from proxy.engine.watch import Watch


class Ping:
    """An OPTIONS of ours on its way to one side."""

    __slots__ = ("to_caller", "watch")

    def __init__(self, watch: Watch, to_caller: bool) -> None:
        self.watch = watch
        self.to_caller = to_caller


def begin(core: Core, call: Call, dialog: Dialog, now: float) -> None:
    """The dialog is confirmed. Beginning twice changes nothing."""
    pings = core.pings
    if pings is None:
        return
    watch = watching.of(call, dialog)
    if not watch.pinging:
        watch.pinging = True
        core.timers.after(pings.every, core.on_ping, watch, 0, now)


def due(core: Core, watch: Watch, now: float) -> None:
    """The timer rang."""
    pings = core.pings
    call = watch.call
    if pings is None or call is None or not watch.live:
        watch.pinging = False
        return
    core.timers.after(pings.every, core.on_ping, watch, 0, now)
    if watch.expires_at:
        return  # the ends refresh the session themselves
    dialog = watch.dialog
    _ping(core, call, dialog, Ping(watch, to_caller=False), now)
    if dialog.acked:
        # Before the ACK the caller's dialog may not be there yet.
        _ping(core, call, dialog, Ping(watch, to_caller=True), now)


def _ping(core: Core, call: Call, dialog: Dialog, ping: Ping, now: float) -> None:
    frm = dialog.callee if ping.to_caller else call.caller
    within.send(
        core,
        call,
        dialog,
        ping.to_caller,
        "OPTIONS",
        frm.cseq,
        ("Accept: application/sdp",),
        False,
        ping,
        now,
    )


def answered(core: Core, ping: Ping, status: int) -> bool:
    """A final response, 408 for none at all. True: the dialog is lost."""
    watch = ping.watch
    pings = core.pings
    if pings is None or not watch.live:
        return False
    if status == 481:
        return True
    # RFC 3261 §12.2.1.2: 408 and silence end a dialog like 481 does, but a datagram may just have been lost.
    unanswered = 0 if status != 408 else 1
    if ping.to_caller:
        watch.unanswered_caller = (watch.unanswered_caller + 1) * unanswered
        return watch.unanswered_caller >= pings.lost_after
    watch.unanswered_callee = (watch.unanswered_callee + 1) * unanswered
    return watch.unanswered_callee >= pings.lost_after
