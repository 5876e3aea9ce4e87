"""RFC 5393 §5.3: how many branches one request may become in all, here and further down.

Targets of equal q are tried at once and share what came in; those for which nothing is left are tried after them, not
dropped. The loop check of §4.2 stands in validate.py.

We differ in requests within a dialog and ACK, which are passed on with what they have: they go to one place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.engine.lines import remove_all
from proxy.sip.headers import parse_delta
from proxy.sip.message import Request

if TYPE_CHECKING:
    from proxy.engine.forward import Branch, Context
    from proxy.engine.validate import Objection

BREADTH_MAX: Final = 60
"""RFC 5393 §5.3.3: what a request without the header gets, and the most that one may bring."""


def objection(request: Request) -> Objection | None:
    """§5.3.3: with nothing left it cannot go anywhere."""
    if "max-breadth" not in request.keys or _incoming(request):
        return None
    return 440, "Max-Breadth Exceeded", ()


def take(request: Request) -> int:
    """The breadth that came in, taken out of the request: each branch is given its own."""
    if "max-breadth" not in request.keys:
        return BREADTH_MAX
    incoming = _incoming(request)
    remove_all(request, "max-breadth")
    return incoming


def _incoming(request: Request) -> int:
    breadth = parse_delta(request.value("max-breadth") or "")
    # What is no number was not put there by anybody who meant to bound us.
    return BREADTH_MAX if breadth is None else min(breadth, BREADTH_MAX)


def share_out(context: Context, branches: list[Branch]) -> list[Branch]:
    """Give each branch of a group its part; the branches for which there is none are the next group."""
    breadth = context.breadth
    if len(branches) > breadth:
        context.groups.append([branch.target for branch in branches[breadth:]])
        branches = branches[:breadth]
    part, more = divmod(breadth, len(branches))
    for i, branch in enumerate(branches):
        branch.breadth = part + (i < more)
    return branches
