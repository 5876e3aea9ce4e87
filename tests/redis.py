"""A private Redis for tests: a real server on a unix socket in a folder of its own, gone when its starter is.

It listens on no TCP port, keeps nothing on disk, and dies with the test process however that ends (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import ctypes
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis
from redis.exceptions import ConnectionError as NotYet

from tests.tools import require

_PR_SET_PDEATHSIG = 1
_START_SECONDS_MAX = 10.0

# Loaded here, for nothing may be imported between fork and exec.
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class PrivateRedis:
    """One server, and how to reach, stop and start it again."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server is not running"
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None

    def program(self) -> list[str]:
        """How it is started, options apart."""
        return [require("redis-server", "valkey-server")]

    def start(self, *options: str) -> None:
        """Returns when it answers. `options` go to the command line: `--maxmemory`, `1mb`."""
        arguments = ["--port", "0", "--unixsocket", str(self.socket), "--save", "", "--appendonly", "no"]
        with open(self._folder / "redis.log", "ab") as log:
            self._process = subprocess.Popen(
                [*self.program(), *arguments, *options],
                cwd=self._folder,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,
            )
        self._wait_until_it_answers()

    def stop(self) -> None:
        """Ends it as a crash would: what it held is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def client(self) -> Redis:
        """A blocking client, for arranging and looking."""
        return Redis(unix_socket_path=str(self.socket))

    def _wait_until_it_answers(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS_MAX
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                with self.client() as client:
                    client.ping()
                return
            except (NotYet, FileNotFoundError):
                time.sleep(0.005)
        text = (self._folder / "redis.log").read_text(errors="replace")
        self.stop()
        raise RuntimeError(f"the private Redis did not start:\n{text}")


@contextmanager
def private_redis(*options: str) -> Iterator[PrivateRedis]:
    """A server for the length of a `with`."""
    # Not pytest's tmp_path: a socket's path holds 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="cg-") as folder:
        server = PrivateRedis(Path(folder))
        server.start(*options)
        try:
            yield server
        finally:
            server.stop()
