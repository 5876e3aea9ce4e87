"""The link to rtpengine: asked twice, answered once, never late, and left alone when it is not there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from config.listen import HostPort
from config.schema import Rtpengine as Settings
from proxy.engine.effects import PLAIN, WEBRTC, Profile
from proxy.net.bencode import Decoded, decode, encode
from proxy.net.listen import ListenError
from proxy.net.rtpengine import Rtpengine, connect
from proxy.net.sink import NetCounters

TIMEOUT_S = 0.2


class Daemon(asyncio.DatagramProtocol):
    """A peer that does as it is told. Each question it hears once more, too, is in `heard`."""

    def __init__(self, answer: Callable[[bytes], bytes | None]) -> None:
        self.answer = answer
        self.heard: list[tuple[bytes, dict[bytes, Decoded]]] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        cookie, _, rest = data.partition(b" ")
        question = decode(rest)
        assert isinstance(question, dict)
        self.heard.append((cookie, question))
        said = self.answer(cookie)
        if said is not None:
            self.transport.sendto(said, addr)


def played(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    uvloop.run(story())


async def linked(
    answer: Callable[[bytes], bytes | None],
) -> tuple[Daemon, Rtpengine, NetCounters, list[str]]:
    loop = asyncio.get_running_loop()
    transport, daemon = await loop.create_datagram_endpoint(
        lambda: Daemon(answer), local_addr=("127.0.0.1", 0)
    )
    counters, told = NetCounters(), []  # type: tuple[NetCounters, list[str]]
    address = HostPort("127.0.0.1", transport.get_extra_info("sockname")[1])
    relay = await connect(Settings(address=address, timeout=TIMEOUT_S), counters, told.append)
    return daemon, relay, counters, told


async def asked(
    relay: Rtpengine, command: str = "offer", to_tag: str = "", profile: Profile = ""
) -> bytes | None:
    done: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
    relay.ask(command, "call", "from", to_tag, b"v=0", profile, done.set_result)
    return await done


def good(cookie: bytes) -> bytes:
    return cookie + b" " + encode({"result": "ok", "sdp": b"v=0 relayed"})


def test_a_question_is_answered() -> None:
    async def story() -> None:
        daemon, relay, counters, _ = await linked(good)
        assert await asked(relay) == b"v=0 relayed"
        assert await asked(relay, "answer", "to") == b"v=0 relayed"
        offer, answer = (question for _, question in daemon.heard)
        assert offer == {
            b"command": b"offer",
            b"call-id": b"call",
            b"from-tag": b"from",
            b"sdp": b"v=0",
            b"replace": [b"origin", b"session-connection"],
        }
        assert (answer[b"command"], answer[b"to-tag"]) == (b"answer", b"to")
        assert counters.media == {"done": 2, "refused": 0, "timeout": 0, "down": 0}
        relay.close()
        daemon.transport.close()

    played(story)


@pytest.mark.parametrize(
    ("profile", "wanted"),
    [
        (PLAIN, {b"transport-protocol": b"RTP/AVP", b"ICE": b"remove", b"rtcp-mux": [b"demux"]}),
        (
            WEBRTC,
            {
                b"transport-protocol": b"UDP/TLS/RTP/SAVPF",
                b"ICE": b"force",
                b"rtcp-mux": [b"require"],
                b"SDES": [b"off"],
            },
        ),
    ],
)
def test_what_the_receiver_of_an_offer_takes(profile: Profile, wanted: dict[bytes, Decoded]) -> None:
    async def story() -> None:
        daemon, relay, _, _ = await linked(good)
        await asked(relay)
        await asked(relay, profile=profile)
        (_, as_it_came), (_, made) = daemon.heard
        assert made == {**as_it_came, **wanted, b"DTLS-reverse": b"passive"}
        relay.close()
        daemon.transport.close()

    played(story)


def test_a_lost_datagram_is_sent_again_with_the_same_cookie() -> None:
    async def story() -> None:
        lost: set[bytes] = set()

        def answer(cookie: bytes) -> bytes | None:
            if cookie in lost:
                return good(cookie)
            lost.add(cookie)
            return None

        daemon, relay, counters, _ = await linked(answer)
        assert await asked(relay) == b"v=0 relayed"
        assert [cookie for cookie, _ in daemon.heard] == [daemon.heard[0][0]] * 2
        assert counters.media["done"] == 1
        relay.close()
        daemon.transport.close()

    played(story)


@pytest.mark.parametrize("words", [b"d6:result5:errore", b"d6:result2:oke", b"rubbish", b""])
def test_a_refusal_is_no_description(words: bytes) -> None:
    async def story() -> None:
        daemon, relay, counters, _ = await linked(lambda cookie: cookie + b" " + words)
        assert await asked(relay) is None
        assert counters.media["refused"] == 1
        relay.close()
        daemon.transport.close()

    played(story)


def test_silence_ends_in_time_and_the_next_calls_do_not_wait_for_it() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        daemon, relay, counters, told = await linked(lambda cookie: None)
        started = loop.time()
        assert await asked(relay) is None
        # The loop's clock is in milliseconds.
        assert TIMEOUT_S - 0.01 <= loop.time() - started < TIMEOUT_S + 2
        heard = len(daemon.heard)
        assert await asked(relay) is None
        relay.delete("call", "from")
        assert len(daemon.heard) == heard
        assert counters.media == {"done": 0, "refused": 0, "timeout": 1, "down": 1}
        assert told == ["rtpengine does not answer: calls go on with their own session descriptions"]
        relay.close()
        daemon.transport.close()

    played(story)


def test_nobody_there_is_known_at_once() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        daemon, relay, counters, _ = await linked(good)
        daemon.transport.close()
        # The port is free again: the kernel answers with ICMP.
        await asyncio.sleep(0)
        started = loop.time()
        assert await asked(relay) is None
        assert loop.time() - started < TIMEOUT_S / 2
        assert counters.media["timeout"] == 1
        relay.close()

    played(story)


def test_every_question_is_answered_at_the_end() -> None:
    async def story() -> None:
        daemon, relay, _, _ = await linked(lambda cookie: None)
        answers: list[bytes | None] = []
        relay.ask("offer", "call", "from", "", b"v=0", "", answers.append)
        relay.close()
        assert answers == [None]
        assert await asked(relay) is None
        daemon.transport.close()

    played(story)


def test_an_address_that_is_none() -> None:
    async def story() -> None:
        settings = Settings(address=HostPort("no-such-host.invalid", 2223))
        with pytest.raises(ListenError, match="rtpengine"):
            await connect(settings, NetCounters(), print)

    played(story)
