"""What the store has of bob's contacts, as the number says."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.engine.bindings import Binding, to_record
from proxy.sip.flow import Flow
from tests.fuzz.service import INSTANCE, WALL


def bindings(flows: Sequence[Flow], c: int) -> list[str]:
    """Over the third and fourth of the flows."""
    found = [
        _record("sip:bob@198.51.100.7:5062", flows[2], 1000 if c & 1 else 500),
        _record("sip:bob@198.51.100.8;transport=tcp", flows[3], 1000),
        _record("sips:bob@198.51.100.9", flows[2], 100),
        "of another version",
    ]
    return [one for i, one in enumerate(found) if c >> (i + 1) & 1]


def _record(uri: str, flow: Flow, q: int) -> str:
    return to_record(
        Binding(
            uri=uri,
            contact=f"<{uri}>",
            q=q,
            expires_at=WALL + 3600,
            updated_at=WALL,
            transport=flow.transport,
            host=flow.host,
            port=flow.port,
            conn=flow.conn,
            local_host="192.0.2.1",
            local_port=5060,
            instance=INSTANCE if q == 1000 else "there",
        )
    )
