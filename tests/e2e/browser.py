"""A headless Chromium with a page of ours, driven over the DevTools protocol, and the browser phone (JsSIP) for it.

JsSIP comes from the npm registry by the lock file in tests/e2e/web-phone and is bundled by esbuild, both kept in .cache
for the next run. What the page says is asked for as a promise, so nothing is polled.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import http.server
import json
import shutil
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate
from websockets.sync.client import ClientConnection, connect

from config.listen import Certificate
from load.processes import Processes, wait_until
from tests.e2e.net import PATIENCE_S
from tests.e2e.service import Callgate
from tests.tools import cannot_run, require

SOURCE = Path(__file__).parent / "web-phone"
CACHE = Path(__file__).parents[2] / ".cache" / "web-phone"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--allow-loopback-in-peer-connection",
    "--remote-debugging-port=0",
)


def site() -> Path:
    """The folder of the page and its script, made when the lock file has changed since."""
    lock = SOURCE / "package-lock.json"
    script = CACHE / "site" / "jssip.js"
    mark = CACHE / "installed"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    if not script.exists() or not mark.exists() or mark.read_text() != wanted:
        CACHE.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SOURCE / name, CACHE)
        _run(require("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund")
        _run(
            str(CACHE / "node_modules" / ".bin" / "esbuild"),
            str(CACHE / "node_modules" / "jssip" / "lib" / "JsSIP.js"),
            "--bundle",
            "--format=iife",
            "--global-name=JsSIP",
            f"--outfile={script}",
        )
        mark.write_text(wanted)
    shutil.copy(SOURCE / "phone.html", script.parent)
    return script.parent


def _run(*argv: str) -> None:
    done = subprocess.run(argv, cwd=CACHE, capture_output=True, text=True, timeout=50, check=False)
    if done.returncode:
        cannot_run(f"{argv[0]} failed: {done.stderr[-500:]}")


def pin_of(certificate: Certificate) -> str:
    """What Chromium knows the certificate by: its key's hash."""
    found = load_pem_x509_certificate(certificate.certificate.read_bytes())
    key = found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(key).digest()).decode()


def shown(callgate: Callgate) -> Certificate:
    """Its certificate."""
    (one,) = callgate.settings["tls"]["certificates"]
    return Certificate(certificate=Path(one["certificate"]), key=Path(one["key"]))


class Page:
    """The one page of a browser."""

    def __init__(self, devtools: ClientConnection) -> None:
        self._devtools = devtools
        self._number = 0
        self._seen: set[str] = set()
        """Names of the events that came."""

    def open(self, url: str) -> None:
        """Returns when it is loaded, its scripts run."""
        self.ask("Page.enable")
        self._seen.clear()
        self.ask("Page.navigate", url=url)
        while "Page.loadEventFired" not in self._seen:
            self._receive()

    def _receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._devtools.recv(timeout=PATIENCE_S))
        self._seen.add(message.get("method", ""))
        return message

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the DevTools protocol; returns its result."""
        self._number += 1
        self._devtools.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            message = self._receive()
            if message.get("id") == self._number:
                assert "error" not in message, message["error"]
                result: dict[str, Any] = message["result"]
                return result

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression; of a promise what it brings."""
        result = self.ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def call(self, function: str, *arguments: object) -> Any:
        return self.run(f"{function}({', '.join(map(json.dumps, arguments))})")

    def next(self, kind: str) -> dict[str, Any]:
        """The next event of this kind (phone.html)."""
        found: dict[str, Any] = self.call("next", kind)
        return found


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Its files by HTTP on loopback, where scripts may use a microphone; the address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def browsing(processes: Processes, folder: Path, url: str, trusted: Certificate) -> Iterator[Page]:
    """A Chromium on this page, which takes `trusted` for good whoever signed it."""
    with browsing_all(processes, folder, url, trusted, 1) as (page,):
        yield page


@contextmanager
def browsing_all(
    processes: Processes, folder: Path, url: str, trusted: Certificate, count: int
) -> Iterator[list[Page]]:
    """So many tabs of one Chromium."""
    profile = folder / "profile"
    argv = [require("chromium"), *FLAGS, f"--user-data-dir={profile}"]
    argv += [f"--ignore-certificate-errors-spki-list={pin_of(trusted)}", "about:blank"]
    child = processes.start("chromium", argv, folder / "chromium.log", stop_signal=signal.SIGTERM, cwd=folder)
    told = profile / "DevToolsActivePort"
    wait_until("DevTools listen", lambda: told.exists() and "\n" in told.read_text(), child, PATIENCE_S)
    port = told.read_text().split()[0]

    def devtools(path: str, method: str = "GET") -> Any:
        asked = urllib.request.Request(f"http://127.0.0.1:{port}/json{path}", method=method)
        with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def tabs() -> list[dict[str, str]]:
        return [one for one in devtools("") if one["type"] == "page"]

    wait_until("the page is there", lambda: bool(tabs()), child, PATIENCE_S)
    opened = [tabs()[0], *(devtools("/new?about:blank", "PUT") for _ in range(1, count))]
    with ExitStack() as stack:
        pages = []
        for tab in opened:
            channel = connect(tab["webSocketDebuggerUrl"], max_size=None, proxy=None, compression=None)
            page = Page(stack.enter_context(channel))
            page.open(url)
            pages.append(page)
        yield pages
