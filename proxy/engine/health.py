"""OPTIONS to the targets of trunks that ask for it (`health:`): who does not answer gets no calls until it does.

A round of a trunk asks every flow of every target at once. Any answer but 503 is a sign of life (RFC 3261 §11: a server
that will not say what it can do is a server still). Rounds begin with `configure`, each at a moment of its own, so
that a hundred trunks are not asked in one burst.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from proxy.engine.finding import find_all
from proxy.engine.reach import OutageCause
from proxy.engine.targets import Target, hop_of
from proxy.sip.serialise import render

if TYPE_CHECKING:
    from policies.catalog import Trunk
    from proxy.engine.core import Core
    from proxy.sip.flow import Flow
    from proxy.sip.message import Response

UNRESOLVED_MAX = 64
"""Flows of targets that are gone from DNS are forgotten beyond so many for each trunk."""


class Checked:
    """What the checks of one flow have said."""

    __slots__ = ("answered_at", "failures", "rtt")

    def __init__(self) -> None:
        self.failures = 0
        """In a row."""
        self.answered_at: float | None = None
        self.rtt = 0.0
        """Seconds, of the last answer."""


class Rounds:
    """The rounds of one trunk, until the next `configure`."""

    __slots__ = ("cseq", "trunk")

    def __init__(self, trunk: Trunk) -> None:
        self.trunk = trunk
        self.cseq = 0


class Probe:
    """One OPTIONS under way: the user of its client transaction."""

    __slots__ = ("done", "flow", "rounds", "sent_at")

    def __init__(self, rounds: Rounds, flow: Flow, sent_at: float) -> None:
        self.rounds = rounds
        self.flow = flow
        self.sent_at = sent_at
        self.done = False


class Health:
    """All of it."""

    __slots__ = ("_core", "_running", "checked")

    def __init__(self, core: Core) -> None:
        self._core = core
        self._running: dict[str, Rounds] = {}
        self.checked: dict[Flow, Checked] = {}

    def configure(self, now: float) -> None:
        """Begin the rounds of the trunks there are now; those of a trunk that did not change go on."""
        core = self._core
        old, self._running = self._running, {}
        for trunk in core.snapshot.catalog.trunks.values():
            health = trunk.health
            if health is None or not trunk.targets:
                continue
            rounds = old.pop(trunk.name, None)
            if rounds is not None and rounds.trunk == trunk:
                self._running[trunk.name] = rounds
                continue
            rounds = self._running[trunk.name] = Rounds(trunk)
            # The first soon, for until then a dead target is taken for a live one.
            core.timers.at(now + core.rng.random() * min(1.0, health.every), self._round, rounds, 0)
        if old:
            # What went with them may be down in our memory only.
            core.reach.forget_checked()
            self.checked.clear()

    def shown(self, flow: Flow, now: float) -> dict[str, Any]:
        """For an operator: the last answer to a check."""
        checked = self.checked.get(flow)
        if checked is None:
            return {}
        if checked.answered_at is None:
            return {"failed_checks": checked.failures}
        return {
            "failed_checks": checked.failures,
            "answered_s_ago": round(now - checked.answered_at, 1),
            "rtt_ms": round(checked.rtt * 1000, 1),
        }

    def _round(self, rounds: Rounds, token: int, now: float) -> None:
        """Ask them all, and again after `every`."""
        trunk = rounds.trunk
        health = trunk.health
        if self._running.get(trunk.name) is not rounds or health is None:
            return
        core = self._core
        if len(self.checked) > UNRESOLVED_MAX * len(self._running):
            self.checked.clear()
        for text in trunk.targets:
            target = hop_of(core, text, text)
            if target is None:
                continue
            if target.flow is not None:
                self._ask(rounds, target, (target.flow,), now)
            else:
                find_all(core, target.question, partial(self._ask, rounds, target), now)
        core.timers.at(now + health.every, self._round, rounds, 0)

    def _ask(self, rounds: Rounds, target: Target, ways: Sequence[Flow], now: float) -> None:
        core = self._core
        health = rounds.trunk.health
        if health is None:
            return
        for flow in ways:
            if core.reach.held_off(flow):
                # RFC 3261 §21.5.4: no "other requests to that server" either.
                continue
            probe = Probe(rounds, flow, now)
            rounds.cseq += 1
            branch = core.ids.branch(0)
            text = core.texts[flow.local]
            own = f"sip:{text.local.host}:{text.local.port}"
            uri = target.uri
            lines = [
                text.via + branch,
                "Max-Forwards: 70",
                f"From: <{own}>;tag={core.ids.tag()}",
                f"To: <{uri}>",
                f"Call-ID: {core.ids.call_id()}",
                f"CSeq: {rounds.cseq} OPTIONS",
                f"Contact: <{own}>",
                "Accept: application/sdp",
                "Content-Length: 0",
            ]
            core.stack.send("OPTIONS", render(f"OPTIONS {uri} SIP/2.0", lines, b""), branch, flow, probe, now)
            core.timers.after(health.timeout, self._due, probe, 0, now)

    def answered(self, probe: Probe, response: Response, now: float) -> None:
        """A response to an OPTIONS of ours."""
        if response.status < 200 or probe.done:
            return
        if response.status == 503:
            self._bad(probe, now)
            return
        probe.done = True
        self._core.counters.trunk_checks["good"] += 1
        checked = self._checked(probe.flow)
        checked.failures, checked.answered_at, checked.rtt = 0, now, now - probe.sent_at
        self._core.reach.good(probe.flow, asked=True)

    def failed(self, probe: Probe, now: float) -> None:
        """No connection, or Timer F."""
        if not probe.done:
            self._bad(probe, now)

    def _due(self, probe: Probe, token: int, now: float) -> None:
        if not probe.done:
            self._bad(probe, now)

    def _bad(self, probe: Probe, now: float) -> None:
        probe.done = True
        self._core.counters.trunk_checks["bad"] += 1
        health = probe.rounds.trunk.health
        if health is None or self._running.get(probe.rounds.trunk.name) is not probe.rounds:
            return
        checked = self._checked(probe.flow)
        checked.failures += 1
        if checked.failures >= health.failures:
            self._core.reach.bad(probe.flow, OutageCause.HEALTH, None, True, now)

    def _checked(self, flow: Flow) -> Checked:
        checked = self.checked.get(flow)
        if checked is None:
            checked = self.checked[flow] = Checked()
        return checked
