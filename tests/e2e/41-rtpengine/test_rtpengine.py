"""Media by way of a real rtpengine: two softphones hear each other through it, and call on when it is not there."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path

import uvloop

from config.listen import HostPort
from config.schema import Rtpengine as Settings
from load.processes import Processes
from proxy.net.rtpengine import connect
from proxy.net.sink import NetCounters
from tests.e2e.baresip import Baresip
from tests.e2e.net import Net, pause
from tests.e2e.rtpengine import RtpengineDaemon
from tests.e2e.service import DOMAIN, PASSWORD, Callgate, Tariff, settings_of
from tests.redis import PrivateRedis

# Of this service alone: without an rtpengine the accounts of no other may ask for it.
ACCOUNTS = {"relayed-anna": Tariff(account={"media": "relay"}), "relayed-berta": Tariff()}
TALK_S = 0.6
PACKETS_A_SECOND = 50


def test_audio_goes_through_it_and_without_it(
    net: Net,
    redis: PrivateRedis,
    processes: Processes,
    tmp_path: Path,
) -> None:
    rtpengine = RtpengineDaemon(processes, tmp_path, net.host(26))
    settings = settings_of(net, redis.url, host=21)
    # The baresip of Debian 12 gives up when SHA-256 is offered, even beside MD5.
    settings["auth"]["algorithms"] = ["MD5"]
    settings["rtpengine"] = {"address": f"{rtpengine.host}:{rtpengine.port}", "timeout": "1s"}
    callgate = Callgate(processes, tmp_path / "callgate", settings, ACCOUNTS)
    callgate.start()
    with ExitStack() as stack:
        anna, berta = (
            stack.enter_context(
                Baresip(
                    processes,
                    tmp_path / user,
                    net.host(host),
                    user,
                    PASSWORD,
                    callgate.address(),
                    "UDP",
                    DOMAIN,
                )
            )
            for user, host in (("relayed-anna", 27), ("relayed-berta", 28))
        )
        for each in (anna, berta):
            each.register()
        call_id = talk(anna, berta)
        # Each was told its own address and the relay's, and nobody the other's.
        for each in (anna, berta):
            assert each.audio_addresses() == {each.host, rtpengine.host}
        pause(TALK_S)
        anna.command("hangup")
        berta.await_event("CALL_CLOSED")
        for each in (anna, berta):
            sent, received = each.packets(1)
            assert min(sent, received) >= TALK_S * PACKETS_A_SECOND * 0.6
        assert callgate.metric("callgate_media_total", result="done") == 2
        # rtpengine was told of the end, and says what it carried.
        callgate.until("rtpengine has forgotten the call", lambda: rtpengine.said("Final packet stats"))
        carried = [int(line.split(" p, ")[0].split()[-1]) for line in rtpengine.said(r"Port .* \d+ p, .* b")]
        assert len([packets for packets in carried if packets >= TALK_S * PACKETS_A_SECOND * 0.6]) >= 2
        assert callgate.record(call_id)["outcome"] == "success"

        # It dies: the next call is not much later for it, and its ends talk to each other.
        rtpengine.kill()
        call_id = talk(anna, berta)
        pause(TALK_S)
        anna.command("hangup")
        berta.await_event("CALL_CLOSED")
        for each in (anna, berta):
            sent, received = each.packets(2)
            assert min(sent, received) >= TALK_S * PACKETS_A_SECOND * 0.6
        assert callgate.record(call_id)["outcome"] == "success"
        assert callgate.metric("callgate_media_total", result="timeout") == 1


def talk(caller: Baresip, callee: Baresip) -> str:
    caller.command("dial", f"sip:{callee.user}@{DOMAIN}")
    established = caller.await_event("CALL_ESTABLISHED")
    callee.await_event("CALL_ESTABLISHED")
    for one in (caller, callee):
        one.await_audio()
    return str(established["id"])


def test_each_fork_gets_its_answer(net: Net, processes: Processes, tmp_path: Path) -> None:
    """Two phones answer one INVITE, which was offered once: the daemon takes an answer for each tag."""
    daemon = RtpengineDaemon(processes, tmp_path, net.host(29))

    async def story() -> list[bytes | None]:
        counters = NetCounters()
        relay = await connect(Settings(address=HostPort(daemon.host, daemon.port)), counters, print)
        answers = []
        for command, to_tag in (("offer", ""), ("answer", "one"), ("answer", "two"), ("answer", "one")):
            done: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
            relay.ask(command, "forked", "caller", to_tag, description(net), "", done.set_result)
            answers.append(await done)
        relay.close()
        return answers

    for answer in uvloop.run(story()):
        assert answer is not None
        assert f"c=IN IP4 {daemon.host}".encode() in answer


def description(net: Net) -> bytes:
    host = net.host(30)
    lines = [
        "v=0",
        f"o=- 1 1 IN IP4 {host}",
        "s=-",
        f"c=IN IP4 {host}",
        "t=0 0",
        "m=audio 7000 RTP/AVP 8",
        "",
    ]
    return "\r\n".join(lines).encode()
