"""Phones behind NAT over UDP: an OPTIONS now and then over the flow they registered by keeps their NAT's mapping open.

Who is pinged is known from the REGISTER: its Contact names another address than it came from. Any answer will do, and
none is no reason to stop: what counts is that something passes. So a ping is one datagram outside any transaction, and
the process that took the REGISTER sends it, for its socket is the one that the NAT lets through.

Not here: what clients do themselves (CRLF on streams, CRLF and STUN over UDP), which is answered where it comes in; and
streams, whose peers ping us (RFC 5626 §4.4.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.sip.serialise import render
from proxy.sip.uri import parse_uri, same_host

if TYPE_CHECKING:
    from proxy.engine.bindings import Binding
    from proxy.engine.core import Core
    from proxy.sip.flow import Flow
    from proxy.sip.message import Response

PINGED_MAX = 65_536
"""Flows that are pinged, some 0.4 kB each: as many as are remembered of registrations (bindings.FLOWS_MAX)."""


class Pinged:
    """One flow, as long as something is registered over it."""

    __slots__ = ("flow", "queued", "until", "uri")

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.uri = ""
        self.until = 0.0
        """Engine seconds."""
        self.queued = False
        """Its timer runs."""


class NatPings:
    """One for each engine."""

    __slots__ = ("_call_id", "_core", "_cseq", "_flows", "_tag")

    def __init__(self, core: Core) -> None:
        self._core = core
        self._flows: dict[Flow, Pinged] = {}
        self._call_id = f"nat-{core.ids.tag()}"
        self._tag = core.ids.tag()
        self._cseq = 0

    def __len__(self) -> int:
        return len(self._flows)

    def note(self, flow: Flow, bindings: list[Binding], now: float) -> None:
        """What is registered over this flow, as of now."""
        core = self._core
        every = core.snapshot.config.nat.ping
        natted = [one for one in bindings if behind_nat(one)]
        if not natted or not every:
            self._flows.pop(flow, None)
            return
        pinged = self._flows.get(flow)
        if pinged is None:
            if len(self._flows) >= PINGED_MAX:
                return
            pinged = self._flows[flow] = Pinged(flow)
        latest = max(natted, key=lambda one: one.expires_at)
        pinged.uri, pinged.until = latest.uri, latest.expires_at - core.wall_offset
        if not pinged.queued:
            pinged.queued = True
            # The first at a moment of its own: after a restart all phones come at once.
            core.timers.at(now + every * (0.5 + 0.5 * core.rng.random()), self._due, pinged, 0)

    def drop(self, flow: Flow) -> None:
        """Nothing comes through there any more."""
        self._flows.pop(flow, None)

    def answered(self, response: Response) -> bool:
        """Whether a response of no transaction is the answer to a ping."""
        if response.cseq_method != "OPTIONS" or response.call_id != self._call_id:
            return False
        self._core.counters.pings_answered += 1
        return True

    def _due(self, pinged: Pinged, token: int, now: float) -> None:
        pinged.queued = False
        core = self._core
        every = core.snapshot.config.nat.ping
        if self._flows.get(pinged.flow) is not pinged:
            return
        if pinged.until <= now or not every:
            del self._flows[pinged.flow]
            return
        self._send(pinged)
        pinged.queued = True
        core.timers.after(every, self._due, pinged, 0, now)

    def _send(self, pinged: Pinged) -> None:
        core = self._core
        flow = pinged.flow
        text = core.texts[flow.local]
        self._cseq = self._cseq % 0x7FFF_FFFF + 1
        local = flow.local
        lines = [
            text.via + core.ids.branch(0),
            "Max-Forwards: 70",
            f"From: <sip:{local.host}:{local.port}>;tag={self._tag}",
            f"To: <{pinged.uri}>",
            f"Call-ID: {self._call_id}",
            f"CSeq: {self._cseq} OPTIONS",
            "Accept: application/sdp",
            "Content-Length: 0",
        ]
        core.counters.pings_sent += 1
        core.transmit(flow, render(f"OPTIONS {pinged.uri} SIP/2.0", lines, b""))


def behind_nat(binding: Binding) -> bool:
    """Whether the contact says another address than its REGISTER came from."""
    if binding.transport != "UDP":
        return False
    uri = parse_uri(binding.uri)
    return uri is not None and (not same_host(uri.host, binding.host) or (uri.port or 5060) != binding.port)
