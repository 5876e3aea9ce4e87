"""Messages whose session description rtpengine was asked for go on, each where it was held (media.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.engine import calls, indialog, media, respond
from proxy.engine.call import CallState
from proxy.engine.forward import forward_call

if TYPE_CHECKING:
    from proxy.engine.core import Core
    from proxy.engine.effects import MediaAsk
    from proxy.engine.media import Held


def answered(core: Core, ask: MediaAsk, sdp: bytes | None, now: float) -> None:
    """events.MediaAnswered."""
    held = ask.held
    media.answered(ask, sdp)
    if sdp is None and held.context is not None and held.branch is None:
        _without(core, held)
    waiting = held.media.waiting
    while waiting and waiting[0].ready:
        _go_on(core, waiting.pop(0), now)


def _without(core: Core, held: Held) -> None:
    """An offer went on as it came, so its answer has to, too; a call that began so has no relay at all."""
    assert held.context is not None
    held.context.media = None
    if held.permit is not None and held.call is not None and held.call.media is not None:
        media.stop(core, held.media, held.call)


def _go_on(core: Core, held: Held, now: float) -> None:
    if held.branch is not None:
        respond.go_on(core, held, now)
    elif held.acked is not None:
        indialog.ack_on(core, held, now)
    elif held.permit is not None:
        _start(core, held, now)
    else:
        indialog.go_on(core, held, now)


def _start(core: Core, held: Held, now: float) -> None:
    call, context, permit = held.call, held.context, held.permit
    assert call is not None
    assert context is not None
    assert permit is not None
    if call.state is not CallState.TRYING:
        return  # cut meanwhile, and its caller was told
    if context.cancelled:
        context.final_sent = True
        core.answer(context.txn, 487, "Request Terminated", now)
        calls.failed(core, call, 487, now)
        return
    forward_call(core, context, call, permit, now)
