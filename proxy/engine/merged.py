"""Merged requests (RFC 3261 §8.2.2.2): a request to us that somebody forked on the way comes more than once.

For what we answer as a UAS only: a proxy may have to forward both copies of a request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.engine.core import Core
    from proxy.sip.stack import ServerTransaction

LOOP_DETECTED: Final = (482, "Loop Detected")
"""The answer to all copies but the first: status and phrase."""


def merged(core: Core, txn: ServerTransaction) -> bool:
    """Whether an ongoing transaction has a copy of this request, which has no To tag. The first copy is remembered.

    §8.2.2.2: "the From tag, Call-ID, and CSeq exactly match". We differ: the credentials must match, too: there are
    clients that answer a challenge without raising CSeq (§22.2 wants it raised), and who forks changes no credentials.
    """
    request = txn.request
    assert request is not None
    credentials = request.values("authorization") if request.has("authorization") else ()
    identity = (request.from_tag, request.call_id, str(request.cseq), request.method, *credentials)
    return not core.stack.claim_identity(txn, "\n".join(identity))
