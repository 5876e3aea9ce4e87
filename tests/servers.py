"""Several real Redis servers on loopback: a master and its replica under three sentinels, or a Cluster of three nodes.

All are tests.redis.PrivateRedis that listen on a TCP port of 127.0.0.1 as well, and die with the test process.
"""

from __future__ import annotations

import itertools
import random
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from redis import Redis
from redis.crc import key_slot
from redis.exceptions import RedisError

from tests.redis import PrivateRedis
from tests.tools import require

SLOTS = 16384
PATIENCE_S = 30.0
"""For servers that find each other; longer than it ever takes."""
_HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A self-signed one for localhost and 127.0.0.1, so it is its own authority too."""

    certificate: Path
    key: Path


def make_certificate(folder: Path) -> Certificate:
    made = Certificate(folder / "cert.pem", folder / "key.pem")
    kind = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = "-subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
    files = ["-keyout", str(made.key), "-out", str(made.certificate)]
    subprocess.run(
        [require("openssl"), *kind.split(), *names.split(), *files], check=True, capture_output=True
    )
    return made


_ports = itertools.count(random.randrange(10_000, 18_000))


def server_port() -> int:
    """A free one below those that the kernel hands out, so nobody is given it before the server has it."""
    for port in _ports:
        with socket.socket() as probe:
            try:
                probe.bind((_HOST, port))
            except OSError:
                continue
            return port
    raise AssertionError("ports have run out")


def wait_for(what: str, true: Callable[[], object]) -> None:
    """Waits for servers; an error of theirs is a no."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            if true():
                return
        except RedisError:
            pass
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_S:g} s"
        time.sleep(0.01)


class Server(PrivateRedis):
    """One that listens on TCP too, plainly or over TLS."""

    def __init__(
        self, folder: Path, *options: str, tls: Certificate | None = None, password: str = ""
    ) -> None:
        folder.mkdir()
        super().__init__(folder)
        self._password = password or None
        self.port = server_port()
        self._options = ["--bind", _HOST, *options]
        self._ports = ["--tls-port" if tls else "--port", str(self.port)]
        if tls:
            files = {"cert": tls.certificate, "key": tls.key, "ca-cert": tls.certificate}
            for name, path in files.items():
                self._options += [f"--tls-{name}-file", str(path)]
            self._options += ["--tls-auth-clients", "no", "--tls-replication", "yes", "--tls-cluster", "yes"]

    def start(self, *options: str) -> None:
        super().start(*self._ports, *self._options, *options)

    def client(self) -> Redis:
        return Redis(unix_socket_path=str(self.socket), password=self._password)


# Sentinel -------------------------------------------------------------------------------------------------------------


class Sentinel(Server):
    """It keeps its state in a file, which is its configuration too."""

    def __init__(
        self, folder: Path, master: int, tls: Certificate | None, passwords: tuple[str, str]
    ) -> None:
        super().__init__(folder, tls=tls, password=passwords[0])
        lines = [
            f"sentinel monitor mymaster {_HOST} {master} 2",
            "sentinel down-after-milliseconds mymaster 500",
            "sentinel failover-timeout mymaster 3000",
        ]
        if passwords[0]:
            lines += [f"requirepass {passwords[0]}", f"sentinel sentinel-pass {passwords[0]}"]
        if passwords[1]:
            lines += [f"sentinel auth-pass mymaster {passwords[1]}"]
        self._file = folder / "sentinel.conf"
        self._file.write_text("\n".join([*lines, ""]))

    def program(self) -> list[str]:
        return [require("redis-server"), str(self._file), "--sentinel"]

    def start(self, *options: str) -> None:
        super().start(*options)
        with self.client() as client:
            # What they tell each other every second or two is told ten times as often, so that nobody waits.
            for name in ("publish-period", "ping-period"):
                client.execute_command("SENTINEL", "DEBUG", name, "100")


class Watched:
    """A master, its replica, and three sentinels that watch them."""

    def __init__(self, folder: Path, tls: Certificate | None, passwords: tuple[str, str]) -> None:
        options = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"]
        if passwords[1]:
            options += ["--requirepass", passwords[1], "--masterauth", passwords[1]]
        names = [folder / f"server{n}" for n in range(2)]
        self.servers = [Server(name, *options, tls=tls, password=passwords[1]) for name in names]
        first = self.servers[0].port
        self.sentinels = [Sentinel(folder / f"sentinel{n}", first, tls, passwords) for n in range(3)]
        hosts = ",".join(f"{_HOST}:{sentinel.port}" for sentinel in self.sentinels)
        query = f"?ssl_ca_certs={tls.certificate}" if tls else ""
        self.url = f"redis{'s' if tls else ''}+sentinel://{hosts}/mymaster/0{query}"

    def start(self) -> None:
        """Returns when all know each other."""
        self.servers[0].start()
        self.servers[1].start("--replicaof", f"{_HOST} {self.servers[0].port}")
        for sentinel in self.sentinels:
            sentinel.start()
        for sentinel in self.sentinels:
            wait_for("the sentinels know each other", partial(self._knows_all, sentinel))
        self.replicated()

    def _knows_all(self, sentinel: Sentinel) -> bool:
        with sentinel.client() as client:
            reply: Any = client.execute_command("SENTINEL", "MASTER", "mymaster")
            state = _mapped(reply)
            return state["num-other-sentinels"] == "2" and state["num-slaves"] == "1"

    def replicated(self) -> None:
        """Waits until the replica has what the master has."""
        with self.master.client() as client:
            wait_for("the replica follows", lambda: client.wait(1, 100) == 1)

    @property
    def master(self) -> Server:
        """What all sentinels that live say it is. Waits until they are of one mind."""
        ports: set[int] = set()

        def agreed() -> bool:
            ports.clear()
            ports.update(self.master_of(sentinel) for sentinel in self.sentinels if sentinel.alive)
            return len(ports) == 1

        wait_for("the sentinels agree", agreed)
        (server,) = (server for server in self.servers if server.port in ports)
        return server

    def master_other_than(self, old: Server) -> Server:
        """Waits until the sentinels have replaced it."""
        wait_for("another master", lambda: self.master is not old)
        return self.master

    def master_of(self, sentinel: Sentinel) -> int:
        """The port of the master that a sentinel tells."""
        with sentinel.client() as client:
            reply: Any = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")
            return int(reply[1])

    def fail_over(self) -> Server:
        """As an operator asks for it. Returns the new master. The old one goes on as a master for some 10 s, until the
        sentinels look at it again."""
        old = self.master
        with self.sentinels[0].client() as client:
            wait_for("a failover", lambda: client.execute_command("SENTINEL", "FAILOVER", "mymaster"))
        return self.master_other_than(old)

    def stop(self) -> None:
        for server in (*self.sentinels, *self.servers):
            server.stop()


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _mapped(reply: Any) -> dict[str, str]:
    """A flat list or a mapping, as the client has it."""
    pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
    return {_text(name): _text(value) for name, value in pairs}


@contextmanager
def watched(tls: Certificate | None = None, passwords: tuple[str, str] = ("", "")) -> Iterator[Watched]:
    """`passwords`: of the sentinels, and of the servers."""
    with tempfile.TemporaryDirectory(prefix="cg-") as folder, ExitStack() as stack:
        made = Watched(Path(folder), tls, passwords)
        stack.callback(made.stop)
        made.start()
        yield made


# Cluster --------------------------------------------------------------------------------------------------------------


class ClusterNode(Server):
    """What it holds survives its death, in a file."""

    def __init__(self, folder: Path, tls: Certificate | None, whole: str) -> None:
        self.bus_port = server_port()
        bus = ("--cluster-port", str(self.bus_port))
        options = ("--cluster-node-timeout", "1000", "--cluster-require-full-coverage", whole)
        super().__init__(folder, "--cluster-enabled", "yes", *bus, *options, "--appendonly", "yes", tls=tls)

    def ask(self, *command: str | int) -> Any:
        with self.client() as client:
            return client.execute_command(*command)

    @property
    def id(self) -> str:
        return _text(self.ask("CLUSTER", "MYID"))

    def slots(self) -> list[tuple[int, int, int]]:
        """(first, last, port of the master), as this node knows it."""
        return sorted((int(row[0]), int(row[1]), int(row[2][1])) for row in self.ask("CLUSTER", "SLOTS"))

    def whole(self, nodes: int) -> bool:
        """It knows so many nodes, and who has which slot."""
        lines = _text(self.ask("CLUSTER", "INFO")).split("\r\n")
        wanted = {"cluster_state:ok", f"cluster_slots_ok:{SLOTS}", f"cluster_known_nodes:{nodes}"}
        return wanted <= set(lines)


class Cluster:
    """Masters that share the slots evenly."""

    def __init__(self, folder: Path, tls: Certificate | None, nodes: int, whole: str) -> None:
        self._folder = folder
        self._tls = tls
        self._whole = whole
        self.nodes = [ClusterNode(folder / f"node{n}", tls, whole) for n in range(nodes)]
        hosts = ",".join(f"{_HOST}:{node.port}" for node in self.nodes)
        query = f"?ssl_ca_certs={tls.certificate}" if tls else ""
        self.url = f"redis{'s' if tls else ''}+cluster://{hosts}{query}"

    def start(self) -> None:
        """Returns when each node knows of each slot."""
        count = len(self.nodes)
        for n, node in enumerate(self.nodes):
            node.start()
            node.ask("CLUSTER", "ADDSLOTSRANGE", SLOTS * n // count, SLOTS * (n + 1) // count - 1)
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
        for node in self.nodes[1:]:
            self.nodes[0].ask("CLUSTER", "MEET", _HOST, node.port, node.bus_port)
        self.settled()

    def settled(self) -> None:
        """Waits until all nodes are of one mind."""
        wait_for("the Cluster is whole", lambda: all(node.whole(len(self.nodes)) for node in self.nodes))
        wait_for("the nodes agree", lambda: len({str(node.slots()) for node in self.nodes}) == 1)

    def add_master(self) -> ClusterNode:
        """Without slots."""
        added = ClusterNode(self._folder / f"node{len(self.nodes)}", self._tls, self._whole)
        self.nodes.append(added)
        added.start()
        first = self.nodes[0]
        added.ask("CLUSTER", "MEET", _HOST, first.port, first.bus_port)
        self.settled()
        return added

    def add_replica(self, master: ClusterNode) -> ClusterNode:
        """Returns when it has what its master has."""
        replica = self.add_master()
        replica.ask("CLUSTER", "REPLICATE", master.id)
        with master.client() as client:
            wait_for("the replica follows", lambda: client.wait(1, 100) == 1)
        return replica

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    def flush(self) -> None:
        for node in self.nodes:
            node.ask("FLUSHALL")

    def owner(self, slot: int) -> ClusterNode:
        """By its own word."""
        for node in (node for node in self.nodes if node.alive):
            ports = [port for first, last, port in node.slots() if first <= slot <= last]
            if ports == [node.port]:
                return node
        raise AssertionError(f"nobody has slot {slot}")

    def node_of(self, payer: str) -> ClusterNode:
        return self.owner(slot_of(payer))

    # Moving a slot, step by step as redis-cli does it

    def begin_move(self, slot: int, target: ClusterNode) -> ClusterNode:
        """From now on it is between two nodes. Returns the one it leaves."""
        source = self.owner(slot)
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        return source

    def move_keys(self, slot: int, source: ClusterNode, target: ClusterNode) -> int:
        """How many."""
        moved = 0
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 10):
            source.ask("MIGRATE", _HOST, target.port, "", 0, 5000, "KEYS", *keys)
            moved += len(keys)
        return moved

    def end_move(self, slot: int, source: ClusterNode, target: ClusterNode) -> None:
        for node in (target, source):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", target.id)

    def move(self, slot: int, target: ClusterNode) -> None:
        """All at once, while commands come."""
        source = self.begin_move(slot, target)
        self.move_keys(slot, source, target)
        self.end_move(slot, source, target)


def slot_of(payer: str) -> int:
    """Where the keys of a payer are."""
    return key_slot(f"{{{payer}}}".encode())


def payers_on(node: ClusterNode, count: int) -> list[str]:
    """Names of payers whose keys are at a node."""
    mine = [range(first, last + 1) for first, last, port in node.slots() if port == node.port]
    names = (f"payer{n}" for n in itertools.count())
    return list(itertools.islice((name for name in names if any(slot_of(name) in r for r in mine)), count))


@contextmanager
def lone_server() -> Iterator[Server]:
    """One that is no Cluster's."""
    with tempfile.TemporaryDirectory(prefix="cg-") as folder, ExitStack() as stack:
        made = Server(Path(folder) / "server")
        stack.callback(made.stop)
        made.start()
        yield made


@contextmanager
def cluster_of(nodes: int = 3, tls: Certificate | None = None, whole: str = "no") -> Iterator[Cluster]:
    """`whole`: "yes" = those who are left serve nobody when one is gone (Redis's default)."""
    with tempfile.TemporaryDirectory(prefix="cg-") as folder, ExitStack() as stack:
        made = Cluster(Path(folder), tls, nodes, whole)
        stack.callback(made.stop)
        made.start()
        yield made
