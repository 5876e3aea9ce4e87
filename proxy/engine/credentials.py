"""Challenges that we answer in somebody's place: with the account's credentials at its provider, or the trunk's own.

A 401 or 407 to a request that an account of ours sent through the trunk where callgate registers it (RFC 3261 §22.2,
§22.3) never reaches the account, which has no such password: the request goes out again with credentials, in a branch
of its own to the server that asked, its CSeq raised (cseq.py). It is the same call to every limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.engine.cseq import Renumbering, passage
from proxy.engine.digest import answer as digest_answer
from proxy.engine.digest import is_stale
from proxy.engine.forward import Branch, Context, start
from proxy.engine.targets import Target

if TYPE_CHECKING:
    from policies.catalog import Account, Trunk
    from proxy.engine.call import Call
    from proxy.engine.core import Core
    from proxy.sip.message import Response

ANSWERS_MAX = 3
"""Challenges to one request that are answered: one is the rule, a stale nonce makes another."""


class Secret:
    """A user name and its password."""

    __slots__ = ("password", "username")

    def __init__(self, username: str, password: str) -> None:
        self.username = username
        self.password = password


def secret_of(call: Call, to_caller: bool) -> Secret | None:
    """What the far side of the call knows our account by, where we register it there."""
    if to_caller:
        return _account_secret(call.callee_account, call.caller_trunk)
    return _account_secret(call.caller_account, call.route_trunk)


def secret_of_trunk(core: Core, trunk: Trunk) -> Secret | None:
    """What the trunk knows callgate itself by: for requests of our own."""
    known = core.snapshot.catalog.credentials.get(trunk.name)
    return Secret(known.username, known.password) if known is not None else None


def _account_secret(account: Account | None, trunk: Trunk | None) -> Secret | None:
    if account is None or trunk is None or account.register is None or account.register.trunk != trunk.name:
        return None
    return Secret(account.register.username, account.register.password)


def lines_for(
    core: Core,
    response: Response,
    secret: Secret,
    method: str,
    uri: str,
    body: bytes = b"",
    stale_only: bool = False,
) -> tuple[str, ...]:
    """The lines that answer the challenges of a 401 or 407, () when none can be answered.

    Of each header the topmost challenge that we can answer (RFC 8760 §2.4). `stale_only`: we have answered once, so
    only a nonce that is too old is a reason to answer again.
    """
    lines = []
    for key, name in (("www-authenticate", "Authorization"), ("proxy-authenticate", "Proxy-Authorization")):
        for challenge in response.values(key):
            if stale_only and not is_stale(challenge):
                continue
            value = digest_answer(
                challenge, secret.username, secret.password, method, uri, core.ids.tag(), 1, body
            )
            if value is not None:
                lines.append(f"{name}: {value}")
                break
    return tuple(lines)


def answer(core: Core, context: Context, branch: Branch, response: Response, now: float) -> bool:
    """A branch was challenged. True: it goes on in another one, and nobody is to hear of the challenge."""
    call = context.call or context.call_of_dialog
    if call is None or context.cancelled or context.final_sent or branch.cancel_wanted or branch.txn is None:
        return False
    to_caller = context.call is None and not context.from_caller
    secret = secret_of(call, to_caller)
    if secret is None:
        return False
    before = branch.renumbering
    answers = before.answers if before is not None else 0
    if answers >= ANSWERS_MAX:
        return False
    request, target = context.request, branch.target
    lines = lines_for(core, response, secret, request.method, target.uri, request.body, answers > 0)
    if not lines:
        return False
    raised = before.raised if before is not None else 0
    if context.dialog is not None:
        # Another request of the dialog may have been raised meanwhile.
        way = passage(context.dialog, context.from_caller)
        raised = max(raised, way.raised) if way is not None else raised
    flow = branch.txn.flow
    # To the very server that issued the nonce (RFC 3263 §4: retries of a transaction stay where it went).
    again = Branch(context, Target(target.uri, flow, flow.transport, flow.host, flow.port, target.routes))
    again.breadth = branch.breadth
    again.renumbering = Renumbering(raised + 1, lines, answers + 1)
    # It takes the old one's place: what is forwarded at last is the answer to the request with credentials.
    context.branches[context.branches.index(branch)] = again
    branch.done = True
    branch.status = response.status
    branch.context = None
    if branch.timer_c is not None:
        core.timers.cancel(branch.timer_c)
        branch.timer_c = None
    core.counters.challenges_answered += 1
    start(core, again, now)
    return True
