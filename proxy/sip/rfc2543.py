"""Matching requests of RFC 2543 clients: no branch, or one without the magic cookie (RFC 3261 §17.2.3, second half).

The slow path: such clients are rare. Nothing here is stored; the key is as good as a branch for as long as it is used.
"""

from __future__ import annotations

from proxy.sip.message import Request, Response
from proxy.sip.parse import parse


def server_key(request: Request, method: str, to_tag: str) -> str:
    """What identifies the transaction, as if the request had this method and To tag. No RFC 3261 key equals it."""
    return (
        f"{method} 2543 {request.uri} {to_tag} {request.from_tag} {request.call_id} "
        f"{request.cseq} {request.via.value}"
    )


def acknowledges(ack: Request, response: bytes | None) -> bool:
    """Whether the ACK's To tag is that of the response we sent; yes when we no longer have it.

    RFC 3261 §17.2.3: the tag tells an ACK for a 2xx, which shares all else with it, from an ACK for this response.
    """
    if response is None:
        return True
    sent = parse(response)
    return isinstance(sent, Response) and sent.to_tag == ack.to_tag
