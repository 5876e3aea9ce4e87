"""Flow tokens (RFC 5626 §5.2): the way back to a client, written into a URI of ours that others keep.

A token says everything itself and is signed, so no table is kept and each instance that has the same secret reads it.
It names the account too: who sends it back (a registrar's proxy, by Path) calls that account. A connection means
something only to the process that holds it; read by another one, its flow has failed.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.engine.core import Core
    from proxy.sip.flow import Flow

_SIGNATURE: Final = 10
"""Octets: RFC 5626 §5.2's example has as many."""
_TOKEN_MAX: Final = 1024
_FIELDS: Final = 8


class Edge:
    """What a token says: `flow` is None when it has failed."""

    __slots__ = ("aor", "flow")

    def __init__(self, aor: str, flow: Flow | None) -> None:
        self.aor = aor
        """user@domain of the account; "" = of nobody in particular."""
        self.flow = flow


def token_of(core: Core, flow: Flow, aor: str) -> str:
    """The token of a flow: letters, digits, `-` and `_`."""
    local = flow.local
    owner = core.instance if flow.conn else ""
    text = "\n".join(
        (flow.transport, flow.host, str(flow.port), str(flow.conn), owner, local.host, str(local.port), aor)
    )
    data = text.encode()
    signed = _signature(core, data) + data
    return urlsafe_b64encode(signed).decode("ascii").rstrip("=")


def read_token(core: Core, token: str) -> Edge | None:
    """None: we (or an instance with our secret) never wrote it. RFC 5626 §5.3: then it is answered 403."""
    if len(token) > _TOKEN_MAX:
        return None
    try:
        signed = urlsafe_b64decode(token + "=" * (-len(token) % 4))
        data = signed[_SIGNATURE:]
        if not hmac.compare_digest(signed[:_SIGNATURE], _signature(core, data)):
            return None
        fields = data.decode().split("\n")
    except ValueError:
        return None
    if len(fields) != _FIELDS:
        return None
    transport, host, port, conn, owner, local_host, local_port, aor = fields
    if owner not in ("", core.instance):
        return Edge(aor, None)
    for table in core.flows:
        local = table.local
        if local.transport == transport and local.host == local_host and local.port == int(local_port):
            return Edge(aor, table.get(host, int(port), int(conn)))
    return Edge(aor, None)


def both_sides(core: Core, source: Flow, flow: Flow, seal: str) -> tuple[str, str]:
    """Record-Route lines for a dialog between two flows, each found from the other side. `seal`: a parameter of both.

    The upper value is met first by whoever sits beyond `flow`, the lower one by whoever sits beyond `source`; so each
    carries the token of the other's flow. A trunk has none: it is where its URIs say.
    """
    upper = core.texts[flow.local].record_route + seal + _parameter(core, source)
    return upper, core.texts[source.local].record_route + seal + _parameter(core, flow)


def _parameter(core: Core, flow: Flow) -> str:
    return ">" if core.trunks_at(flow.host) else f";f={token_of(core, flow, '')}>"


def _signature(core: Core, data: bytes) -> bytes:
    return hmac.digest(core.secret, b"flow:" + data, "sha256")[:_SIGNATURE]
