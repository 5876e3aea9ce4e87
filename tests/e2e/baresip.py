"""One baresip: a softphone with a configuration folder of its own, driven over its control socket (module ctrl_tcp).

Its audio is a tone (ausine) and goes nowhere (aubridge); what was sent and received it counts itself (rtp_stats).
The baresip of Debian 12 gives up when SHA-256 is offered, even beside MD5.
"""

from __future__ import annotations

import json
import re
import signal
import socket
from pathlib import Path
from typing import Any, Literal

from config.listen import Transport
from load.processes import Child, Processes, wait_until
from tests.certificates import authority
from tests.e2e.net import PATIENCE_S, Address
from tests.e2e.softphone import Softphone
from tests.tools import require

AnswerMode = Literal["auto", "early", "manual"]
"""`early`: a 183 with audio, and then, like `manual`, it waits for `accept`."""
SIP_PORT, CONTROL_PORT = 15060, 14444
"""On an address of its own each, so nobody else is there. baresip takes the port after its SIP port too, for TLS."""
MODULES = Path("/usr/lib/baresip/modules")

CONFIG = """\
poll_method epoll
sip_listen {host}:{sip_port}
sip_cafile {authority}
sip_verify_server yes
net_interface {host}
call_max_calls 4
audio_source ausine,400
audio_player aubridge,{user}
audio_alert aubridge,alert
rtp_stats yes
ausrc_srate 48000
ausrc_channels 2
module_path {modules}
module g711.so
module ausine.so
module aubridge.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen {host}:{control_port}
"""
ACCOUNT = (
    "<sip:{user}@{domain};transport={transport}>;auth_user={user};auth_pass={password};"
    'outbound="sip:{proxy};transport={transport}";regint=600;answermode={answermode};audio_codecs=PCMA/8000/1'
)

_AUDIO_ADDRESS = re.compile(r"^c=IN IP4 (\S+)", re.MULTILINE)
_PACKETS = re.compile(r"^packets:\s+(\d+)\s+(\d+)", re.MULTILINE)


class Baresip(Softphone):
    def __init__(
        self,
        processes: Processes,
        folder: Path,
        host: str,
        user: str,
        password: str,
        proxy: Address,
        transport: Transport,
        domain: str,
        answermode: AnswerMode = "auto",
    ) -> None:
        program = require("baresip")
        folder.mkdir()
        self.user = user
        self.host = host
        (folder / "config").write_text(
            CONFIG.format(
                host=host,
                sip_port=SIP_PORT,
                control_port=CONTROL_PORT,
                authority=authority().path,
                user=user,
                modules=MODULES,
            )
        )
        self._account = ACCOUNT.format(
            user=user,
            password=password,
            domain=domain,
            proxy=f"{proxy[0]}:{proxy[1]}",
            transport=transport.lower(),
            answermode=answermode,
        )
        (folder / "contacts").write_text("\n")
        self.log = folder / "baresip.log"
        self.child: Child = processes.start(
            f"baresip {user}", [program, "-f", str(folder), "-v", "-s"], self.log, stop_signal=signal.SIGKILL
        )
        wait_until("it takes commands", self._connected, self.child, PATIENCE_S)
        self._buffer = b""
        self._heard = 0
        self.call_id = ""
        """Of the latest call that was answered."""
        self.events: list[dict[str, Any]] = []

    def _connected(self) -> bool:
        try:
            self._socket = socket.create_connection((self.host, CONTROL_PORT), PATIENCE_S)
        except ConnectionRefusedError:
            return False
        return True

    def close(self) -> None:
        self._socket.close()

    def register(self) -> None:
        self.command("uanew", self._account)
        self.await_event("REGISTER_OK")

    def dial(self, uri: str) -> None:
        self.command("dial", uri)

    def await_up(self) -> None:
        self.call_id = str(self.await_event("CALL_ESTABLISHED")["id"])

    def accept(self) -> None:
        """The call that rings."""
        self.command("accept")

    def hold(self) -> None:
        self.command("hold")
        self._await_next("a=sendonly")

    def resume(self) -> None:
        self.command("resume")
        self._await_next("a=sendrecv")

    def await_held(self) -> None:
        self._await_next("a=sendonly")

    def await_resumed(self) -> None:
        self._await_next("a=sendrecv")

    def _await_next(self, text: str) -> None:
        """Behind what was awaited in this way before."""
        self.until(text, lambda: text in self.said()[self._heard :])
        self._heard = self.said().index(text, self._heard) + len(text)

    def transfer(self, uri: str) -> None:
        self.command("transfer", uri)

    def hang_up(self) -> None:
        self.command("hangup")

    def await_over(self) -> None:
        self.await_event("CALL_CLOSED")

    def command(self, name: str, params: str = "") -> str:
        """Has it do something; returns what it said."""
        text = json.dumps({"command": name, "params": params})
        self._socket.sendall(f"{len(text)}:{text},".encode())
        while True:
            message = self._message()
            if message.get("response"):
                return str(message.get("data", ""))

    def await_event(self, kind: str) -> dict[str, Any]:
        """The next event of this kind, also one that came before this was asked."""
        while True:
            for i, event in enumerate(self.events):
                if event["type"] == kind:
                    del self.events[: i + 1]
                    return event
            self._message()

    def _message(self) -> dict[str, Any]:
        """The next netstring (https://cr.yp.to/proto/netstrings.txt); events are kept."""
        while True:
            size, colon, rest = self._buffer.partition(b":")
            if colon and len(rest) > int(size):
                text, self._buffer = rest[: int(size)], rest[int(size) + 1 :]
                message: dict[str, Any] = json.loads(text)
                if message.get("event"):
                    self.events.append(message)
                return message
            data = self._socket.recv(65536)
            assert data, f"{self.child.name} has ended:\n{self.child.tail(40)}"
            self._buffer += data

    def await_audio(self) -> None:
        """Returns as soon as some comes in."""
        wait_until(
            "audio comes in", lambda: "incoming rtp for 'audio' established" in self.said(), self.child
        )

    def audio_addresses(self) -> set[str]:
        """All that stood in session descriptions it sent and received."""
        return set(_AUDIO_ADDRESS.findall(self.said()))

    def packets(self, call: int) -> tuple[int, int]:
        """RTP packets sent and received in its call with this number, from 1. It says so when the call is over."""
        wait_until("its count", lambda: len(_PACKETS.findall(self.said())) >= call, self.child, PATIENCE_S)
        sent, received = _PACKETS.findall(self.said())[call - 1]
        return int(sent), int(received)
