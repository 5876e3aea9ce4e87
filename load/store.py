"""A private Redis on a unix socket: no port, nothing kept on disk, gone with the run."""

from __future__ import annotations

import signal
from pathlib import Path

import redis

from load.processes import Child, Processes, program, wait_until


class Store:
    """One running redis-server, and what it says of the work it did."""

    __slots__ = ("_client", "child", "socket")

    def __init__(self, processes: Processes, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        argv = [program("redis-server"), "--port", "0", "--unixsocket", str(self.socket)]
        argv += ["--save", "", "--appendonly", "no"]
        argv += ["--dir", str(folder), "--loglevel", "warning"]
        self.child: Child = processes.start("redis", argv, folder / "redis.log", stop_signal=signal.SIGKILL)
        wait_until("its socket", self.socket.exists, self.child)
        self._client = redis.Redis(unix_socket_path=str(self.socket), decode_responses=True)

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def load_script(self, text: bytes) -> str:
        """Put a Lua script into the cache; its SHA-1, for EVALSHA."""
        return str(self._client.script_load(text))

    def script_calls(self) -> int:
        """How many scripts were run since the start."""
        stats = self._client.info("commandstats")
        return sum(int(stats[name]["calls"]) for name in ("cmdstat_evalsha", "cmdstat_eval") if name in stats)

    def memory_bytes(self) -> int:
        """Memory used for data and buffers."""
        return int(self._client.info("memory")["used_memory"])

    def leases(self) -> int:
        """Calls that hold one, of all payers (policies/keys.py)."""
        found = 0
        for kind in ("po", "pi", "to", "ti"):
            found += sum(int(self._client.zcard(key)) for key in self._client.scan_iter(f"cg:{{*:{kind}"))
        return found

    def keys(self) -> int:
        """How many keys there are: whether admission left its marks at all."""
        return int(self._client.dbsize())
