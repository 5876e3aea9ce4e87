"""What the transaction tests share: a stack whose user writes down what it is told, and a clock that jumps."""

from __future__ import annotations

from typing import Any

from proxy.sip.flow import Flow, Local
from proxy.sip.message import Request, Response, TopVia
from proxy.sip.outputs import Transmit
from proxy.sip.stack import ClientTransaction, Counters, ServerTransaction, Stack, TimerConfig
from proxy.sip.timers import Timers
from proxy.sip.transaction import TransactionUser

LOCAL_UDP = Local("UDP", "192.0.2.1", 5060, 4)
LOCAL_TCP = Local("TCP", "192.0.2.1", 5060, 4)

Told = tuple[Any, ...]


class Recorder(TransactionUser):
    """A transaction user that only writes down (name, what it is about)."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.requests: list[ServerTransaction] = []
        self.invites: list[ServerTransaction | None] = []

    def on_request(self, txn: ServerTransaction, now: float) -> None:
        assert txn.request is not None
        self.told.append(("request", txn.request.method))
        self.requests.append(txn)

    def on_ack(self, request: Request, flow: Flow, now: float) -> None:
        self.told.append(("ack", request.method))

    def on_cancel(self, txn: ServerTransaction, invite: ServerTransaction | None, now: float) -> None:
        self.told.append(("cancel", invite is not None))
        self.requests.append(txn)
        self.invites.append(invite)

    def on_response(self, txn: ClientTransaction, response: Response, now: float) -> None:
        self.told.append(("response", response.status))

    def on_stray_response(self, response: Response, flow: Flow, now: float) -> None:
        self.told.append(("stray", response.status))

    def on_timeout(self, txn: ClientTransaction, now: float) -> None:
        self.told.append(("timeout", txn.method))

    def on_transport_error(self, txn: ClientTransaction, now: float) -> None:
        self.told.append(("transport error", txn.method))

    def on_ack_timeout(self, txn: ServerTransaction, now: float) -> None:
        self.told.append(("ack timeout",))

    def on_terminated(self, txn: ServerTransaction | ClientTransaction, now: float) -> None:
        self.told.append(("terminated", txn.user))

    def on_overload(self, request: Request, flow: Flow, now: float) -> None:
        self.told.append(("overload", request.method))


class World:
    """A stack, its user, and the time. `sent` is what went out: (seconds, first line or the data itself)."""

    def __init__(self, transport: str = "UDP", config: TimerConfig | None = None) -> None:
        self.config = config or TimerConfig()
        self.user = Recorder()
        self.timers = Timers()
        self.out: list[Transmit] = []
        self.counters = Counters()
        self.stack = Stack(self.user, self.timers, self.out, self.config, self.counters)
        self.now = 0.0
        self.local = LOCAL_UDP if transport == "UDP" else LOCAL_TCP
        self.flow = Flow(transport, "198.51.100.7", 5060, self.local, 0 if transport == "UDP" else 1)
        self.sent: list[tuple[float, bytes]] = []

    def collect(self) -> list[bytes]:
        """What was sent since the last call, which also goes into `sent` with the present time."""
        data = [item.data for item in self.out]
        self.sent += [(self.now, item) for item in data]
        self.out.clear()
        return data

    def told(self) -> list[Told]:
        """What the user was told since the last call."""
        told = self.user.told[:]
        self.user.told.clear()
        return told

    def receive(self, message: Request | Response, flow: Flow | None = None) -> list[Told]:
        self.stack.receive(message, flow or self.flow, self.now)
        return self.told()

    def until(self, when: float) -> None:
        """Jumps from deadline to deadline until `when`, which becomes the present."""
        while (due := self.timers.next_deadline()) is not None and due <= when:
            self.now = due
            self.timers.expire(due)
            self.collect()
        self.now = when

    def times(self) -> list[float]:
        """When something was sent, to the millisecond."""
        self.collect()
        return [round(when, 3) for when, _ in self.sent]

    def terminated(self) -> bool:
        """Whether the stack holds no transaction any more."""
        stack = self.stack
        return not (stack._servers or stack._clients or stack._cancels or stack._pending)


def via(branch: str, host: str = "198.51.100.7", port: int | None = 5060) -> TopVia:
    sent_by = host if port is None else f"{host}:{port}"
    value = f"SIP/2.0/UDP {sent_by}" + (f";branch={branch}" if branch else "")
    return TopVia("UDP", host, port, branch, None, None, value)


def request(
    method: str,
    branch: str = "z9hG4bK1",
    *,
    to_tag: str = "",
    host: str = "198.51.100.7",
    port: int | None = 5060,
    uri: str = "sip:bob@example.com",
    cseq: int = 1,
) -> Request:
    top = via(branch, host, port)
    to = "<sip:bob@example.com>" + (f";tag={to_tag}" if to_tag else "")
    lines = [
        f"Via: {top.value}",
        "From: <sip:alice@example.com>;tag=a",
        f"To: {to}",
        "Call-ID: call@example.com",
        f"CSeq: {cseq} {method}",
        "Max-Forwards: 70",
        "Content-Length: 0",
    ]
    keys = ["via", "from", "to", "call-id", "cseq", "max-forwards", "content-length"]
    return Request(method, uri, lines, keys, b"", top, "call@example.com", cseq, "a", to_tag, 70)


def response(
    status: int,
    method: str = "INVITE",
    branch: str = "z9hG4bK1",
    *,
    to_tag: str = "b",
    reason: str = "Reason",
) -> Response:
    top = via(branch, "192.0.2.1")
    lines = [
        f"Via: {top.value}",
        "From: <sip:alice@example.com>;tag=a",
        f"To: <sip:bob@example.com>;tag={to_tag}",
        "Call-ID: call@example.com",
        f"CSeq: 1 {method}",
        "Content-Length: 0",
    ]
    keys = ["via", "from", "to", "call-id", "cseq", "content-length"]
    return Response(status, reason, method, lines, keys, b"", top, "call@example.com", 1, "a", to_tag, None)


def wire(message: Request | Response) -> bytes:
    """The message as bytes."""
    if isinstance(message, Request):
        start = f"{message.method} {message.uri} SIP/2.0"
    else:
        start = f"SIP/2.0 {message.status} {message.reason}"
    return "\r\n".join([start, *message.lines, "", ""]).encode("latin-1") + message.body


def reply_to(message: Request, status: int, to_tag: str = "b") -> bytes:
    """A response to the request, as bytes."""
    answer = response(status, message.method, message.via.branch, to_tag=to_tag)
    answer.lines[0] = f"Via: {message.via.value}"
    return wire(answer)
