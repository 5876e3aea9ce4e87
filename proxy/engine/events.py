"""What can happen to the engine: a closed union. `Engine.handle(event, now)` is the one door in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policies.heritage import Inherited
    from policies.lease import Leg
    from policies.verdicts import AdmitVerdict, PlaceVerdict, RegisterVerdict
    from proxy.engine.effects import MediaAsk, RegisterAsk
    from proxy.engine.finding import Question, Server
    from proxy.engine.snapshot import Snapshot
    from proxy.sip.flow import Flow
    from proxy.sip.message import ParseError


class MessageIn:
    """Bytes of one message: a whole datagram, or one message framed out of a stream (flow.reliable tells which)."""

    __slots__ = ("data", "flow")

    def __init__(self, data: bytes, flow: Flow) -> None:
        self.data = data
        self.flow = flow


class TimerFired:
    """The one timer rang: everything due by `now` is done."""

    __slots__ = ()


class AdmissionDecided:
    """Answer to effects.AskAdmission: policies.verdicts Admitted | Refused | Unavailable."""

    __slots__ = ("leg", "verdict")

    def __init__(self, leg: Leg, verdict: AdmitVerdict) -> None:
        self.leg = leg
        self.verdict = verdict


class BudgetPlanned:
    """When the payer's total_duration runs out, as things stand after an answer or an end."""

    __slots__ = ("exhausts_in", "mode", "payer", "version")

    def __init__(self, payer: str, mode: str, exhausts_in: float | None, version: int) -> None:
        self.payer = payer
        self.mode = mode
        self.exhausts_in = exhausts_in
        """Seconds from now; None = never, as things stand."""
        self.version = version
        """Redis time in ms at which the plan was made; an older plan never replaces a newer one."""


class LeaseLost:
    """An operator has cleared the leg's lease in the store: its call is to end."""

    __slots__ = ("leg",)

    def __init__(self, leg: Leg) -> None:
        self.leg = leg


class CallInherited:
    """An answered call that an earlier run of this instance, or another that died, left in the store."""

    __slots__ = ("inherited",)

    def __init__(self, inherited: Inherited) -> None:
        self.inherited = inherited


class RegisterDecided:
    """Answer to effects.AskRegister."""

    __slots__ = ("ask", "verdict")

    def __init__(self, ask: RegisterAsk, verdict: RegisterVerdict) -> None:
        self.ask = ask
        self.verdict = verdict


class PlaceDecided:
    """Answer to effects.AskPlace."""

    __slots__ = ("user", "verdict")

    def __init__(self, user: object, verdict: PlaceVerdict) -> None:
        self.user = user
        self.verdict = verdict


class TurnDecided:
    """Answer to effects.AskTurn."""

    __slots__ = ("ours", "trunk")

    def __init__(self, trunk: str, ours: bool | None) -> None:
        self.trunk = trunk
        self.ours = ours
        """None: the store did not answer."""


class BindingsFound:
    """Answer to effects.AskBindings: binding records, or None when the store did not answer."""

    __slots__ = ("bindings", "user")

    def __init__(self, bindings: list[str] | None, user: object) -> None:
        self.bindings = bindings
        self.user = user


class NameFound:
    """Answer to effects.AskName: the servers behind the name, in any order; none when it leads nowhere."""

    __slots__ = ("failed", "question", "servers", "ttl")

    def __init__(
        self, question: Question, servers: Sequence[Server], ttl: float, failed: bool = False
    ) -> None:
        self.question = question
        self.servers = servers
        self.ttl = ttl
        """Seconds until it should be asked for again."""
        self.failed = failed
        """Nobody could say (no name server answered), which is not the same as no servers."""


class MediaAnswered:
    """Answer to effects.AskMedia: the description to go on with; None = rtpengine did not do it."""

    __slots__ = ("ask", "sdp")

    def __init__(self, ask: MediaAsk, sdp: bytes | None) -> None:
        self.ask = ask
        self.sdp = sdp


class FlowFailed:
    """A connection could not be opened or broke, or the kernel reported the UDP peer unreachable."""

    __slots__ = ("flow",)

    def __init__(self, flow: Flow) -> None:
        self.flow = flow


class FramingFailed:
    """A stream's bytes cannot be cut into messages any more; `error` is what could be read of the message."""

    __slots__ = ("error", "flow")

    def __init__(self, flow: Flow, error: ParseError) -> None:
        self.flow = flow
        self.error = error


class Hangup:
    """An operator cuts a call: every call with this Call-ID."""

    __slots__ = ("call_id",)

    def __init__(self, call_id: str) -> None:
        self.call_id = call_id


class DrainStarted:
    """No new calls from here on; running ones go on."""

    __slots__ = ()


class OverloadChanged:
    """The driver's measure of load (loop lag, queues) crossed its mark: while `on`, new INVITEs get a cheap 503."""

    __slots__ = ("on",)

    def __init__(self, on: bool) -> None:
        self.on = on


class FloodSeen:
    """The sockets saw more datagrams from this address or site (site.py) than guard.flood allows."""

    __slots__ = ("host",)

    def __init__(self, host: str) -> None:
        self.host = host


class Unban:
    """An operator lifts the ban of this address, or ("") all of them."""

    __slots__ = ("host",)

    def __init__(self, host: str) -> None:
        self.host = host


class Started:
    """The sockets are open: what the engine does of its own accord begins."""

    __slots__ = ()


class SnapshotChanged:
    """Plans, subscribers and routes were loaded anew; swapped whole."""

    __slots__ = ("snapshot",)

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot


Event = (
    MessageIn
    | TimerFired
    | AdmissionDecided
    | BudgetPlanned
    | LeaseLost
    | CallInherited
    | RegisterDecided
    | PlaceDecided
    | TurnDecided
    | BindingsFound
    | NameFound
    | MediaAnswered
    | FlowFailed
    | FramingFailed
    | Hangup
    | DrainStarted
    | OverloadChanged
    | SnapshotChanged
    | Started
    | FloodSeen
    | Unban
)
