"""What the transaction layer and its user (the engine) hold in common: the two transactions, and the user's protocol.

A transaction is a small record; what it does is the table of its machine (client_invite, client_other, server_invite,
server_other), read by `stack.Stack`. The names "client" and "server" are RFC 3261 §17's: callgate is the server of
the transaction a caller started and the client of those it starts itself.

Memory: some 100,000 transactions linger (32 s each) at 1,000 calls/s, so a transaction drops its request and bytes as
soon as nothing can ask for them again, and lets go of `user` when it terminates: no cycle is left for the collector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from proxy.sip.outputs import Transmit

if TYPE_CHECKING:
    from proxy.sip.flow import Flow
    from proxy.sip.fsm import Plan
    from proxy.sip.message import Request, Response


class ServerTransaction:
    """A request somebody sent us, and what we answered. Made by the stack only."""

    __slots__ = (
        "attempt",
        "data",
        "flow",
        "identity",
        "key",
        "plan",
        "received_at",
        "request",
        "state",
        "user",
    )

    def __init__(self, key: str, plan: Plan, request: Request, flow: Flow, now: float) -> None:
        self.key = key
        self.plan = plan
        self.state = 0
        """A `State` of the machine, as its small int."""
        self.flow = flow
        """Where the request came from; every response goes back over it (RFC 3581 §4)."""
        self.received_at = now
        self.identity = ""
        """What copies of its request share (Stack.claim_identity); "" = nobody asks."""
        self.request: Request | None = request
        """None once a final response was sent or the request abandoned: who still needs it keeps a reference."""
        self.data: bytes | None = None
        """The response that a retransmitted request is answered with; None when it is answered with silence."""
        self.user: Any = None
        """The engine's own; None again once terminated. Clear it earlier when it is heavy and the call is over."""
        self.attempt = 0

    @property
    def pending(self) -> bool:
        """No final response sent yet."""
        return self.state < self.plan.machine.settled

    @property
    def invite(self) -> bool:
        return self.plan.machine.invite


class ClientTransaction:
    """A request we sent, and what came back. Made by `Stack.send` only."""

    __slots__ = ("attempt", "branch", "data", "flow", "method", "own", "plan", "state", "user")

    def __init__(
        self, method: str, data: bytes, branch: str, plan: Plan, flow: Flow, user: Any, own: bool
    ) -> None:
        self.method = method
        self.branch = branch
        self.plan = plan
        self.state = 0
        """A `State` of the machine, as its small int."""
        self.flow = flow
        self.data: bytes | None = data
        """The request as sent, while pending (what `serialise.cancel_for` needs); later the ACK we resend, or None."""
        self.user: Any = user
        """The engine's own; None again once terminated. Clear it earlier when it is heavy and the call is over."""
        self.own = own
        """Made here and forwarded for nobody: its responses have our Via and no other."""
        self.attempt = 0

    @property
    def pending(self) -> bool:
        """No final response received yet, nor given up."""
        return self.state < self.plan.machine.settled

    @property
    def invite(self) -> bool:
        return self.plan.machine.invite


class TransactionUser:
    """What the engine implements. Each call may call back into the stack: the transaction is already in its new state.

    Retransmissions never arrive here, whatever the machine. (A base and no Protocol: so mypyc calls it directly.)
    """

    def on_request(self, txn: ServerTransaction, now: float) -> None:
        """A new request, neither ACK nor CANCEL, with its transaction. An INVITE wants `respond(100)` at once."""
        raise NotImplementedError

    def on_ack(self, request: Request, flow: Flow, now: float) -> None:
        """An ACK for a 2xx: no transaction of its own, goes end to end, is never answered (RFC 3261 §17, §16.11)."""
        raise NotImplementedError

    def on_cancel(self, txn: ServerTransaction, invite: ServerTransaction | None, now: float) -> None:
        """A CANCEL with its own transaction, to be answered: 200, or 481 when `invite` is None (RFC 3261 §9.2).

        `invite` may have had its final response already (`pending` is False): then the CANCEL changes nothing else.
        """
        raise NotImplementedError

    def on_response(self, txn: ClientTransaction, response: Response, now: float) -> None:
        """Every 1xx (100 too), the first final, and to an INVITE every 2xx, also after another final response."""
        raise NotImplementedError

    def on_stray_response(self, response: Response, flow: Flow, now: float) -> None:
        """A response of no transaction. It must not be forwarded (RFC 6026 §8.9, RFC 4320 §4.2)."""
        raise NotImplementedError

    def on_timeout(self, txn: ClientTransaction, now: float) -> None:
        """No final response within 64*T1 of the request (Timer B, F) or of the CANCEL (RFC 3261 §9.1). Terminated."""
        raise NotImplementedError

    def on_transport_error(self, txn: ClientTransaction, now: float) -> None:
        """The flow failed before a final response. Terminated. RFC 3261 §16.9: like a 503 from that branch."""
        raise NotImplementedError

    def on_ack_timeout(self, txn: ServerTransaction, now: float) -> None:
        """Our 300–699 to an INVITE was never acknowledged (Timer H). Terminated."""
        raise NotImplementedError

    def on_terminated(self, txn: ServerTransaction | ClientTransaction, now: float) -> None:
        """An INVITE transaction is gone; `user` is still set for the length of this call."""
        raise NotImplementedError

    def on_overload(self, request: Request, flow: Flow, now: float) -> None:
        """A new request, never an ACK, beyond `TimerConfig.transactions_max`: any answer is a stateless one.

        The ACK for such an answer arrives by `on_ack`, for no transaction knows it.
        """
        raise NotImplementedError


class Sink(Protocol):
    """The part of a list that the stack needs: `list[Transmit]`, or a list of a union that has Transmit in it."""

    def append(self, item: Transmit, /) -> None: ...


@dataclass(frozen=True, slots=True)
class TimerConfig:
    """RFC 3261 Table 4, in seconds, and the one bound of the layer."""

    t1: float = 0.5
    """Round-trip time estimate. RFC 3261 §17.1.1.1: smaller values are for closed networks (and our own tests)."""
    t2: float = 4.0
    """The longest interval between retransmissions of a non-INVITE request or of a final response to an INVITE."""
    t4: float = 5.0
    """How long a message stays in the network."""
    transactions_max: int = 250_000
    """Server transactions held before new requests get none. 1,000 calls/s hold 65,000 (two for each call, 32 s)."""


class Counters:
    """What the stack counted since its start. Lists are indexed by `Machine.number`; their order is `Machine.NAMES`."""

    __slots__ = (
        "ended",
        "overloads",
        "retransmissions_received",
        "retransmissions_sent",
        "started",
        "strays",
    )

    def __init__(self) -> None:
        self.started = [0, 0, 0, 0]
        """Transactions made: client INVITE, client other, server INVITE, server other."""
        self.ended = [0, 0, 0, 0]
        """Transactions terminated, in the same order; active = started - ended."""
        self.retransmissions_received = 0
        """Requests and finals that came again and stopped here."""
        self.retransmissions_sent = 0
        """Requests, finals and ACKs that we sent again, by timer or because the peer did."""
        self.strays = 0
        """Responses of no transaction, or to a request of our own with more Vias than ours."""
        self.overloads = 0
        """New requests that found `transactions_max` reached."""
