"""Scanners hear nothing, guessers and floods are shut out, and the customers' calls go on all the while."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.net import Net, free_port
from tests.e2e.phone import Phone, challenges, credentials
from tests.e2e.service import DOMAIN, PASSWORD, Callgate, Settings, Tariff, settings_of
from tests.e2e.stage import Stage
from tests.redis import PrivateRedis

TARIFFS = {"guarded": Tariff(), "scanned": Tariff(), "flooded": Tariff()}
CULPRIT = 90
"""The host that misbehaves."""
NEIGHBOUR = 91


@pytest.fixture
def start(
    net: Net,
    redis: PrivateRedis,
    serve: Callable[[Settings], Callgate],
    stage_of: Callable[[Callgate], Stage],
) -> Callable[..., Stage]:
    def start(host: int, **guard: Any) -> Stage:
        settings = settings_of(net, redis.url, host=host)
        settings["guard"] = guard
        return stage_of(serve(settings))

    return start


def told(stage: Stage, *words: str) -> str:
    """What `callgate …` prints."""
    program = Path(sys.executable).with_name("callgate")
    argv = [str(program), *words, "-c", str(stage.callgate.config)]
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=20).stdout


def bans(stage: Stage) -> dict[str, str]:
    """Address → cause, as `callgate bans` shows them."""
    return {ban["address"]: ban["cause"] for ban in json.loads(told(stage, "bans", "--json"))}


def phone_of(stage: Stage, host: int, password: str = PASSWORD) -> Phone:
    return Phone("guarded", password, stage.net.host(host), stage.callgate.address(), "UDP")


def guess(phone: Phone) -> None:
    """One REGISTER with the phone's password, whatever comes of it."""
    call_id = phone.new_call_id()
    asked = phone.ask(phone.register(call_id=call_id))
    proof = credentials(phone, "REGISTER", f"sip:{DOMAIN}", challenges(asked)["MD5"], proxy=False)
    phone.send(phone.register(proof, call_id=call_id))


def closed(stream: socket.socket) -> bool:
    """Waits until the other side has ended the connection."""
    try:
        return stream.recv(1) == b""
    except ConnectionResetError:
        return True


def lines(stage: Stage, address: str) -> list[dict[str, Any]]:
    """The log's, about this address."""
    return [line for line in stage.callgate.log() if line.get("address") == address]


def calls_through(stage: Stage, who: str, host: int = Net.SOFTPHONE) -> None:
    provider = stage.provider()
    callee = stage.callee(provider)
    caller = stage.caller("digest-caller", who=who, number=provider.number, host=host)
    caller.succeeds()
    callee.succeeds()


def test_a_scanner_hears_nothing_and_is_told_of(start: Callable[..., Stage]) -> None:
    stage = start(26)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as scanner:
        scanner.bind((stage.net.host(CULPRIT), 0))
        host, port = scanner.getsockname()
        for method in ("OPTIONS", "REGISTER", "INVITE"):
            request = (
                f"{method} sip:100@{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{method};rport\r\n"
                f"From: <sip:100@1.1.1.1>;tag=1\r\nTo: <sip:100@1.1.1.1>\r\nCall-ID: {method}\r\nCSeq: 1 {method}\r\n"
                "Max-Forwards: 70\r\nUser-Agent: friendly-scanner\r\nContact: <sip:100@1.1.1.1>\r\n"
                "Content-Length: 0\r\n\r\n"
            )
            scanner.sendto(request.encode(), stage.callgate.address())
        metric = stage.callgate.metric
        stage.callgate.until(
            "all three are dropped", lambda: metric("callgate_guard_dropped_total", cause="scanner") == 3
        )
        # The neighbour's honest OPTIONS after them is answered, so theirs would have been by now.
        with phone_of(stage, NEIGHBOUR) as phone:
            assert phone.ask(phone.request("OPTIONS", f"sip:{DOMAIN}")).status == 200
        scanner.setblocking(False)
        with pytest.raises(BlockingIOError):
            scanner.recv(65535)
    stage.callgate.until("it is told of", lambda: lines(stage, host))
    [line] = lines(stage, host)
    assert (line["event"], line["user"]) == ("scanner", "friendly-scanner")
    calls_through(stage, "scanned")


def test_a_guesser_is_shut_out_while_the_real_account_calls_on_elsewhere(start: Callable[..., Stage]) -> None:
    stage = start(27, failures="3 per 10m")
    culprit = stage.net.host(CULPRIT)
    with phone_of(stage, CULPRIT, "guessed") as phone:
        for _ in range(3):
            guess(phone)
            assert phone.receive().status == 401
        guess(phone)
        stage.callgate.until("the ban", lambda: bans(stage) == {culprit: "brute_force"})
        # Not even what is harmless is heard.
        unread = stage.callgate.metric("callgate_guard_dropped_total", cause="banned")
        phone.send(phone.request("OPTIONS", f"sip:{DOMAIN}"))
        stage.callgate.until(
            "it is dropped unread",
            lambda: stage.callgate.metric("callgate_guard_dropped_total", cause="banned") > unread,
        )
        # Nor over a connection.
        with socket.socket() as stream:
            stream.bind((culprit, 0))
            stream.connect(stage.callgate.address())
            assert closed(stream)
        calls_through(stage, "guarded")
        assert stage.callgate.metric("callgate_bans_total", cause="brute_force") == 1
        assert stage.callgate.metric("callgate_bans_active") == 1
        assert stage.callgate.metric("callgate_auth_failures_total") == 4
        assert told(stage, "unban", culprit) == "lifted 1 ban\n"
        assert phone.ask(phone.request("OPTIONS", f"sip:{DOMAIN}")).status == 200
    assert bans(stage) == {}
    story = [*["authentication failed"] * 4, "banned", "ban is over", "unban by the operator"]
    stage.callgate.until("its story", lambda: [line["event"] for line in lines(stage, culprit)] == story)


def test_a_flood_from_one_address_is_dropped_and_calls_go_on(start: Callable[..., Stage]) -> None:
    stage = start(28, flood="500 per 1s", unauthenticated="1000000 per 1s")
    culprit = stage.net.host(CULPRIT)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
        flood.bind((culprit, free_port(culprit)))
        # The same request again and again: a retransmission, which costs least and reaches no limit but this one.
        request = (
            f"OPTIONS sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {culprit}:9;branch=z9hG4bKflood\r\n"
            "From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: flood\r\nCSeq: 1 OPTIONS\r\n"
            "Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        ).encode()

        def flooded() -> bool:
            for _ in range(1000):
                flood.sendto(request, stage.callgate.address())
            return stage.callgate.metric("callgate_bans_total", cause="flood") == 1

        stage.callgate.until("the flood is found", flooded)
        assert bans(stage) == {culprit: "flood"}
        for _ in range(2000):
            flood.sendto(request, stage.callgate.address())
        calls_through(stage, "flooded")
        assert stage.callgate.metric("callgate_guard_dropped_total", cause="banned") >= 2000
