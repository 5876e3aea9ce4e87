"""Two small HTTP services: metrics and health for monitoring (TCP), control for this machine's operator (unix socket).

Control is not on the metrics port because it changes things: its socket is the owner's alone (0600), so who may use it
is a question of file permissions.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

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


class BadRequest(Exception):
    """A control request asks for something impossible; answered 400 with this text."""


Handler = Callable[[Mapping[str, Any]], Awaitable[Any]]
"""Takes the object that the request's body holds ({} without a body), gives what is answered; both are JSON values.
Raises: BadRequest; KeyError for a member that is missing."""
Requests = Mapping[tuple[Literal["GET", "POST"], str], Handler]
"""By method and path. What only looks is a GET."""


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

    async def start_control(self, path: Path, requests: Requests) -> None:
        """Serve the control requests on a unix socket. Raises: HttpError."""
        app = web.Application(client_max_size=REQUEST_MAX)
        for (method, target), handler in requests.items():
            app.router.add_route(method, target, _answering(handler))
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


def _answering(handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        try:
            body = await request.json() if request.can_read_body else {}
            if not isinstance(body, dict):
                raise BadRequest("the body must be a JSON object")
            return web.json_response(await handler(body))
        except BadRequest as mistake:
            raise web.HTTPBadRequest(text=f"{mistake}\n") from None
        except KeyError as missing:
            raise web.HTTPBadRequest(text=f"the body lacks {missing}\n") from None
        except ValueError:
            raise web.HTTPBadRequest(text="the body is no JSON\n") from None

    return answer


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
