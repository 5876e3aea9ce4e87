"""The real `callgate serve` in a process of its own, with a configuration folder written for the test."""

from __future__ import annotations

import http.client
import json
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from config.listen import Transport
from load.processes import Child, Processes, wait_until
from tests.certificates import authority
from tests.e2e.channel import SERVER_NAME
from tests.e2e.net import PATIENCE_S, POLL_S, Address, Net, free_port

DOMAIN = "example.com"
PASSWORD = "secret"
CREDENTIALS = {"username": "callgate", "password": "of-the-trunk"}
"""What providers know callgate by."""
PROVIDERS = 150
"""How many a run has; each test takes one that nobody used before it."""

Settings = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tariff:
    """What one subscriber has bought, and its accounts. The subscriber has the tariff's name."""

    limits: Mapping[str, str | int] = field(default_factory=dict)
    """Options of the mode's category, as plans.yaml writes them."""
    mode: str = "softphone"
    accounts: tuple[str, ...] = ()
    """User parts; empty = one account with the subscriber's name."""
    category: str = ""
    """The category its plan is for; "" = the accounts' mode."""
    disabled: bool = False
    account: Mapping[str, Any] = field(default_factory=dict)
    """More that its accounts say; what is None is left out."""


def plans_of(tariffs: Mapping[str, Tariff]) -> Settings:
    """plans.yaml: one plan a subscriber."""
    return {
        "plans": {name: {"categories": {t.category or t.mode: dict(t.limits)}} for name, t in tariffs.items()}
    }


def subscribers_of(tariffs: Mapping[str, Tariff]) -> Settings:
    """subscribers.yaml"""
    return {
        "subscribers": {
            name: {
                "accounts": [_account(user, tariff) for user in tariff.accounts or (name,)],
                "activations": [{"plan": name, "since": "2020-01-01"}],
            }
            for name, tariff in tariffs.items()
        }
    }


def _account(user: str, tariff: Tariff) -> Settings:
    account = {"user": user, "password": PASSWORD, "mode": tariff.mode, "disabled": tariff.disabled}
    return {key: value for key, value in {**account, **tariff.account}.items() if value is not None}


def settings_of(net: Net, store_url: str, host: int = Net.CALLGATE) -> Settings:
    """callgate.yaml of a service at `net.host(host)`. Patient with a busy machine where time is not the point.

    Provider n is called by dialling 1nn (UDP), 2nn (TCP), 3nn (UDP, with provider n + 1 to fall back on).
    """
    trunks: Settings = {
        "trusted": {"from": [f"{net.host(Net.TRUSTED)}/32"], "identity": "from"},
        "asserting": {"from": [f"{net.host(Net.ASSERTING)}/32"], "identity": "pai"},
        "outside": {"from": [f"{net.host(Net.OUTSIDE)}/32"], "identity": "none"},
    }
    routes = []
    for n in range(PROVIDERS):
        uri, second = (f"sip:{net.host(Net.PROVIDERS + i)}:{net.sip_port}" for i in (n, n + 1))
        for first, targets in (("1", [uri]), ("2", [f"{uri};transport=tcp"]), ("3", [uri, second])):
            trunks[f"provider{first}{n:02d}"] = {"targets": targets, "credentials": CREDENTIALS}
            routes.append({"match": f"^{first}{n:02d}$", "to": f"provider{first}{n:02d}"})
    address, ipv6_port = net.host(host), free_port("::1")
    return {
        "domains": [DOMAIN],
        "listen": [
            f"udp://{address}:{net.sip_port}",
            f"tcp://{address}:{net.sip_port}",
            f"udp://[::1]:{ipv6_port}",
            f"tcp://[::1]:{ipv6_port}",
            *(f"{scheme}://{address}:{free_port(address)}" for scheme in ("tls", "ws", "wss")),
            f"tls://[::1]:{free_port('::1')}",
        ],
        "tls": tls_of(address),
        "store": {"url": store_url, "deadline": "5s", "lease": "30s", "spool": {"path": "spool"}},
        "metrics": {"listen": f"{address}:{free_port(address)}"},
        "admin": {"socket": "admin.sock"},
        "plans": "plans.yaml",
        "subscribers": "subscribers.yaml",
        "trunks": trunks,
        "routes": routes,
        # SIPp knows MD5 only and takes the first challenge it sees.
        "auth": {"algorithms": ["MD5", "SHA-256"]},
        "registrar": {"expires_min": "1s"},
        # When the test process dies, so does SIPp; callgate then waits no longer than this for the calls it had.
        "timers": {"drain_timeout": "10s"},
        "limits": {"loop_lag_max": "10s"},
        "log": {"format": "json"},
        "cdr": {"file": "cdr.jsonl"},
    }


def tls_of(address: str) -> Settings:
    """The section `tls`, with a certificate of the run's own authority."""
    certificate = authority().issue(address, SERVER_NAME, "localhost", address)
    return {
        "certificates": [{"certificate": str(certificate.certificate), "key": str(certificate.key)}],
        "trust": str(authority().path),
    }


class Callgate:
    """One instance. Made by `start`; ends with the `Processes` it was started in, or by `kill` and `terminate`."""

    def __init__(
        self, processes: Processes, folder: Path, settings: Settings, tariffs: Mapping[str, Tariff]
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.tariffs = dict(tariffs)
        self.config = folder / "callgate.yaml"
        self.child: Child | None = None
        self._processes = processes
        self._log = folder / "callgate.log"
        folder.mkdir(exist_ok=True)
        self.write()

    def write(self) -> None:
        """The files of its configuration, as `settings` and `tariffs` are now."""
        write_yaml(self.config, self.settings)
        write_yaml(self.folder / "plans.yaml", plans_of(self.tariffs))
        write_yaml(self.folder / "subscribers.yaml", subscribers_of(self.tariffs))

    def start(self) -> None:
        """Returns when /readyz says that it takes calls."""
        self.launch()
        self.await_ready()

    def launch(self) -> None:
        """Returns at once."""
        program = Path(sys.executable).with_name("callgate")
        argv = [str(program), "serve", "-c", str(self.config)]
        self.child = self._processes.start("callgate", argv, self._log, cwd=self.folder)

    def await_ready(self) -> None:
        """Until /readyz says that it takes calls."""
        assert self.child is not None
        wait_until("/readyz says 200", self.ready, self.child, PATIENCE_S)

    def terminate(self) -> None:
        """SIGTERM: it drains."""
        self.running.popen.send_signal(signal.SIGTERM)

    def reload(self) -> None:
        """SIGHUP: it reads its files again."""
        self.running.popen.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """As a crash would: nothing is said to anybody."""
        self.running.popen.kill()
        self._processes.stop(self.running)
        self.child = None

    @property
    def running(self) -> Child:
        assert self.child is not None, "callgate is not running"
        return self.child

    def address(self, ipv6: bool = False, transport: Transport = "UDP") -> Address:
        """Of its first listener of this kind."""
        start = f"{transport.lower()}://" + ("[" if ipv6 else "")
        text = next(one for one in self.settings["listen"] if one.startswith(start))
        host, _, port = text.partition("//")[2].rpartition(":")
        return host.strip("[]"), int(port)

    # What an operator sees -------------------------------------------------------------------------------------------

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a page of the metrics address; 0 when nobody answers."""
        try:
            with urllib.request.urlopen(
                f"http://{self.settings['metrics']['listen']}{path}", timeout=5
            ) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except (OSError, http.client.HTTPException):
            # Not there yet; or, on a port that the kernel may hand out, connected to ourselves.
            return 0, ""

    def ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def metric(self, name: str, **labels: str) -> float:
        """A sample, or the sum of the samples that have these labels. 0 when there is none."""
        families = text_string_to_metric_families(self.get("/metrics")[1])
        samples = (sample for family in families for sample in family.samples if sample.name == name)
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    def log(self) -> list[dict[str, Any]]:
        """Its log, one object a line. Lines that are no JSON (a traceback) are under "event"."""
        return [_parsed(line) for line in self._log.read_text().splitlines()]

    def records(self, call_id: str = "") -> list[dict[str, Any]]:
        """What the CDR file tells, of all calls or of one."""
        path = self.folder / "cdr.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        found = [json.loads(line) for line in lines]
        return [record for record in found if not call_id or record["call_id"] == call_id]

    def record(self, call_id: str) -> dict[str, Any]:
        """The one record of a call, as soon as it is there."""
        self.until(f"the record of {call_id}", lambda: bool(self.records(call_id)))
        (record,) = self.records(call_id)
        return record

    def until(self, what: str, true: Callable[[], object], timeout_s: float = PATIENCE_S) -> float:
        """Waits until it is true; returns how long that took, in seconds."""
        started = time.monotonic()
        while not true():
            late = time.monotonic() - started
            assert late < timeout_s, f"{what}: not within {timeout_s:g} s\n{self._log.read_text()[-3000:]}"
            time.sleep(POLL_S)
        return time.monotonic() - started


def _parsed(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {"event": line, "level": "error"}
    return found if isinstance(found, dict) else {"event": line, "level": "error"}


def write_yaml(path: Path, content: Settings) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False))
