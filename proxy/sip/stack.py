"""The transaction layer: finds the transaction a message belongs to, runs its machine, keeps its timers (RFC 3261 §17)."""

from __future__ import annotations

from typing import Any

from proxy.sip.flow import Flow
from proxy.sip.message import Request, Response
from proxy.sip.timers import Timers
from proxy.sip.transaction import (
    ClientTransaction,
    Counters,
    ServerTransaction,
    Sink,
    TimerConfig,
    TransactionUser,
)

__all__ = [
    "ClientTransaction",
    "Counters",
    "ServerTransaction",
    "Sink",
    "Stack",
    "TimerConfig",
    "TransactionUser",
]


class Stack:
    """All transactions of one process. Every method takes `now`: monotonic seconds, never going back."""

    def __init__(
        self,
        user: TransactionUser,
        timers: Timers,
        out: Sink,
        config: TimerConfig,
        counters: Counters,
    ) -> None:
        self.out = out
        """Where `Transmit`s are appended; may be replaced by another list between two events."""
        self.counters = counters
        raise NotImplementedError

    def receive(self, message: Request | Response, flow: Flow, now: float) -> None:
        """One parsed message from the network: at most one call of the user's `on_…`, none for a retransmission."""
        raise NotImplementedError

    def respond(self, txn: ServerTransaction, status: int, data: bytes, now: float) -> None:
        """The user's response, `data` being the whole message. What comes too late for its machine is dropped."""
        raise NotImplementedError

    def abandon(self, txn: ServerTransaction, now: float) -> None:
        """Never answer this non-INVITE request (RFC 4320 §4.2: a 408 is forbidden); its retransmissions meet silence."""
        raise NotImplementedError

    def send(
        self, method: str, data: bytes, branch: str, flow: Flow, user: Any, now: float
    ) -> ClientTransaction:
        """Sends a request other than ACK in a transaction of its own.

        A CANCEL takes the branch and flow of its INVITE (RFC 3261 §9.1), which is then given up, by `on_timeout`, when
        no final response comes within 64*T1.
        """
        raise NotImplementedError

    def flow_failed(self, flow: Flow, now: float) -> None:
        """The connection is gone (or ICMP said so): `on_transport_error` for each pending client transaction on it.

        Server transactions stay as they are (RFC 6026 §7.1).
        """
        raise NotImplementedError
