"""The only thing the SIP stack asks of the world: bytes to a flow. Everything else it does is a call into its user."""

from __future__ import annotations

from proxy.sip.flow import Flow


class Transmit:
    """Send `data` (one whole SIP message) to the peer of `flow`."""

    __slots__ = ("data", "flow")

    def __init__(self, flow: Flow, data: bytes) -> None:
        self.flow = flow
        self.data = data

    def __repr__(self) -> str:
        start = self.data.partition(b"\r\n")[0]
        return f"Transmit({self.flow!r}, {start!r})"
