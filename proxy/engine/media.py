"""Media through rtpengine: whose session descriptions are rewritten, and when (RFC 3264, 3261 §13, 3262 §5, 3311).

Theory: only a call of whose two ends one asks for it (`media: relay`) has a `Media`. A message of it that carries a
session description is held while rtpengine is asked, and goes on with what that made of it. Whatever the far side said
after it waits behind it, so that nothing overtakes. When rtpengine fails, the message goes on as it came.

A description is an answer where its transaction, or the far side's last one, made an offer; else it is an offer.
Requests without a body are never held, and the end of a call waits for nothing.

Not here: bodies of several parts, which pass as they are; calls taken up from another process, whose media stay where
they were. What a message does when it goes on is relayed.py's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from proxy.engine.effects import AskMedia, EndMedia, MediaAsk
from proxy.engine.lines import raw_value

if TYPE_CHECKING:
    from proxy.engine.call import Call, Dialog, Permit
    from proxy.engine.core import Core
    from proxy.engine.forward import Branch, Context
    from proxy.engine.targets import Target
    from proxy.sip.message import Message, Request, Response

KNOWN_MAX: Final = 16
"""Descriptions remembered for when a 2xx or an ACK comes once more; more than any call has in use at once."""


class Media:
    """Of one call."""

    __slots__ = ("known", "offered_by", "token", "waiting")

    def __init__(self, token: str) -> None:
        self.token = token
        """What rtpengine knows the call by: its Call-ID may pass here twice."""
        self.offered_by = ""
        """The tag of who made an offer in a response; the answer comes in PRACK or ACK."""
        self.waiting: list[Held] = []
        """In the order they came; the first one is being asked for."""
        self.known: dict[tuple[str, int, bytes], bytes] = {}
        """(tag, CSeq, as it came) → as it went on."""


class Held:
    """A message that waits. `branch`, `acked` or `permit` say what it is, else it is a request within a dialog."""

    __slots__ = ("acked", "branch", "call", "context", "key", "media", "message", "permit", "ready", "target")

    def __init__(self, media: Media, message: Message) -> None:
        self.media = media
        self.message = message
        self.key: tuple[str, int, bytes] | None = None
        self.ready = False
        self.call: Call | None = None
        self.context: Context | None = None
        self.permit: Permit | None = None
        """The INVITE of a new call, admitted."""
        self.branch: Branch | None = None
        """A response of this branch."""
        self.target: Target | None = None
        """A request within a dialog; also where an ACK goes."""
        self.acked: tuple[Dialog, bool] | None = None
        """An ACK: its dialog, and whether the caller sent it."""


def wanted(core: Core, call: Call) -> bool:
    """One of its ends asks for it."""
    if not core.relays:
        return False
    for end in (call.caller_account, call.caller_trunk, call.callee_account, call.route_trunk):
        if end is not None and end.relayed:
            return True
    return False


def describes(message: Message) -> bool:
    """It carries a session description, and nothing else."""
    return bool(message.body) and raw_value(message, "content-type")[:15].lower() == "application/sdp"


def replace(message: Message, sdp: bytes) -> None:
    """In place."""
    message.body = sdp
    if "content-length" in message.keys:
        message.lines[message.keys.index("content-length")] = f"Content-Length: {len(sdp)}"


def hold_start(core: Core, call: Call, context: Context, permit: Permit) -> bool:
    """The INVITE of a new call. False: there is nothing to ask, it goes out now (RFC 3261 §13.2.1: the offer may come
    from the callee)."""
    media = call.media = context.media = Media(call.token)
    request = context.request
    context.offered = describes(request)
    if not context.offered:
        return False
    # A CANCEL finds it here; until then it had no branches.
    call.context = context
    held = Held(media, request)
    held.call, held.context, held.permit = call, context, permit
    _ask(core, held, "offer", request.from_tag, "")
    return True


def hold_response(core: Core, context: Context, branch: Branch, response: Response) -> bool:
    """A response, before anything is made of it. False: it goes on now."""
    media = context.media
    if media is None:
        return False
    held = Held(media, response)
    held.context, held.branch = context, branch
    # In a refusal a description tells what would be possible (RFC 3261 §21.4.26), and nobody sends there.
    asks = response.status < 300 and describes(response)
    key = (response.to_tag, response.cseq, response.body)
    if asks and (known := media.known.get(key)) is not None:
        replace(response, known)
        asks = False
    if not asks:
        if not media.waiting:
            return False
        held.ready = True
        media.waiting.append(held)
        return True
    held.key = key
    if context.offered:
        _ask(core, held, "answer", response.from_tag, response.to_tag)
    else:
        # RFC 3261 §13.2.1, RFC 3262 §5: the callee makes the offer, and its answer comes in PRACK or ACK.
        media.offered_by = response.to_tag
        _ask(core, held, "offer", response.to_tag, response.from_tag)
    return True


def hold_request(core: Core, call: Call, context: Context, target: Target) -> bool:
    """A request within a dialog. False: it goes on now."""
    media = context.media = call.media
    request = context.request
    if media is None or not describes(request):
        return False
    held = Held(media, request)
    held.call, held.context, held.target = call, context, target
    if request.method == "PRACK" and _answers(media, request):
        _ask(core, held, "answer", request.to_tag, request.from_tag)
    else:
        context.offered = True
        _ask(core, held, "offer", request.from_tag, request.to_tag)
    return True


def hold_ack(
    core: Core, call: Call, dialog: Dialog, from_caller: bool, request: Request, target: Target
) -> bool:
    """An ACK with a description is the answer to the offer of its 2xx. False: it goes on now."""
    media = call.media
    if media is None or not describes(request):
        return False
    key = (request.from_tag, request.cseq, request.body)
    known = media.known.get(key)
    if known is not None:
        replace(request, known)
        return False
    if not _answers(media, request):
        return False
    held = Held(media, request)
    held.key, held.call, held.target, held.acked = key, call, target, (dialog, from_caller)
    _ask(core, held, "answer", request.to_tag, request.from_tag)
    return True


def stop(core: Core, media: Media, call: Call) -> None:
    """The call is over. What is still held goes on all the same, to whatever is left for it."""
    call.media = None
    core.out.append(EndMedia(media.token, call.caller.tag))


def _answers(media: Media, request: Request) -> bool:
    if not media.offered_by or media.offered_by != request.to_tag:
        return False
    media.offered_by = ""
    return True


def _ask(core: Core, held: Held, command: Literal["offer", "answer"], from_tag: str, to_tag: str) -> None:
    """`from_tag`: of who made the offer; `to_tag`: of the other one, "" while nobody has answered."""
    held.media.waiting.append(held)
    core.out.append(AskMedia(MediaAsk(command, held.media.token, from_tag, to_tag, held.message.body, held)))


def answered(held: Held, sdp: bytes | None) -> None:
    """events.MediaAnswered: the description to go on with; None = as it came."""
    held.ready = True
    media = held.media
    if sdp is None:
        return
    if held.key is not None:
        if len(media.known) >= KNOWN_MAX:
            media.known.clear()
        media.known[held.key] = sdp
    replace(held.message, sdp)
