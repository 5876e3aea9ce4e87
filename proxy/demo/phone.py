"""A telephone as small as it can be: registers, calls, is called, hangs up, and tells what it saw.

For the demonstration only: it talks on loopback, where nothing is lost, so it retransmits nothing; it has no sound;
and it answers every call at once.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence

from proxy.engine.digest import answer
from proxy.sip.message import Request, Response
from proxy.sip.parse import parse
from proxy.sip.serialise import ack_for, render, reply

PATIENCE = 10.0
"""Seconds for an answer that has to come."""

_SDP = (
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=callgate demo\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    b"m=audio 9 RTP/AVP 0\r\n"
)


class Line:
    """One call as a phone has it: what is needed to hang up, and how it ended."""

    def __init__(self, call_id: str, local: str, remote: str, target: str, routes: Sequence[str]) -> None:
        self.call_id = call_id
        self.local = local
        """Our From value, with its tag."""
        self.remote = remote
        """The other side's, with its tag."""
        self.target = target
        self.routes = routes
        """Route values, next hop first."""
        self.cseq = 1
        self.ended: asyncio.Future[tuple[float, str]] = asyncio.get_running_loop().create_future()
        """When the other side's BYE came (loop time) and its Reason; never, when we hung up."""


class Phone(asyncio.DatagramProtocol):
    """One SIP account at one port of 127.0.0.1."""

    def __init__(self, user: str, domain: str, password: str, proxy: tuple[str, int]) -> None:
        self.user = user
        self.domain = domain
        self.address = f"sip:{user}@{domain}"
        self.lines: dict[str, Line] = {}
        """By Call-ID."""
        self.rang: asyncio.Queue[Line] = asyncio.Queue()
        """Calls that came."""
        self._password = password
        self._proxy = proxy
        self._answers: dict[str, asyncio.Queue[Response]] = {}
        """By branch."""

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self._here = f"127.0.0.1:{self._transport.get_extra_info('sockname')[1]}"
        self._contact = f"Contact: <sip:{self.user}@{self._here}>"

    def close(self) -> None:
        self._transport.close()

    async def register(self) -> int:
        """The status of the final answer."""
        local = f"<{self.address}>;tag={secrets.token_hex(4)}"
        final, _ = await self._ask(
            "REGISTER", f"sip:{self.domain}", local, f"<{self.address}>", _new_call_id(), [self._contact]
        )
        return final.status

    async def call(self, address: str) -> tuple[Response, Line | None]:
        """The final answer, and the line when it was 200."""
        call_id = _new_call_id()
        local = f"<{self.address}>;tag={secrets.token_hex(4)}"
        extra = [self._contact, "Content-Type: application/sdp"]
        final, cseq = await self._ask("INVITE", address, local, f"<{address}>", call_id, extra, _SDP)
        if final.status != 200:
            return final, None
        line = Line(
            call_id,
            local,
            final.value("to") or "",
            final.contact_uri() or address,
            list(reversed(final.all_values("record-route"))),
        )
        line.cseq = cseq
        self.lines[call_id] = line
        self._send(self._request("ACK", line.target, line.local, line.remote, call_id, cseq, line.routes))
        return final, line

    async def hang_up(self, line: Line) -> int:
        """The status that answers our BYE."""
        line.cseq += 1
        branch = _new_branch()
        queue = self._answers[branch] = asyncio.Queue()
        self._send(
            self._request(
                "BYE", line.target, line.local, line.remote, line.call_id, line.cseq, line.routes, branch
            )
        )
        return (await self._final(queue)).status

    # Asking -----------------------------------------------------------------------------------------------------------

    async def _ask(
        self,
        method: str,
        uri: str,
        local: str,
        remote: str,
        call_id: str,
        extra: list[str],
        body: bytes = b"",
    ) -> tuple[Response, int]:
        """Send it, with credentials when they are asked for. The final answer and the CSeq it was for."""
        credentials: list[str] = []
        for cseq in (1, 2):
            branch = _new_branch()
            queue = self._answers[branch] = asyncio.Queue()
            data = self._request(
                method, uri, local, remote, call_id, cseq, (), branch, [*extra, *credentials], body
            )
            self._send(data)
            final = await self._final(queue)
            if method == "INVITE" and final.status >= 300:
                self._send(ack_for(data, final))
            credentials = self._credentials(final, method, uri)
            if not credentials:
                break
        return final, cseq

    def _credentials(self, final: Response, method: str, uri: str) -> list[str]:
        asked = {
            401: ("www-authenticate", "Authorization"),
            407: ("proxy-authenticate", "Proxy-Authorization"),
        }
        if final.status not in asked:
            return []
        challenge, header = asked[final.status]
        for value in final.values(challenge):
            said = answer(value, self.user, self._password, method, uri, secrets.token_hex(8))
            if said is not None:
                return [f"{header}: {said}"]
        return []

    async def _final(self, queue: asyncio.Queue[Response]) -> Response:
        async with asyncio.timeout(PATIENCE):
            while True:
                response = await queue.get()
                if response.status >= 200:
                    return response

    def _request(
        self,
        method: str,
        uri: str,
        local: str,
        remote: str,
        call_id: str,
        cseq: int,
        routes: Sequence[str],
        branch: str = "",
        extra: Sequence[str] = (),
        body: bytes = b"",
    ) -> bytes:
        lines = [
            f"Via: SIP/2.0/UDP {self._here};branch={branch or _new_branch()};rport",
            *(f"Route: {route}" for route in routes),
            "Max-Forwards: 70",
            f"From: {local}",
            f"To: {remote}",
            f"Call-ID: {call_id}",
            f"CSeq: {cseq} {method}",
            *extra,
            f"Content-Length: {len(body)}",
        ]
        return render(f"{method} {uri} SIP/2.0", lines, body)

    def _send(self, data: bytes) -> None:
        self._transport.sendto(data, self._proxy)

    # Being asked ------------------------------------------------------------------------------------------------------

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        message = parse(data)
        if isinstance(message, Response):
            queue = self._answers.get(message.via.branch)
            if queue is not None:
                queue.put_nowait(message)
        elif isinstance(message, Request):
            self._asked(message)

    def _asked(self, request: Request) -> None:
        match request.method:
            case "INVITE":
                self._called(request)
            case "BYE":
                self._send(reply(request, 200, "OK", ""))
                line = self.lines.get(request.call_id)
                if line is not None and not line.ended.done():
                    line.ended.set_result((asyncio.get_running_loop().time(), request.value("reason") or ""))
            case "ACK":
                pass
            case _:
                self._send(reply(request, 200, "OK", secrets.token_hex(4)))

    def _called(self, request: Request) -> None:
        if request.call_id in self.lines:
            return
        tag = secrets.token_hex(4)
        self._send(reply(request, 180, "Ringing", tag))
        routes = request.all_values("record-route")
        extra = [
            self._contact,
            *(f"Record-Route: {route}" for route in routes),
            "Content-Type: application/sdp",
        ]
        self._send(reply(request, 200, "OK", tag, None, extra, _SDP))
        line = Line(
            request.call_id,
            f"{request.value('to')};tag={tag}",
            request.value("from") or "",
            request.contact_uri() or self.address,
            routes,
        )
        self.lines[request.call_id] = line
        self.rang.put_nowait(line)


def _new_call_id() -> str:
    return secrets.token_hex(8)


def _new_branch() -> str:
    return "z9hG4bK" + secrets.token_hex(8)
