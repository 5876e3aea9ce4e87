"""The process: what it says, which signals it obeys, and what it leaves behind."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.app.running import write_files

ROOT = Path(__file__).resolve().parents[2]


class Process:
    """`callgate serve` as an operator starts it, its log read line by line."""

    def __init__(self, path: Path, limit: str = "") -> None:
        """`limit`: `ulimit`'s words for it."""
        argv = [sys.executable, "-m", "proxy", "serve", "-c", str(path)]
        self.child = subprocess.Popen(
            ["sh", "-c", f'{limit or ":"}; exec "$@"', "sh", *argv],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[dict[str, Any]] = []

    def until(self, event: str) -> dict[str, Any]:
        """The next line of that event. Fails when the process ends first."""
        assert self.child.stderr is not None
        for text in self.child.stderr:
            line: dict[str, Any] = json.loads(text)
            self.lines.append(line)
            if line["event"] == event:
                return line
        pytest.fail(f"ended before it said {event!r}: {self.lines}")

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        if self.child.poll() is None:
            self.child.kill()
        self.child.communicate()


def options(address: str) -> int:
    """The status that answers an OPTIONS to the proxy itself."""
    host, _, port = address.removeprefix("udp://").rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(10)
        here = f"127.0.0.1:{sock.getsockname()[1]}"
        sock.sendto(
            f"OPTIONS sip:{host}:{port} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK1;rport\r\n"
            f"From: <sip:a@{here}>;tag=1\r\nTo: <sip:{host}:{port}>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n"
            "Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n".encode(),
            (host, int(port)),
        )
        return int(sock.recv(4096).split()[1])


def test_it_takes_the_file_descriptors_that_its_connections_need(tmp_path: Path) -> None:
    """With the 1,024 that systemd gives, the 1,000th browser was turned away without a word."""
    path = write_files(tmp_path)
    path.write_text(path.read_text() + "limits: {connections_max: 700}\n")
    with Process(path, "ulimit -Sn 256") as process:
        process.until("callgate runs")
        assert resource.prlimit(process.child.pid, resource.RLIMIT_NOFILE)[0] == 900
        assert "warning" not in {line["level"] for line in process.lines}
    with Process(path, "ulimit -n 256") as process:
        line = process.until("too few file descriptors for limits.connections_max")
        assert (line["wanted"], line["limit"]) == (900, 256)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_and_ends_clean_on_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    with Process(write_files(tmp_path)) as process:
        process.until("callgate runs")
        addresses = [line["address"] for line in process.lines if line["event"] == "listening"]
        assert [address.partition("://")[0] for address in addresses] == ["udp", "tcp"]
        assert options(addresses[0]) == 200
        assert (tmp_path / "callgate.sock").is_socket()
        process.child.send_signal(number)
        process.until("callgate has ended")
        assert process.child.wait(10) == 0
    assert not (tmp_path / "callgate.sock").exists()
    # The port is free, and so is the store's folder.
    with Process(write_files(tmp_path, listen=f'["{addresses[0]}"]')) as again:
        again.until("callgate runs")
        again.child.send_signal(signal.SIGTERM)
        assert again.child.wait(10) == 0


def test_hangup_reloads_and_a_mistake_is_logged_with_its_line(tmp_path: Path) -> None:
    with Process(write_files(tmp_path)) as process:
        process.until("callgate runs")
        process.child.send_signal(signal.SIGHUP)
        assert process.until("reloaded")["subscribers"] == 2
        path = tmp_path / "plans.yaml"
        path.write_text(path.read_text().replace("lines: 1", "lines: one"))
        process.child.send_signal(signal.SIGHUP)
        assert process.until("not reloaded")["problem"].startswith(f"{path}:3: plans.one-line")
        process.child.send_signal(signal.SIGTERM)
        assert process.child.wait(10) == 0


def test_the_store_does_not_outlive_a_killed_callgate(tmp_path: Path) -> None:
    with Process(write_files(tmp_path)) as process:
        process.until("callgate runs")
        (children,) = (
            Path(f"/proc/{process.child.pid}/task/{process.child.pid}/children").read_text().split(),
        )
        (store,) = children
        pidfd = os.pidfd_open(int(store))
        process.child.kill()
        gone, _, _ = select.select([pidfd], [], [], 10)
        os.close(pidfd)
        assert gone


def test_an_address_that_is_taken_is_named_with_exit_code_1(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"udp://127.0.0.1:{taken.getsockname()[1]}"
        with Process(write_files(tmp_path, listen=f'["{address}"]')) as process:
            _, said = process.child.communicate(timeout=10)
            assert said.splitlines()[-1] == (
                f"callgate: cannot listen on {address}: the port is taken by another program"
            )
            assert process.child.returncode == 1


def test_a_mistake_in_the_files_is_told_with_exit_code_2(tmp_path: Path) -> None:
    path = write_files(tmp_path, domains="[]")
    with Process(path) as process:
        _, said = process.child.communicate(timeout=10)
        assert said.startswith(f"{path}:1: domains: ")
        assert process.child.returncode == 2
