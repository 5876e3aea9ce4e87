"""A phone in Python, for what SIPp 3.6 cannot do: SHA-256, a request sent twice with one nonce, several contacts.

Blocking, one socket, no state of its own but the CSeq; a test says each step. Its digest is written from RFC 7616 and
shares no code with callgate's.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

from config.listen import WEBSOCKET, Certificate, Transport
from tests.e2e.channel import Channel, open_channel
from tests.e2e.net import Address, free_port
from tests.e2e.sipp import Message

DOMAIN = "example.com"
_HASHES = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}
_PARAMETER = re.compile(r'(\w+)=(?:"([^"]*)"|([^,\s]+))')
_calls = itertools.count(1)


class Phone:
    """A `with` block closes it."""

    def __init__(
        self,
        user: str,
        password: str,
        host: str,
        proxy: Address,
        transport: Transport,
        domain: str = DOMAIN,
        port: int = 0,
        certificate: Certificate | None = None,
        channel: Channel | None = None,
    ) -> None:
        """`certificate`: shown over TLS when asked for. `channel`: what callgate opened to us, where it did."""
        self.user = user
        self.domain = domain
        self.password = password
        self.transport = transport
        self.host, self.port = host, port or free_port(host)
        self._cseq = itertools.count(1)
        self._branch = itertools.count(1)
        self._channel = channel or open_channel(transport, (self.host, self.port), proxy, certificate)
        # RFC 7118 §8.1: a browser does not know its address, and names itself by what is none.
        address = f"[{host}]" if ":" in host else host
        self._named = f"{user}.invalid" if transport in WEBSOCKET else f"{address}:{self.port}"

    def __enter__(self) -> Phone:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    @property
    def socket(self) -> socket.socket:
        return self._channel.socket

    @property
    def contact(self) -> str:
        # RFC 7118 §5.2: "ws" in a URI, with TLS below it or not.
        transport = "ws" if self.transport == "WSS" else self.transport.lower()
        return f"sip:{self.user}@{self._named};transport={transport}"

    def request(
        self, method: str, uri: str, *extra: str, to: str = "", call_id: str = "", cseq: int = 0
    ) -> str:
        """A request out of any dialog. `to`: the URI in To when it is not `uri`."""
        return "\r\n".join(
            [
                f"{method} {uri} SIP/2.0",
                f"Via: SIP/2.0/{self.transport} {self._named};rport;"
                f"branch=z9hG4bK{self.user}{next(self._branch)}p{self.port}",
                "Max-Forwards: 70",
                f"From: <sip:{self.user}@{self.domain}>;tag={self.user}{self.port}",
                f"To: <{to or uri}>",
                f"Call-ID: {call_id or self.new_call_id()}",
                f"CSeq: {cseq or next(self._cseq)} {method}",
                *extra,
                "Content-Length: 0",
                "",
                "",
            ]
        )

    def new_call_id(self) -> str:
        return f"{next(_calls)}-{self.user}@{self.host}"

    def register(self, *extra: str, call_id: str = "", contact: str = "") -> str:
        """A REGISTER of this phone's contact; `contact`: another Contact value."""
        line = f"Contact: {contact or f'<{self.contact}>'}"
        aor = f"sip:{self.user}@{self.domain}"
        return self.request("REGISTER", f"sip:{self.domain}", line, *extra, to=aor, call_id=call_id)

    def invited(self, user: str) -> Message:
        """Calls an account, with digest when asked, and returns the final answer; acknowledged when it is a refusal."""
        uri = f"sip:{user}@{self.domain}"
        answer = self.ask(self.request("INVITE", uri, f"Contact: <{self.contact}>"))
        if answer.status == 407:
            answer = self.ask(self._proven(answer, uri))
        if answer.status >= 300:
            self.acknowledge(answer)
        return answer

    def invite(self, user: str, *, cseq: int = 0) -> str:
        """Calls an account or a number, with the digest it is asked for, and returns the Call-ID before any answer."""
        uri = f"sip:{user}@{self.domain}"
        asked = self.ask(self.request("INVITE", uri, f"Contact: <{self.contact}>"))
        assert asked.status == 407, asked.text
        self.send(self._proven(asked, uri, cseq))
        return asked.call_id

    def _proven(self, asked: Message, uri: str, cseq: int = 0) -> str:
        """The INVITE again, with what its 407 asks for."""
        self.acknowledge(asked)
        proof = credentials(self, "INVITE", uri, challenges(asked)["MD5"], proxy=True)
        contact = f"Contact: <{self.contact}>"
        return self.request("INVITE", uri, contact, proof, call_id=asked.call_id, cseq=cseq)

    def within(self, method: str, answer: Message, cseq: int, *extra: str) -> str:
        """A request in the dialog that our INVITE and this answer to it made."""
        return self._in_dialog(
            method,
            target_of(answer),
            [f"Route: {value}" for value in reversed(listed(answer, "Record-Route"))],
            (answer.value("From"), answer.value("To"), answer.call_id),
            cseq,
            extra,
        )

    def back(self, method: str, invite: Message, cseq: int, *extra: str) -> str:
        """A request in the dialog of an INVITE that `reply` answered."""
        return self._in_dialog(
            method,
            target_of(invite),
            [f"Route: {value}" for value in listed(invite, "Record-Route")],
            (f"{invite.value('To')};tag=t{self.port}", invite.value("From"), invite.call_id),
            cseq,
            extra,
        )

    def _in_dialog(
        self,
        method: str,
        uri: str,
        routes: list[str],
        ends: tuple[str, str, str],
        cseq: int,
        extra: Iterable[str],
    ) -> str:
        return "\r\n".join(
            [
                f"{method} {uri} SIP/2.0",
                f"Via: SIP/2.0/{self.transport} {self._named};rport;"
                f"branch=z9hG4bK{self.user}{next(self._branch)}p{self.port}",
                *routes,
                "Max-Forwards: 70",
                f"From: {ends[0]}",
                f"To: {ends[1]}",
                f"Call-ID: {ends[2]}",
                f"CSeq: {cseq} {method}",
                *extra,
                "Content-Length: 0",
                "",
                "",
            ]
        )

    def ask(self, message: str) -> Message:
        """Sends it and returns the final response to it."""
        self.send(message)
        _, call_id, cseq = message.split("\r\n")[0], _header(message, "Call-ID"), _header(message, "CSeq")
        while True:
            answer = self.receive()
            if answer.status >= 200 and answer.call_id == call_id and answer.value("CSeq") == cseq:
                return answer

    def acknowledge(self, answer: Message) -> None:
        """The ACK of a refused INVITE, in its transaction (RFC 3261 §17.1.1.3)."""
        uri = answer.value("To").partition("<")[2].partition(">")[0]
        copied = [f"{name}: {answer.value(name)}" for name in ("Via", "From", "To", "Call-ID")]
        lines = [f"ACK {uri} SIP/2.0", *copied, f"CSeq: {answer.cseq} ACK", "Max-Forwards: 70"]
        self.send("\r\n".join([*lines, "Content-Length: 0", "", ""]))

    def cancel_of(self, invite: str) -> str:
        """RFC 3261 §9.1: of an INVITE that was sent."""
        uri = invite.split()[1]
        copied = [
            f"{name}: {_header(invite, name)}" for name in ("Via", "From", "To", "Call-ID", "Max-Forwards")
        ]
        cseq = _header(invite, "CSeq").split()[0]
        return "\r\n".join(
            [f"CANCEL {uri} SIP/2.0", *copied, f"CSeq: {cseq} CANCEL", "Content-Length: 0", "", ""]
        )

    def send(self, message: str) -> None:
        self._channel.send(message.encode("latin-1"))

    def receive(self) -> Message:
        """The next message that comes."""
        return Message(0.0, False, self._channel.receive().decode("latin-1"))

    def expect(self, method: str) -> Message:
        """The next request with this method; what comes before it is passed over."""
        while True:
            message = self.receive()
            if message.start.startswith(f"{method} "):
                return message

    def reply(self, request: Message, status: str, *extra: str) -> None:
        """A response to a request that came."""
        copied = [
            f"{name}: {value}"
            for name in ("Via", "Record-Route", "From", "Call-ID", "CSeq")
            for value in request.values(name)
        ]
        to = request.value("To")
        if ";tag=" not in to:
            to += f";tag=t{self.port}"
        lines = [f"SIP/2.0 {status}", *copied, f"To: {to}", *extra, "Content-Length: 0", "", ""]
        self.send("\r\n".join(lines))


def _header(message: str, name: str) -> str:
    found = re.search(rf"^{name}:\s*(.*?)\r?$", message, re.MULTILINE | re.IGNORECASE)
    return found[1] if found else ""


def register(phone: Phone, contact: str = "") -> None:
    """With its password, for a minute."""
    registrar = f"sip:{phone.domain}"
    proof = credentials(phone, "REGISTER", registrar, challenges(phone.ask(phone.register()))["MD5"])
    answer = phone.ask(phone.register(proof, "Expires: 60", contact=contact))
    assert answer.status == 200, answer.text


def call(caller: Phone, callee: Phone) -> tuple[Message, Message]:
    """The caller's 200, acknowledged, and the callee's INVITE."""
    with ThreadPoolExecutor(1) as threads:
        calling = threads.submit(caller.invited, callee.user)
        invite = callee.expect("INVITE")
        callee.reply(invite, "200 OK", f"Contact: <{callee.contact}>")
        ok = calling.result()
    assert ok.status == 200, ok.text
    caller.send(caller.within("ACK", ok, ok.cseq))
    callee.expect("ACK")
    return ok, invite


def final(phone: Phone) -> Message:
    """The final answer that comes next."""
    while (answer := phone.receive()).status < 200:
        pass
    return answer


def listed(message: Message, name: str) -> list[str]:
    """The values of a list header, one by one."""
    return [value.strip() for line in message.values(name) for value in line.split(",")]


def target_of(message: Message) -> str:
    """The URI in Contact."""
    return message.value("Contact").partition("<")[2].partition(">")[0]


def challenges(answer: Message) -> dict[str, dict[str, str]]:
    """The challenges of a 401 or 407 by algorithm, in their order."""
    values = answer.values("WWW-Authenticate") + answer.values("Proxy-Authenticate")
    return {challenge.setdefault("algorithm", "MD5"): challenge for challenge in map(parameters, values)}


def credentials(
    phone: Phone, method: str, uri: str, challenge: dict[str, str], *, nc: int = 1, proxy: bool = False
) -> str:
    """The header line that answers a challenge (RFC 7616 §3.4.1, qop=auth)."""
    algorithm, realm, nonce = challenge["algorithm"], challenge["realm"], challenge["nonce"]
    count, cnonce = f"{nc:08x}", f"c{phone.port}"
    response = digest(algorithm, phone.user, phone.password, realm, method, uri, nonce, count, cnonce)
    return (
        f"{'Proxy-' if proxy else ''}Authorization: Digest "
        f'username="{phone.user}", realm="{realm}", nonce="{nonce}", uri="{uri}", response="{response}", '
        f'algorithm={algorithm}, cnonce="{cnonce}", qop=auth, nc={count}'
    )


def digest(
    algorithm: str,
    user: str,
    password: str,
    realm: str,
    method: str,
    uri: str,
    nonce: str,
    nc: str,
    cnonce: str,
) -> str:
    """RFC 7616 §3.4.1, qop=auth."""

    def hashed(text: str) -> str:
        return _HASHES[algorithm](text.encode()).hexdigest()

    secret, request = hashed(f"{user}:{realm}:{password}"), hashed(f"{method}:{uri}")
    return hashed(f"{secret}:{nonce}:{nc}:{cnonce}:auth:{request}")


def parameters(value: str) -> dict[str, str]:
    """Of a Digest challenge or answer."""
    return {key: quoted or plain for key, quoted, plain in _PARAMETER.findall(value)}
