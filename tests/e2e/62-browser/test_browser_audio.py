"""Audio between browsers (DTLS-SRTP, ICE) and plain phones (RTP), by way of a real rtpengine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from load.processes import Processes
from tests.e2e.baresip import AnswerMode, Baresip
from tests.e2e.browser import Page, browsing_all, serving, shown, site
from tests.e2e.net import Net
from tests.e2e.rtpengine import RtpengineDaemon
from tests.e2e.service import DOMAIN, PASSWORD, Callgate, Tariff, settings_of
from tests.redis import PrivateRedis

# Of this service alone: without an rtpengine the accounts of no other may ask for it.
ACCOUNTS = {
    **{f"web-{name}": Tariff(account={"media": "relay"}) for name in ("anna", "berta")},
    "plain": Tariff(),
    "brief": Tariff({"call_duration": "3s"}),
}
PACKETS = 25
"""Half a second of audio."""


@dataclass
class Scene:
    callgate: Callgate
    rtpengine: RtpengineDaemon
    anna: Page
    berta: Page
    phones: dict[str, Baresip]

    def forgotten(self, calls: int) -> None:
        """rtpengine was asked for everything without fail, and told of the end of so many calls."""
        self.callgate.until(
            "rtpengine has forgotten them", lambda: len(self.rtpengine.said("Final packet stats")) == calls
        )
        for result in ("refused", "timeout", "down"):
            assert self.callgate.metric("callgate_media_total", result=result) == 0


@contextmanager
def scene(
    net: Net, redis: PrivateRedis, processes: Processes, folder: Path, users: dict[str, AnswerMode]
) -> Iterator[Scene]:
    """Two browsers and these phones, all registered."""
    rtpengine = RtpengineDaemon(processes, folder, net.host(26))
    settings = settings_of(net, redis.url, host=7)
    # The baresip of Debian 12 gives up when SHA-256 is offered, even beside MD5.
    settings["auth"]["algorithms"] = ["MD5"]
    settings["rtpengine"] = {"address": f"{rtpengine.host}:{rtpengine.port}", "timeout": "5s"}
    callgate = Callgate(processes, folder / "callgate", settings, ACCOUNTS)
    callgate.start()
    host, port = callgate.address(transport="WSS")
    with ExitStack() as stack:
        address = stack.enter_context(serving(site()))
        pages = stack.enter_context(
            browsing_all(processes, folder, f"{address}/phone.html", shown(callgate), 2)
        )
        for page, name in zip(pages, ("anna", "berta"), strict=True):
            page.call("register", f"wss://{host}:{port}/", f"sip:web-{name}@{DOMAIN}", PASSWORD)
            page.next("registered")
        phones = {}
        for at, (user, answermode) in enumerate(users.items(), 27):
            phone = Baresip(
                processes,
                folder / user,
                net.host(at),
                user,
                PASSWORD,
                callgate.address(),
                "UDP",
                DOMAIN,
                answermode,
            )
            phones[user] = stack.enter_context(phone)
            phone.register()
        anna, berta = pages
        yield Scene(callgate, rtpengine, anna, berta, phones)


def hears(page: Page) -> None:
    """Audio comes in, and it is no silence."""
    heard = page.call("hear", PACKETS)
    assert heard, "no audio comes in"
    assert heard["sent"] > 0
    assert heard["energy"] > 0


@pytest.mark.timeout(120)  # The first run fetches JsSIP.
def test_a_browser_and_a_plain_phone_hear_each_other(
    net: Net, redis: PrivateRedis, processes: Processes, tmp_path: Path
) -> None:
    with scene(net, redis, processes, tmp_path, {"plain": "auto", "brief": "auto"}) as there:
        anna, plain, brief = there.anna, there.phones["plain"], there.phones["brief"]

        # It calls.
        anna.call("dial", f"sip:plain@{DOMAIN}")
        anna.next("confirmed")
        plain.await_event("CALL_ESTABLISHED")
        plain.await_audio()
        hears(anna)
        # Held by either, and back.
        anna.call("hold")
        anna.next("done")
        plain.await_held()
        anna.call("resume")
        anna.next("done")
        plain.await_resumed()
        hears(anna)
        plain.hold()
        anna.next("hold")
        plain.resume()
        anna.next("unhold")
        hears(anna)
        anna.call("hangUp")
        plain.await_over()
        assert min(plain.packets(1)) >= PACKETS
        assert plain.audio_addresses() == {plain.host, there.rtpengine.host}

        # It is called, and the call is cut.
        brief.dial(f"sip:web-anna@{DOMAIN}")
        brief.await_up()
        anna.next("confirmed")
        brief.await_audio()
        hears(anna)
        assert anna.next("ended")["reason"] == 'SIP ;cause=402 ;text="call_duration reached"'
        brief.await_over()
        assert min(brief.packets(1)) >= PACKETS
        assert there.callgate.record(brief.call_id)["reason"] == "call_duration"
        there.forgotten(2)


@pytest.mark.timeout(120)  # The first run fetches JsSIP.
def test_browsers_hear_each_other(
    net: Net, redis: PrivateRedis, processes: Processes, tmp_path: Path
) -> None:
    with scene(net, redis, processes, tmp_path, {}) as there:
        there.anna.call("dial", f"sip:web-berta@{DOMAIN}")
        for page in (there.anna, there.berta):
            page.next("confirmed")
            hears(page)
        there.anna.call("hangUp")
        there.berta.next("ended")
        there.forgotten(1)


@pytest.mark.timeout(120)  # The first run fetches JsSIP.
@pytest.mark.parametrize("answers", ["browser", "phone"])
def test_a_browser_and_a_plain_phone_of_one_account_ring(
    net: Net, redis: PrivateRedis, processes: Processes, tmp_path: Path, answers: str
) -> None:
    """Each is offered what it takes, whoever answers."""
    with scene(net, redis, processes, tmp_path, {"web-berta": "manual"}) as there:
        anna, berta, phone = there.anna, there.berta, there.phones["web-berta"]
        berta.call("answersItself", answers == "browser")
        anna.call("dial", f"sip:web-berta@{DOMAIN}")
        assert berta.next("session")["originator"] == "remote"
        if answers == "phone":
            phone.await_event("CALL_INCOMING")
            phone.accept()
            phone.await_up()
            assert berta.next("failed")["cause"] == "Canceled"
        else:
            berta.next("confirmed")
            hears(berta)
        anna.next("confirmed")
        hears(anna)
        # Within the dialog, too, it is the call of who answered.
        anna.call("hold")
        anna.next("done")
        anna.call("resume")
        anna.next("done")
        hears(anna)
        anna.call("hangUp")
        if answers == "phone":
            phone.await_over()
            assert min(phone.packets(1)) >= PACKETS
        else:
            berta.next("ended")
        there.forgotten(2)


@pytest.mark.timeout(120)  # The first run fetches JsSIP.
def test_a_browser_is_heard_before_the_answer(
    net: Net, redis: PrivateRedis, processes: Processes, tmp_path: Path
) -> None:
    with scene(net, redis, processes, tmp_path, {"plain": "early"}) as there:
        anna, plain = there.anna, there.phones["plain"]
        anna.call("dial", f"sip:plain@{DOMAIN}")
        # The 183 has the description; of its own audio a baresip sends none yet.
        plain.await_audio()
        plain.accept()
        anna.next("confirmed")
        hears(anna)
        anna.call("hangUp")
        plain.await_over()
        assert min(plain.packets(1)) >= PACKETS
        there.forgotten(1)
