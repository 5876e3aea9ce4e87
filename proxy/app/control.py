"""The operator's side of the control socket: asks a running callgate on this machine."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any

TIMEOUT = 10.0
RELOAD_TIMEOUT = 300.0
"""A hundred thousand accounts take some 20 s to read."""


class ControlError(Exception):
    """The running callgate cannot be asked. The text says why and what helps."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("callgate", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(
    path: Path, method: str, target: str, body: dict[str, Any] | None = None, timeout: float = TIMEOUT
) -> Any:
    """The answer's JSON. Raises: ControlError."""
    path = path.absolute()
    connection = _UnixConnection(path, timeout)
    try:
        connection.request(method, target, None if body is None else json.dumps(body))
        answer = connection.getresponse()
        text = answer.read().decode()
    except FileNotFoundError:
        raise ControlError(f"no callgate runs here: there is no {path} (admin.socket)") from None
    except ConnectionRefusedError:
        raise ControlError(f"no callgate answers on {path}: the one that made it is gone") from None
    except PermissionError:
        raise ControlError(f"{path} is open to the user only that callgate runs as") from None
    except (OSError, http.client.HTTPException) as error:
        raise ControlError(f"callgate does not answer on {path}: {error}") from None
    finally:
        connection.close()
    if answer.status != 200:
        raise ControlError(f"callgate answers {answer.status}: {text.strip()}")
    return json.loads(text)
