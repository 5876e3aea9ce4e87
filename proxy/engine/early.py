"""The end of early dialogs before the call has its answer: RFC 6228, the 199.

A branch that fails takes its early dialogs with it (RFC 3261 §12.3). While other branches still ring nobody hears of
that failure, so a caller that says it knows 199 is told by one for each of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.sip.message import Request
from proxy.sip.serialise import reply

if TYPE_CHECKING:
    from proxy.engine.call import Call
    from proxy.engine.core import Core
    from proxy.engine.forward import Branch, Context


def ended(call: Call, branch: Branch, tag: str) -> None:
    """The early dialog is over: requests in it find nothing any more."""
    branch.tags = tuple(other for other in branch.tags if other != tag)
    call.dialogs = [dialog for dialog in call.dialogs if dialog.confirmed or dialog.callee.tag != tag]


def branch_over(core: Core, context: Context, branch: Branch, status: int, now: float) -> None:
    """A branch with early dialogs got a final response that is no 2xx and does not go up now."""
    call, request = context.call, context.request
    tags = branch.tags
    if call is None:
        return
    for tag in tags:
        ended(call, branch, tag)
    if context.final_sent or context.cancelled or not _wants_199(request):
        return
    # "MUST also insert a Reason header field that contains the SIP response code"; no Contact, no Record-Route.
    extra = (f"Reason: SIP ;cause={status}",)
    for tag in tags:
        data = reply(request, 199, "Early Dialog Terminated", tag, None, extra)
        core.respond(context.txn, 199, data, now)


def _wants_199(request: Request) -> bool:
    if "199" not in request.all_values("supported"):
        return False
    required = [*request.all_values("require"), *request.all_values("proxy-require")]
    return not any(tag.lower() == "100rel" for tag in required)
