"""Media through rtpengine: whose session descriptions are rewritten, and when (RFC 3264, 3261 §13, 3262 §5, 3311).

Theory: only a call of whose two ends one asks for it (`media: relay`) has a `Media`. A message of it that carries a
session description is held while rtpengine is asked, and goes on with what that made of it. Whatever the far side said
after it waits behind it, so that nothing overtakes. When rtpengine fails, the message goes on as it came.

A description is an answer where its transaction, or the far side's last one, made an offer; else it is an offer.
Requests without a body are never held, and the end of a call waits for nothing.

A browser takes DTLS-SRTP and ICE only, a plain phone neither, so rtpengine is told with each offer what its receiver
takes, where the two differ or both are browsers; of the answer it knows that itself. An INVITE that goes to both kinds
is offered to each kind in a call of rtpengine's own: one offer cannot serve both, and the first to answer would settle
how rtpengine speaks to the other.

Not here: bodies of several parts, which pass as they are; calls taken up from another process, whose media stay where
they were. What a message does when it goes on is relayed.py's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal

from proxy.engine.effects import PLAIN, WEBRTC, AskMedia, EndMedia, MediaAsk, Profile
from proxy.engine.lines import raw_value

if TYPE_CHECKING:
    from proxy.engine.call import Call, Dialog, Permit
    from proxy.engine.core import Core
    from proxy.engine.forward import Branch, Context
    from proxy.engine.targets import Target
    from proxy.sip.flow import Flow
    from proxy.sip.message import Message, Request, Response

KNOWN_MAX: Final = 16
"""Descriptions remembered for when a 2xx or an ACK comes once more; more than any call has in use at once."""
TAGS_MAX: Final = 64
"""Ends remembered as WebRTC ones, or as those of the second offer: forks may answer with any number of tags."""
_SAVPF: Final = re.compile(rb"^m=\S+ \S+ (?:\S+/)?RTP/SAVPF\b", re.MULTILINE)


class Media:
    """Of one call."""

    __slots__ = ("apart", "forked", "known", "offered_by", "token", "waiting", "web_offer", "webrtc")

    def __init__(self, token: str) -> None:
        self.token = token
        """What rtpengine knows the call by: its Call-ID may pass here twice."""
        self.forked = False
        """The INVITE went to browsers and to plain phones: the browsers are in a second call of rtpengine's."""
        self.web_offer = b""
        """What the browsers were then offered."""
        self.apart: set[str] = set()
        """Tags of those who answered that offer."""
        self.webrtc: set[str] = set()
        """Tags of those whose description said that they are WebRTC ends, however they are reached."""
        self.offered_by = ""
        """The tag of who made an offer in a response; the answer comes in PRACK or ACK."""
        self.waiting: list[Held] = []
        """In the order they came; the first one is being asked for."""
        self.known: dict[tuple[str, int, bytes], bytes] = {}
        """(tag, CSeq, as it came) → as it went on."""


class Held:
    """A message that waits. `branch`, `acked` or `permit` say what it is, else it is a request within a dialog."""

    __slots__ = (
        "acked",
        "asked",
        "branch",
        "call",
        "context",
        "key",
        "media",
        "message",
        "permit",
        "ready",
        "target",
    )

    def __init__(self, media: Media, message: Message) -> None:
        self.media = media
        self.message = message
        self.key: tuple[str, int, bytes] | None = None
        self.ready = False
        self.asked = 0
        """Questions about it that are not answered yet."""
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


def over_websocket(flow: Flow | None, uri: str) -> bool:
    """There is a browser at the other end, also where another proxy keeps its connection (RFC 7118 §5.2)."""
    return (flow is not None and flow.transport in ("WS", "WSS")) or ";transport=ws" in uri.lower()


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
    from_webrtc = _is_webrtc(media, call.caller.tag, call.caller.flow, call.caller.target, request.body)
    to_webrtc = to_plain = False
    for group in context.groups:
        for target in group:
            if over_websocket(target.flow, target.uri):
                to_webrtc = True
            else:
                to_plain = True
    token = media.token
    if to_plain:
        _ask(core, held, "offer", token, request.from_tag, "", _profile(from_webrtc, False))
    if to_webrtc:
        media.forked = to_plain
        _ask(core, held, "offer", _web(token) if to_plain else token, request.from_tag, "", WEBRTC)
    return True


def offer_of(media: Media, branch: Branch, lines: list[str], body: bytes) -> bytes:
    """What the INVITE of a new call offers there; `lines` are of the request about to be sent."""
    if not media.web_offer or not over_websocket(branch.target.flow, branch.target.uri):
        return body
    for at, line in enumerate(lines):
        # As `replace` wrote it.
        if line.startswith("Content-Length: "):
            lines[at] = f"Content-Length: {len(media.web_offer)}"
    return media.web_offer


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
    call, dialog, target = context.call, context.dialog, branch.target
    callee = response.to_tag
    if dialog is not None:
        call, callee = context.call_of_dialog, dialog.callee.tag
    elif media.forked and over_websocket(target.flow, target.uri) and len(media.apart) < TAGS_MAX:
        media.apart.add(callee)
    assert call is not None
    by_webrtc = _is_webrtc(media, response.to_tag, target.flow, target.uri, response.body)
    token = _token(media, callee)
    if context.offered:
        _ask(core, held, "answer", token, response.from_tag, response.to_tag, "")
    else:
        # RFC 3261 §13.2.1, RFC 3262 §5: the callee makes the offer, and its answer comes in PRACK or ACK.
        media.offered_by = response.to_tag
        peer = call.caller if dialog is None or context.from_caller else dialog.callee
        profile = _profile(by_webrtc, _is_webrtc(media, peer.tag, peer.flow, peer.target, b""))
        _ask(core, held, "offer", token, response.to_tag, response.from_tag, profile)
    return True


def hold_request(core: Core, call: Call, context: Context, target: Target) -> bool:
    """A request within a dialog. False: it goes on now."""
    media = context.media = call.media
    request, dialog = context.request, context.dialog
    if media is None or dialog is None or request.method == "BYE" or not describes(request):
        return False
    held = Held(media, request)
    held.call, held.context, held.target = call, context, target
    peer = call.caller if context.from_caller else dialog.callee
    by_webrtc = _is_webrtc(media, request.from_tag, peer.flow, peer.target, request.body)
    token = _token(media, dialog.callee.tag)
    if request.method == "PRACK" and _answers(media, request):
        _ask(core, held, "answer", token, request.to_tag, request.from_tag, "")
    else:
        context.offered = True
        profile = _profile(by_webrtc, _is_webrtc(media, request.to_tag, target.flow, target.uri, b""))
        _ask(core, held, "offer", token, request.from_tag, request.to_tag, profile)
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
    _ask(core, held, "answer", _token(media, dialog.callee.tag), request.to_tag, request.from_tag, "")
    return True


def stop(core: Core, media: Media, call: Call) -> None:
    """The call is over. What is still held goes on all the same, to whatever is left for it."""
    call.media = None
    core.out.append(EndMedia(media.token, call.caller.tag))
    if media.forked:
        core.out.append(EndMedia(_web(media.token), call.caller.tag))


def _answers(media: Media, request: Request) -> bool:
    if not media.offered_by or media.offered_by != request.to_tag:
        return False
    media.offered_by = ""
    return True


def _web(token: str) -> str:
    """rtpengine's call with the browsers, where there are two. A token has no full stop in it."""
    return token + ".w"


def _token(media: Media, callee: str) -> str:
    """rtpengine's call with this callee."""
    return _web(media.token) if callee in media.apart else media.token


def _is_webrtc(media: Media, tag: str, flow: Flow | None, uri: str, said: bytes) -> bool:
    """By how the end with this tag is reached, or by a description of its own: what it `said` just now, or before."""
    if over_websocket(flow, uri):
        return True
    # RFC 9429 §5.1.2: "a=fingerprint" tells of DTLS-SRTP, whatever the profile. Softphones may know that, too, and
    # ICE, but as RTP/SAVP, and agree on it between themselves; the three together are WebRTC's.
    if _SAVPF.search(said) is not None and b"\na=fingerprint:" in said and b"\na=ice-ufrag:" in said:
        if len(media.webrtc) < TAGS_MAX:
            media.webrtc.add(tag)
        return True
    return tag in media.webrtc


def _profile(by_webrtc: bool, to_webrtc: bool) -> Profile:
    """What an offer has to be made into. Two plain ends agree between themselves, on SRTP too if they know it."""
    if to_webrtc:
        return WEBRTC
    return PLAIN if by_webrtc else ""


def _ask(
    core: Core,
    held: Held,
    command: Literal["offer", "answer"],
    token: str,
    from_tag: str,
    to_tag: str,
    profile: Profile,
) -> None:
    """`from_tag`: of who made the offer; `to_tag`: of the other one, "" while nobody has answered."""
    if not held.asked:
        held.media.waiting.append(held)
    held.asked += 1
    core.out.append(AskMedia(MediaAsk(command, token, from_tag, to_tag, held.message.body, profile, held)))


def answered(ask: MediaAsk, sdp: bytes | None) -> None:
    """events.MediaAnswered: the description to go on with; None = as it came."""
    held = ask.held
    held.asked -= 1
    held.ready = held.asked == 0
    media = held.media
    if held.permit is not None and media.forked:
        _answered_fork(held, ask, sdp)
        return
    if sdp is None:
        return
    if held.key is not None:
        if len(media.known) >= KNOWN_MAX:
            media.known.clear()
        media.known[held.key] = sdp
    replace(held.message, sdp)


def _answered_fork(held: Held, ask: MediaAsk, sdp: bytes | None) -> None:
    """One of the two offers of an INVITE. A call that one of them failed of has no relay at all, like any other."""
    assert held.context is not None
    media = held.media
    if sdp is None:
        media.web_offer = b""
        if held.message.body != ask.sdp:
            replace(held.message, ask.sdp)
    elif held.context.media is None:
        return
    elif ask.token == media.token:
        replace(held.message, sdp)
    else:
        media.web_offer = sdp
