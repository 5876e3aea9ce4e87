"""A SIP user agent for many calls at once, caller's and callee's side alike: one UDP socket, no task a call.

It behaves as RFC 3261 asks of a user agent (retransmissions, route sets, the three kinds of ACK) unless a case tells it
to misbehave: to be silent, to lose an ACK, to answer a BYE with 481, to answer twice, to die. What came is remembered
with its time; cases look at nothing else.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from tests.limits.leg import Leg
from tests.limits.sip import Message, response, unique

Address = tuple[str, int]
Behaviour = Callable[[Leg], None]
"""What a callee does when an INVITE comes; it may set timers of the leg (`Leg.later`)."""


class Agent(asyncio.DatagramProtocol):
    """Made by `Agent.at`; `close` ends it."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.legs: dict[str, Leg] = {}
        """By Call-ID."""
        self.behaviours: dict[str, Behaviour] = {}
        """What is to be done with the calls that come, by Call-ID: nobody else's is answered."""
        self.strays: list[Message] = []
        """Requests of no call that is known here."""
        self._transport: asyncio.DatagramTransport | None = None
        self._answered: dict[tuple[str, str], bytes] = {}
        """Responses by branch and method, for requests that come again (RFC 3261 §17.2)."""

    @classmethod
    async def at(cls, address: Address) -> Agent:
        agent = cls(address)
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: agent, local_addr=address)
        return agent

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        # Two hundred calls at once send more than a socket holds by itself.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)

    def close(self) -> None:
        for leg in self.legs.values():
            leg.forget()
        if self._transport is not None:
            self._transport.abort()

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
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(data, to)

    def datagram_received(self, data: bytes, source: Address) -> None:
        if len(data) < 20:
            return
        message = Message(data, asyncio.get_running_loop().time())
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
        else:
            self.strays.append(message)
            if message.method != "ACK":
                self.reply(message, source, 481)

    def reply(
        self, request: Message, to: Address, status: int, tag: str = "", extra: list[str] | None = None
    ) -> bytes:
        """Answer a request; the same again comes when the request comes again."""
        data = response(request, status, tag, extra or [])
        self._answered[request.branch, request.method] = data
        self.send(data, to)
        return data
