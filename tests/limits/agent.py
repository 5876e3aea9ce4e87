"""A SIP user agent for many calls at once, caller's and callee's side alike: one UDP socket, no task a call.

It behaves as RFC 3261 asks of a user agent (retransmissions, route sets, the three kinds of ACK) unless a case tells it
to misbehave: to be silent, to lose an ACK, to answer a BYE with 481, to answer twice, to die. What came is remembered
with its time; cases look at nothing else.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from tests.limits.leg import Leg
from tests.limits.sip import Message, response, unique

Address = tuple[str, int]
Behaviour = Callable[[Leg], None]
"""What a callee does when an INVITE comes; it may set timers of the leg (`Leg.later`)."""


class Agent:
    """At its address until `close`. Needs a running loop."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.legs: dict[str, Leg] = {}
        """By Call-ID."""
        self.behaviours: dict[str, Behaviour] = {}
        """What is to be done with the calls that come, by Call-ID: nobody else's is answered."""
        self._answered: dict[tuple[str, str], bytes] = {}
        """Responses by branch and method, for requests that come again (RFC 3261 §17.2)."""
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # Two hundred calls at once send more than a socket holds by itself.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._socket.setblocking(False)
        self._socket.bind(address)
        self._loop.add_reader(self._socket.fileno(), self.listen)

    def close(self) -> None:
        for leg in self.legs.values():
            leg.forget()
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def listen(self) -> None:
        """Hear all that has come: nothing is repeated while its answer lies unread."""
        while True:
            try:
                data, source = self._socket.recvfrom(65535)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error of what was sent to somebody who has gone
            self._heard(data, source)

    def call(
        self, proxy: Address, who: str, number: str, domain: str, *, call_id: str = "", acks: bool = True
    ) -> Leg:
        """An INVITE to `number` as `who` leaves now."""
        leg = Leg(self, call_id or unique("c"), unique("f"), proxy)
        leg.acks = acks
        self.legs[leg.call_id] = leg
        leg.invite(who, number, domain)
        return leg

    def send(self, data: bytes, to: Address) -> None:
        try:
            self._socket.sendto(data, to)
        except OSError:
            pass  # lost, as datagrams are

    def _heard(self, data: bytes, source: Address) -> None:
        if len(data) < 20:
            return
        message = Message(data, self._loop.time())
        leg = self.legs.get(message.call_id)
        if leg is not None and leg.dead:
            return
        if message.status:
            if leg is not None:
                leg.on_response(message)
            return
        if message.method != "ACK":
            before = self._answered.get((message.branch, message.method))
            if before is not None:
                if before:
                    self.send(before, source)
                return
            self._answered[message.branch, message.method] = b""
        if leg is None and message.method == "INVITE" and not message.to_tag:
            behaviour = self.behaviours.pop(message.call_id, None)
            if behaviour is not None:
                leg = self.legs[message.call_id] = Leg(self, message.call_id, unique("t"), source)
                leg.on_invite(message)
                behaviour(leg)
                leg.told()
                return
        if leg is not None:
            leg.on_request(message, source)
        elif message.method != "ACK":
            self.reply(message, source, 481)

    def reply(
        self, request: Message, to: Address, status: int, tag: str = "", extra: list[str] | None = None
    ) -> bytes:
        """Answer a request; the same again comes when the request comes again."""
        data = response(request, status, tag, extra or [])
        self._answered[request.branch, request.method] = data
        self.send(data, to)
        return data
