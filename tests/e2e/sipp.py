"""One SIPp: started with a scenario of ours, watched by its own message log, asked how it went.

A scenario that fails shows what SIPp said and the messages it saw.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from load.processes import Child, Processes, wait_until
from tests.e2e.net import PATIENCE_S, Address, Transport, await_listening, media_port
from tests.tools import require

SCENARIO_SECONDS_MAX = 30
SHOWN_MESSAGES = 12

# ----------------------------------------------- 2026-11-22 21:00:59.050215
# UDP message sent (506 bytes):        or: UDP message received [305] bytes :
_LOGGED = re.compile(
    rb"^-{20,} (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+)\n\w+ message (sent|received) [(\[](\d+)[^\n]*\n\n",
    re.MULTILINE,
)


class Message:
    """One message as SIPp logged it."""

    __slots__ = ("at", "sent", "start", "text")

    def __init__(self, at: float, sent: bool, text: str) -> None:
        self.at = at
        """Unix seconds, as SIPp read the clock when it came or went."""
        self.sent = sent
        self.text = text
        self.start = text.partition("\r\n")[0]

    def values(self, name: str) -> list[str]:
        """Of every header line with this name."""
        head = self.text.partition("\r\n\r\n")[0]
        lines = (line.partition(":") for line in head.split("\r\n")[1:])
        return [value.strip() for key, _, value in lines if key.strip().lower() == name.lower()]

    def value(self, name: str) -> str:
        """Of the only header line with this name."""
        (value,) = self.values(name)
        return value

    @property
    def call_id(self) -> str:
        return self.value("Call-ID")

    @property
    def cseq(self) -> int:
        return int(self.value("CSeq").split()[0])

    @property
    def status(self) -> int:
        """0 of a request."""
        return int(self.start.split()[1]) if self.start.startswith("SIP/2.0 ") else 0

    def __repr__(self) -> str:
        return f"{self.at:.3f} {'->' if self.sent else '<-'} {self.start}"


def read_messages(log: Path) -> list[Message]:
    """Complete messages in a SIPp message log, in the order of time."""
    data = log.read_bytes() if log.exists() else b""
    found = []
    for match in _LOGGED.finditer(data):
        body = data[match.end() : match.end() + int(match[3])]
        if len(body) == int(match[3]):
            at = datetime.fromisoformat(match[1].decode()).timestamp()
            found.append(Message(at, match[2] == b"sent", body.decode("latin-1")))
    return found


class Sipp:
    """Made by `Stage.callee` and `Stage.caller`."""

    def __init__(
        self,
        processes: Processes,
        folder: Path,
        scenario: Path,
        local: Address,
        *,
        remote: Address | None = None,
        transport: Transport = "UDP",
        calls: int = 1,
        options: Iterable[str] = (),
        keys: dict[str, str] | None = None,
    ) -> None:
        """`remote`: None = it is called. `calls`: it ends after so many. `keys`: what [name] in the scenario is."""
        self.host, self.port = local
        self.transport = transport
        self.scenario = scenario
        name = f"{scenario.stem}-{self.host.rpartition('.')[2].strip(':')}-{self.port}"
        self._messages = folder / f"{name}.messages"
        self._errors = folder / f"{name}.errors"
        argv = [require("sipp"), "-sf", str(scenario), "-i", _bracketed(self.host), "-p", str(self.port)]
        argv += ["-bind_local", "-t", "u1" if transport == "UDP" else "t1", "-m", str(calls), "-nostdin"]
        argv += [
            "-ci",
            _bracketed(self.host),
            "-mi",
            _bracketed(self.host),
            "-mp",
            str(media_port(self.host)),
        ]
        argv += ["-timeout", str(SCENARIO_SECONDS_MAX), "-timeout_error", "-skip_rlimit", "-timer_resol", "1"]
        argv += ["-trace_msg", "-message_file", str(self._messages)]
        argv += ["-trace_err", "-error_file", str(self._errors)]
        for key, value in (keys or {}).items():
            argv += ["-key", key, value]
        argv += options
        if remote is not None:
            argv.append(f"{_bracketed(remote[0])}:{remote[1]}")
        self.child: Child = processes.start(
            f"sipp {name}", argv, folder / f"{name}.out", stop_signal=signal.SIGKILL, cwd=folder
        )
        if remote is None:
            await_listening(self.child, transport, self.host, self.port)

    @property
    def address(self) -> Address:
        return self.host, self.port

    @property
    def call_id(self) -> str:
        """Of the first message it sent."""
        return next(message for message in self.messages() if message.sent).call_id

    def messages(self) -> list[Message]:
        return read_messages(self._messages)

    def received(self, start: str) -> list[Message]:
        """What came and begins with `start`: `BYE `, `SIP/2.0 486`."""
        return [
            message for message in self.messages() if not message.sent and message.start.startswith(start)
        ]

    def sent(self, start: str) -> list[Message]:
        return [message for message in self.messages() if message.sent and message.start.startswith(start)]

    def one(self, start: str) -> Message:
        """The only message with this start that came; a retransmission is the same message."""
        found = {
            (message.start, message.values("Via")[0], message.cseq): message
            for message in self.received(start)
        }
        assert len(found) == 1, f"{len(found)} x {start!r} came:\n{self.story()}"
        return next(iter(found.values()))

    def await_message(self, start: str, count: int = 1) -> list[Message]:
        """Returns as soon as `count` messages with this start came."""
        wait_until(f"{count} x {start!r}", lambda: len(self.received(start)) >= count, self.child, PATIENCE_S)
        return self.received(start)

    def succeeds(self) -> None:
        """Waits for its end: every call went as the scenario says."""
        code = self.child.wait(SCENARIO_SECONDS_MAX + 10)
        assert code == 0, f"{self.child.name} ended with {code}\n{self.story()}"

    def story(self) -> str:
        """For whoever reads why a test failed."""
        errors = self._errors.read_text(errors="replace")[-2000:] if self._errors.exists() else ""
        shown = "\n".join(map(repr, self.messages()[-SHOWN_MESSAGES:]))
        return f"{self.scenario.name} at {self.host}:{self.port}\n{errors}\n{shown}\n{self.child.tail(3)}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
