"""The link to rtpengine: its ng protocol, a cookie and a bencoded dictionary in each datagram, answered likewise.

A question is sent again once when half its time is over (rtpengine knows it by the cookie), and is never answered later
than that time. One that was not answered at all has rtpengine left alone for REST seconds: calls must not wait each in
its turn for something that is not there.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Callable
from typing import Final

from config.schema import Rtpengine as Settings
from proxy.engine.effects import PLAIN, WEBRTC, Profile
from proxy.net.bencode import Encodable, decode, encode
from proxy.net.listen import ListenError
from proxy.net.sink import NetCounters

REST: Final = 5.0
"""Seconds. Precedent: Kamailio's rtpengine_disable_tout is 60 s; a call's media is worth asking sooner."""
PENDING_MAX: Final = 10_000
_BY_BROWSER: Final[dict[str, Encodable]] = {"DTLS-reverse": "passive"}
"""A browser begins the handshake, when it has an answer: rtpengine begins at the offer, and where a fork is offered by
two calls of it (engine/media.py) a browser takes the one for the other."""
TAKES: Final[dict[Profile, dict[str, Encodable]]] = {
    "": {},
    PLAIN: {"transport-protocol": PLAIN, "ICE": "remove", "rtcp-mux": ["demux"], **_BY_BROWSER},
    # Browsers want rtcp-mux from the first offer on, and no keys in the description.
    WEBRTC: {
        "transport-protocol": WEBRTC,
        "ICE": "force",
        "rtcp-mux": ["require"],
        "SDES": ["off"],
        **_BY_BROWSER,
    },
}
"""What rtpengine is to make of an offer; it remembers that for the answer."""

Then = Callable[[bytes | None], None]
"""Told the session description to send on; None: rtpengine did not do it."""


class _Question:
    __slots__ = ("data", "handle", "then")

    def __init__(self, data: bytes, then: Then) -> None:
        self.data = data
        self.then = then
        self.handle: asyncio.TimerHandle | None = None


async def connect(settings: Settings, counters: NetCounters, tell: Callable[[str], None]) -> Rtpengine:
    """`tell`: a line for the log when rtpengine stops answering and when it is back. Nobody has to listen there yet.

    Raises: ListenError when its address is none.
    """
    relay = Rtpengine(settings.timeout, counters, tell)
    try:
        await relay.start(settings.address.host, settings.address.port)
    except OSError as error:
        raise ListenError(f"rtpengine: {settings.address}: {error.strerror or error}") from None
    return relay


class Rtpengine(asyncio.DatagramProtocol):
    """One for each process. Made by `connect`; `ask` and `delete` return at once."""

    def __init__(self, timeout: float, counters: NetCounters, tell: Callable[[str], None]) -> None:
        self._timeout = timeout
        self._counters = counters
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.DatagramTransport | None = None
        self._pending: dict[bytes, _Question] = {}
        # Unique among all that talk to this rtpengine, which keeps cookies for a while.
        self._prefix = secrets.token_hex(6)
        self._numbers = itertools.count()
        self._rests_until = 0.0
        self._up = True

    async def start(self, host: str, port: int) -> None:
        """For `connect`."""
        self._transport, _ = await self._loop.create_datagram_endpoint(lambda: self, remote_addr=(host, port))

    def ask(
        self, command: str, call_id: str, from_tag: str, to_tag: str, sdp: bytes, profile: Profile, then: Then
    ) -> None:
        """`offer` or `answer`. `then` is called once, never from within."""
        fields: dict[str, Encodable] = {
            "command": command,
            "call-id": call_id,
            "from-tag": from_tag,
            "sdp": sdp,
            # The description must name nobody's own address any more.
            "replace": ["origin", "session-connection"],
            **TAKES[profile],
        }
        if to_tag:
            fields["to-tag"] = to_tag
        if (
            self._transport is None
            or self._loop.time() < self._rests_until
            or len(self._pending) >= PENDING_MAX
        ):
            self._counters.media["down"] += 1
            self._loop.call_soon(then, None)
            return
        cookie, data = self._packed(fields)
        question = self._pending[cookie] = _Question(data, then)
        self._send(data)
        question.handle = self._loop.call_later(self._timeout / 2, self._again, cookie)

    def delete(self, call_id: str, from_tag: str) -> None:
        """The call is over. Nobody waits for the answer; what is lost here rtpengine ends by its own silence timer."""
        if self._transport is not None and self._loop.time() >= self._rests_until:
            fields: dict[str, Encodable] = {
                "command": "delete",
                "call-id": call_id,
                "from-tag": from_tag,
                "delete-delay": 0,
            }
            self._send(self._packed(fields)[1])

    def close(self) -> None:
        """Every question that is left is answered with None."""
        for cookie in tuple(self._pending):
            self._answer(cookie, None, "timeout")
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def _packed(self, fields: dict[str, Encodable]) -> tuple[bytes, bytes]:
        cookie = f"{self._prefix}_{next(self._numbers)}".encode()
        return cookie, cookie + b" " + encode(fields)

    def _send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.sendto(data)

    def _again(self, cookie: bytes) -> None:
        question = self._pending[cookie]
        self._send(question.data)
        question.handle = self._loop.call_later(self._timeout / 2, self._silent, cookie)

    def _silent(self, cookie: bytes) -> None:
        self._rests_until = self._loop.time() + REST
        if self._up:
            self._up = False
            self._tell("rtpengine does not answer: calls go on with their own session descriptions")
        self._answer(cookie, None, "timeout")

    def _answer(self, cookie: bytes, sdp: bytes | None, result: str) -> None:
        question = self._pending.pop(cookie)
        if question.handle is not None:
            question.handle.cancel()
        self._counters.media[result] += 1
        question.then(sdp)

    # DatagramProtocol

    def datagram_received(self, data: bytes, addr: object) -> None:
        cookie, _, rest = data.partition(b" ")
        if cookie not in self._pending:
            return  # to a delete, to a question sent twice, or too late
        if not self._up:
            self._up = True
            self._tell("rtpengine answers")
        self._rests_until = 0.0
        try:
            answer = decode(rest)
        except (ValueError, IndexError):
            answer = {}
        sdp = answer.get(b"sdp") if isinstance(answer, dict) and answer.get(b"result") == b"ok" else None
        if isinstance(sdp, bytes):
            self._answer(cookie, sdp, "done")
        else:
            self._answer(cookie, None, "refused")

    def error_received(self, exc: Exception) -> None:
        # The kernel says that nobody listens there: no use in waiting.
        for cookie in tuple(self._pending):
            self._silent(cookie)
