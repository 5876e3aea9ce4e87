"""A service whose provider's media are relayed, and an rtpengine that the test plays.

It writes its name into a description: `v=0 alice` becomes `v=0 alice@relay`.
"""

from __future__ import annotations

from pathlib import Path

from proxy.engine.effects import AskMedia, EndMedia, MediaAsk
from proxy.engine.events import MediaAnswered
from proxy.sip.message import Request, Response
from tests.engine.world import CALLGATE, Phone, World

RELAY = (
    CALLGATE.replace("identity: none}", "identity: none, media: relay}")
    + "rtpengine: {address: 127.0.0.1:2223}\n"
)
NUMBER = "sip:4930@example.com"
SDP = "Content-Type: application/sdp"


class Scene:
    """alice calls by the provider, whose media are relayed; `told` are the questions, oldest first."""

    def __init__(self, folder: Path, callgate: str = RELAY) -> None:
        assert "media: relay" in callgate
        self.world = World(folder, callgate)
        self.alice = Phone(self.world, "192.0.2.10", "alice")
        self.far = Phone(self.world, "192.0.2.20", "provider")
        self.answered = 0
        self.number = NUMBER

    def asks(self) -> list[MediaAsk]:
        """Those not answered yet."""
        return [effect.ask for effect in self.world.of(AskMedia)][self.answered :]

    def relay(self, count: int = 1, works: bool = True) -> list[tuple[str, str, str]]:
        """rtpengine answers so many; (command, from-tag, to-tag) of them."""
        asks = self.asks()[:count]
        assert len(asks) == count
        self.answered += count
        for ask in asks:
            self.world.handle(
                MediaAnswered(ask, ask.sdp + b"@relay" + ask.profile.encode() if works else None)
            )
        return [(ask.command, ask.from_tag, ask.to_tag) for ask in asks]

    def send(self, phone: Phone, start: str, like: list[str], body: str) -> None:
        phone.send(start, *like, *([SDP] if body else []), body=body)

    def invite(self, body: str, call_id: str = "c1", cseq: int = 1) -> None:
        lines = [
            f"Via: SIP/2.0/{self.alice.flow.transport} {self.alice.address};branch=z9hG4bK-inv-{call_id}-{cseq}",
            "From: <sip:alice@example.com>;tag=a",
            f"To: <{self.number}>",
            f"Call-ID: {call_id}",
            f"CSeq: {cseq} INVITE",
            f"Contact: <sip:alice@{self.alice.address}>",
        ]
        self.send(self.alice, f"INVITE {self.number} SIP/2.0", lines, body)

    def reply(self, phone: Phone, request: Request, status: str, body: str, tag: str = "b") -> None:
        to = request.value("to") or ""
        lines = [
            *[
                line
                for line, key in zip(request.lines, request.keys, strict=True)
                if key in ("via", "record-route")
            ],
            f"From: {request.value('from')}",
            f"To: {to}" if ";tag=" in to else f"To: {to};tag={tag}",
            f"Call-ID: {request.call_id}",
            f"CSeq: {request.cseq} {request.method}",
            f"Contact: <sip:{phone.user}@{phone.address}>",
        ]
        self.send(phone, f"SIP/2.0 {status}", lines, body)

    def within(self, method: str, ok: Response, cseq: int, body: str) -> None:
        lines = [
            f"Via: SIP/2.0/{self.alice.flow.transport} {self.alice.address};branch={self.alice.branch()}",
            *[f"Route: {route}" for route in reversed(ok.all_values("record-route"))],
            f"From: {ok.value('from')}",
            f"To: {ok.value('to')}",
            f"Call-ID: {ok.call_id}",
            f"CSeq: {cseq} {method}",
            f"Contact: <sip:alice@{self.alice.address}>",
        ]
        self.send(self.alice, f"{method} {ok.contact_uri()} SIP/2.0", lines, body)

    def back(self, phone: Phone, invite: Request, method: str, cseq: int, body: str) -> None:
        """A request of the callee that got this INVITE."""
        lines = [
            f"Via: SIP/2.0/{phone.flow.transport} {phone.address};branch={phone.branch()}",
            *[f"Route: {route}" for route in invite.all_values("record-route")],
            f"From: {invite.value('to')};tag=b",
            f"To: {invite.value('from')}",
            f"Call-ID: {invite.call_id}",
            f"CSeq: {cseq} {method}",
            f"Contact: <sip:{phone.user}@{phone.address}>",
        ]
        self.send(phone, f"{method} {invite.contact_uri()} SIP/2.0", lines, body)

    def one(self, phone: Phone) -> Request | Response:
        [message] = phone.got()
        length = message.value("content-length")
        assert length == str(len(message.body))
        return message

    def request(self, phone: Phone) -> Request:
        found = [message for message in phone.got() if isinstance(message, Request)]
        [message] = found
        assert message.value("content-length") == str(len(message.body))
        return message

    def response(self, phone: Phone, status: int) -> Response:
        [message] = [one for one in phone.got() if isinstance(one, Response) and one.status == status]
        return message

    def up(self) -> tuple[Request, Response]:
        """A call with both descriptions relayed."""
        self.invite("v=0 alice")
        self.relay()
        invite = self.request(self.far)
        self.reply(self.far, invite, "200 OK", "v=0 far")
        self.relay()
        ok = self.response(self.alice, 200)
        self.within("ACK", ok, 1, "")
        assert self.request(self.far).method == "ACK"
        return invite, ok

    @property
    def ended(self) -> int:
        return len(self.world.of(EndMedia))
