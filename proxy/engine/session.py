"""Session timers (RFC 4028) as a proxy that knows its calls: ask for them, fill in for a callee that has none, and end
a call that nobody refreshed.

We differ at the end: RFC 4028 §8.3 has a proxy forget the session and send no BYE. A call that is dead on both sides
would hold its payer's line until call_duration, so it is cut like any other (ARCHITECTURE.md: Proxy-B2BUA).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from proxy.engine import watch as watching
from proxy.engine.lines import add, remove_all
from proxy.sip.headers import parse_delta, parse_params

if TYPE_CHECKING:
    from proxy.engine.call import Call, Dialog
    from proxy.engine.core import Core
    from proxy.engine.forward import Context
    from proxy.engine.validate import Objection
    from proxy.engine.watch import Watch
    from proxy.sip.message import Message, Request, Response

DEFAULT_MIN_SE = 90
"""RFC 4028 §5: without the header; nobody may ask for less."""


class Asked:
    """What is remembered from a session refresh request to its answer (RFC 4028 §8.1)."""

    __slots__ = ("interval", "supported")

    def __init__(self, interval: int, supported: bool) -> None:
        self.interval = interval
        """Session-Expires as the request went on, in seconds."""
        self.supported = supported
        """The request's sender knows session timers."""


def objection(core: Core, request: Request) -> Objection | None:
    """RFC 4028 §8.1: 422 to who asks for less than we let pass, if it would understand that."""
    sessions = core.sessions
    if sessions is None or "session-expires" not in request.keys or not _supported(request):
        return None
    interval, _ = _delta(request, "session-expires")
    least = math.ceil(sessions.min_se)
    if interval is None or interval >= least:
        return None
    return 422, "Session Interval Too Small", (f"Min-SE: {least}",)


def ask(core: Core, context: Context) -> None:
    """RFC 4028 §8.1: insert or lower Session-Expires of a session refresh request before it is forwarded, in place."""
    sessions = core.sessions
    request = context.request
    if sessions is None:
        return
    supported = _supported(request)
    wanted, least = math.ceil(sessions.session_expires), math.ceil(sessions.min_se)
    min_se, _ = _delta(request, "min-se")
    if "session-expires" not in request.keys:
        # "not with a duration lower than the value in the Min-SE header field".
        interval = max(wanted, min_se or 0)
        add(request, "session-expires", f"Session-Expires: {interval}")
    else:
        asked, params = _delta(request, "session-expires")
        if asked is None:
            return  # nobody can read it, and we leave as it is what is not ours
        floor = DEFAULT_MIN_SE if min_se is None else min_se
        if not supported and asked < least and floor < least:
            # "The proxy SHOULD insert a Min-SE header field containing its minimum interval … MUST then increase".
            floor = least
            remove_all(request, "min-se")
            add(request, "min-se", f"Min-SE: {least}")
        # Lowered to ours, but never below Min-SE; raised to Min-SE where it is below that.
        interval = max(min(asked, wanted), floor)
        if interval != asked:
            remove_all(request, "session-expires")
            add(request, "session-expires", f"Session-Expires: {interval}{params}")
    context.session = Asked(interval, supported)


def answered(core: Core, asked: Asked, call: Call, dialog: Dialog, response: Response, now: float) -> None:
    """RFC 4028 §8.2: a 2xx to a session refresh request, before it goes up; the session lives from here on anew."""
    interval, params = _delta(response, "session-expires")
    if interval is None:
        if not asked.supported:
            # Neither side knows timers: "There is no session expiration for this session."
            _refreshed(core, call, dialog, 0.0, now)
            return
        # The callee does not: "This proxy MUST insert a Session-Expires header field … 'refresher' … to 'uac'."
        interval = asked.interval
        remove_all(response, "session-expires")
        add(response, "session-expires", f"Session-Expires: {interval};refresher=uac")
        _require_timer(response)
    elif "refresher" not in (parse_params(params) or {}):
        # §9 has the callee name the refresher. Where it does not, each side waits for the other one, and a live call
        # would end (drachtio #475). We differ from §8.2, "no modification", in naming who is able to.
        refresher = "uac" if asked.supported else "uas"
        remove_all(response, "session-expires")
        add(response, "session-expires", f"Session-Expires: {interval}{params};refresher={refresher}")
        if asked.supported:
            _require_timer(response)
    _refreshed(core, call, dialog, now + interval, now)


def refused(core: Core, context: Context, status: int, now: float) -> None:
    """A session refresh request failed. Where the other side does not know its method, the session loses its end.

    RFC 4028 §10 has it expire; that would end a call which is alive on both sides (linphone 5.1 sends UPDATE to who
    allows none). We differ: pings look after it, where they are on, and a refresh that succeeds gives it an end again.
    """
    if status in (405, 501) and context.call_of_dialog is not None and context.dialog is not None:
        _refreshed(core, context.call_of_dialog, context.dialog, 0.0, now)


def _refreshed(core: Core, call: Call, dialog: Dialog, expires_at: float, now: float) -> None:
    if not dialog.confirmed or (not expires_at and dialog.watch is None):
        return
    watch = watching.of(call, dialog)
    watch.expires_at = expires_at
    if expires_at and (watch.handle is None or expires_at < watch.armed_at):
        if watch.handle is not None:
            core.timers.cancel(watch.handle)
        _arm(core, watch)


def _arm(core: Core, watch: Watch) -> None:
    watch.armed_at = watch.expires_at
    watch.handle = core.timers.at(watch.expires_at, core.on_session, watch, 0)


def expired(core: Core, watch: Watch, now: float) -> bool:
    """The timer rang: whether the session is over. A refresh that came meanwhile has moved its end."""
    watch.handle = None
    if not watch.live or not watch.expires_at:
        return False
    if now < watch.expires_at:
        _arm(core, watch)
        return False
    return True


def _supported(request: Request) -> bool:
    return any(tag.lower() == "timer" for tag in request.all_values("supported"))


def _delta(message: Message, key: str) -> tuple[int | None, str]:
    """(delta-seconds, the parameters as written) of Session-Expires or Min-SE; None: absent or malformed."""
    text = message.value(key) or ""
    digits, semicolon, params = text.partition(";")
    seconds = parse_delta(digits.strip(" \t"))
    return seconds, semicolon + params if seconds is not None else ""


def _require_timer(response: Response) -> None:
    if not any(tag.lower() == "timer" for tag in response.all_values("require")):
        add(response, "require", "Require: timer")
