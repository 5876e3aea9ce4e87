"""Two small HTTP services: metrics and health for monitoring (TCP), control for this machine's operator (unix socket).

Control is not on the metrics port because it changes things: its socket is the owner's alone (0600), so who may use it
is a question of file permissions.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from config.listen import HostPort
from proxy.ops.metrics import CONTENT_TYPE

REQUEST_MAX = 16 * 1024
"""Bytes of a control request's body."""

SOCKET_PATH_MAX = 107
"""Bytes; unix(7): sun_path holds 108 with the final zero."""


class HttpError(Exception):
    """An HTTP service cannot be started. Its text names the address and says why."""


class Health(Protocol):
    """What the metrics service asks about."""

    def metrics(self) -> bytes:
        """The exposition in Prometheus text format."""

    def unready(self) -> str:
        """Why no calls are taken now, in plain words; "" when they are."""


class Reloading(Protocol):
    """How a reload went (proxy.app.reload.Reloaded)."""

    @property
    def problems(self) -> tuple[str, ...]: ...
    @property
    def plans(self) -> int: ...
    @property
    def subscribers(self) -> int: ...
    @property
    def payers(self) -> int: ...
    @property
    def restart_only(self) -> tuple[str, ...]: ...


class Control(Protocol):
    """What an operator can ask of a running callgate."""

    def calls(self) -> list[dict[str, Any]]:
        """Live calls, oldest first, as JSON values."""

    def registrations(self) -> list[dict[str, Any]]:
        """The registrations of ours elsewhere, as JSON values."""

    def hangup(self, call_id: str) -> int:
        """Cut every call with this Call-ID; how many there were."""

    async def reload(self) -> Reloading:
        """Read the files again, here and on the other instances."""

    def trunks(self) -> list[dict[str, Any]]:
        """Every trunk that can be called, with the state of its targets, as JSON values."""


class Services:
    """Both services. Start them by `start_…`, end them together by `close`."""

    def __init__(self) -> None:
        self._runners: list[web.AppRunner] = []
        self._path: Path | None = None

    async def start_metrics(self, listen: HostPort, health: Health) -> int:
        """Serve /metrics, /healthz, /readyz; the port in use. Raises: HttpError."""

        async def metrics(_: web.Request) -> web.Response:
            return web.Response(body=health.metrics(), headers={"Content-Type": CONTENT_TYPE})

        async def healthz(_: web.Request) -> web.Response:
            return web.Response(text="ok\n")

        async def readyz(_: web.Request) -> web.Response:
            word = health.unready()
            return web.Response(text=f"{word or 'ok'}\n", status=503 if word else 200)

        app = web.Application(client_max_size=REQUEST_MAX)
        app.add_routes(
            [web.get("/metrics", metrics), web.get("/healthz", healthz), web.get("/readyz", readyz)]
        )
        runner = await self._runner(app)
        site = web.TCPSite(runner, listen.host, listen.port)
        try:
            await site.start()
        except OSError as error:
            raise HttpError(f"cannot serve metrics on http://{listen}: {_why(error)}") from None
        return int(runner.addresses[0][1])

    async def start_control(self, path: Path, control: Control) -> None:
        """Serve the control requests on a unix socket. Raises: HttpError."""

        async def calls(_: web.Request) -> web.Response:
            return web.json_response(control.calls())

        async def registrations(_: web.Request) -> web.Response:
            return web.json_response(control.registrations())

        async def hangup(request: web.Request) -> web.Response:
            try:
                call_id = (await request.json())["call_id"]
            except (ValueError, KeyError, TypeError):
                raise web.HTTPBadRequest(text='the body must be {"call_id": "..."}\n') from None
            return web.json_response({"calls": control.hangup(str(call_id))})

        async def reload(_: web.Request) -> web.Response:
            found = await control.reload()
            return web.json_response(
                {
                    "reloaded": not found.problems,
                    "problems": found.problems,
                    "plans": found.plans,
                    "subscribers": found.subscribers,
                    "payers": found.payers,
                    "restart_only": found.restart_only,
                }
            )

        async def trunks(_: web.Request) -> web.Response:
            return web.json_response(control.trunks())

        app = web.Application(client_max_size=REQUEST_MAX)
        app.add_routes(
            [
                web.get("/calls", calls),
                web.get("/registrations", registrations),
                web.get("/trunks", trunks),
                web.post("/hangup", hangup),
                web.post("/reload", reload),
            ]
        )
        sock = _unix_socket(path)
        self._path = path
        await web.SockSite(await self._runner(app), sock).start()

    async def close(self) -> None:
        """End both and remove the control socket."""
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    async def _runner(self, app: web.Application) -> web.AppRunner:
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        self._runners.append(runner)
        return runner


def _why(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


def _unix_socket(path: Path) -> socket.socket:
    """A bound socket at `path` with mode 0600. Raises: HttpError."""
    if len(os.fsencode(path)) > SOCKET_PATH_MAX:
        raise HttpError(
            f"cannot serve control on {path}: a socket's path has at most {SOCKET_PATH_MAX} bytes"
        )
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_socket():
            if _alive(path):
                raise HttpError(f"cannot serve control on {path}: another callgate uses it")
            path.unlink()
        # Never open to others, not even for a moment.
        before = os.umask(0o177)
        try:
            sock.bind(str(path))
        finally:
            os.umask(before)
    except OSError as error:
        sock.close()
        raise HttpError(f"cannot serve control on {path}: {_why(error)}") from None
    except HttpError:
        sock.close()
        raise
    return sock


def _alive(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            # Left behind by one that was killed.
            return False
        return True
