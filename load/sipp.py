"""SIPp as caller and callee, with our own scenarios, and what its statistics say."""

from __future__ import annotations

import csv
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from load.processes import POLL_S, Child, Processes, RunFailed, program, wait_until

SCENARIOS = Path(__file__).parent / "scenarios"
CALLER_HOST = "127.0.0.1"
PROXY_HOST = "127.0.0.2"
CALLEE_HOST = "127.0.0.3"
OPEN_CALLS_MAX = 60_000
ERRORS_READ_MAX = 4_194_304
ERROR_SHOWN_MAX = 400
SOCKET_BUFFER_BYTES = 4_194_304


def free_port(host: str) -> int:
    """A UDP port nobody has on `host`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def account(number: int) -> str:
    """The payer's account with this number, from 0."""
    return f"u{number:05d}"


def write_payers(path: Path, payers: int) -> None:
    """SIPp's injected file: each call takes the next payer, so admissions are spread over all of them."""
    rows = (f"{account(i)};+4930{i:07d};" for i in range(payers))
    path.write_text("SEQUENTIAL\n" + "\n".join(rows) + "\n", encoding="ascii")


@dataclass(frozen=True, slots=True)
class Counts:
    """SIPp's counters since its start."""

    succeeded: int = 0
    failed: int = 0
    retransmissions: int = 0
    unexpected: int = 0
    in_progress: int = 0


class Sipp:
    """One running SIPp."""

    __slots__ = ("_errors", "_stats", "child", "port")

    def __init__(
        self, processes: Processes, folder: Path, name: str, host: str, arguments: list[str]
    ) -> None:
        self.port = free_port(host)
        self._stats = folder / f"{name}.csv"
        self._stats.unlink(missing_ok=True)
        argv = [
            program("sipp"),
            *arguments,
            "-i",
            host,
            "-p",
            str(self.port),
            "-bind_local",
            "-ci",
            host,
            "-mi",
            host,
        ]
        argv += ["-mp", str(free_port(host)), "-nostdin", "-skip_rlimit"]
        argv += ["-buff_size", str(SOCKET_BUFFER_BYTES)]
        argv += ["-l", str(OPEN_CALLS_MAX), "-trace_stat", "-stf", str(self._stats), "-fd", "1"]
        argv += ["-timer_resol", "1", "-trace_err", "-error_file", str(folder / f"{name}.errors")]
        argv += ["-watchdog_minor_maxtriggers", "100000", "-watchdog_major_maxtriggers", "100000"]
        self._errors = folder / f"{name}.errors"
        log = folder / f"{name}.log"
        self.child: Child = processes.start(name, argv, log, stop_signal=signal.SIGKILL, cwd=folder)

    def counts(self) -> Counts:
        """The last complete line of the statistics; it is written once a second, and at the end."""
        if not self._stats.exists():
            return Counts()
        text = self._stats.read_text(encoding="latin-1")
        lines = text[: text.rfind("\n") + 1].splitlines()
        if len(lines) < 2:
            return Counts()
        last = dict(zip(*csv.reader([lines[0], lines[-1]], delimiter=";"), strict=False))
        return Counts(
            succeeded=int(last["SuccessfulCall(C)"]),
            failed=int(last["FailedCall(C)"]),
            retransmissions=int(last["Retransmissions(C)"]),
            unexpected=int(last["OutOfCallMsgs(C)"]) + int(last["DeadCallMsgs(C)"]),
            in_progress=int(last["CurrentCall"]),
        )

    def first_error(self) -> str:
        """Why SIPp first gave a call up, in one line; "" when it never did."""
        if not self._errors.exists():
            return ""
        with self._errors.open(encoding="latin-1") as file:
            text = file.read(ERRORS_READ_MAX)
        at = text.find("Aborting call")
        return " ".join(text[at:][:ERROR_SHOWN_MAX].split()) if at >= 0 else ""

    def fresh_counts(self, timeout_s: float = 3.0) -> Counts:
        """The counts at the moment they are next written: in step with what is read right after."""
        size = self._stats.stat().st_size if self._stats.exists() else 0
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self._stats.exists() and self._stats.stat().st_size > size:
                return self.counts()
            if not self.child.running():
                break
            time.sleep(POLL_S)
        raise RunFailed(f"{self.child.name} writes no statistics:\n{self.child.tail()}")


def callee(processes: Processes, folder: Path) -> Sipp:
    """Answers every call with 180 and 200 at once, until stopped."""
    arguments = ["-sf", str(SCENARIOS / "uas.xml")]
    started = Sipp(processes, folder, "callee", CALLEE_HOST, arguments)
    wait_until("its socket is bound", lambda: _bound(CALLEE_HOST, started.port), started.child)
    return started


def caller(
    processes: Processes, folder: Path, proxy_port: int, *, name: str, rate: float, calls: int, hold_s: float
) -> Sipp:
    """Places `calls` calls through the proxy, `rate` a second, each held for `hold_s`; ends by itself."""
    arguments = [f"{PROXY_HOST}:{proxy_port}", "-sf", str(SCENARIOS / "uac.xml")]
    arguments += ["-inf", str(folder / "payers.csv")]
    arguments += ["-r", f"{rate:g}", "-m", str(calls), "-d", str(int(hold_s * 1000))]
    arguments += ["-pause_msg_ign", "-cid_str", f"{name}-%u-%p@%s"]
    return Sipp(processes, folder, name, CALLER_HOST, arguments)


def _bound(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return True
        return False
