"""Where one server is and how it is greeted: redis://, rediss:// and unix:// URLs, as redis-py reads them.

Of a rediss:// URL's options `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile` and `ssl_cert_reqs=none` are known.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from redis.connection import SSLConnection, parse_url

from policies.keys import command


@dataclass(frozen=True, slots=True)
class Address:
    """One server."""

    path: str
    """Of its unix socket; "" = host and port."""
    host: str
    port: int
    tls: ssl.SSLContext | None
    greeting: tuple[bytes, ...]
    """Packed commands that come before all others: who we are and which database."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.path or f"{host}:{self.port}"

    async def connect(
        self, loop: asyncio.AbstractEventLoop, factory: Callable[[], asyncio.Protocol]
    ) -> asyncio.WriteTransport:
        """Raises: OSError (ssl.SSLError is one)."""
        if self.path:
            transport, _ = await loop.create_unix_connection(factory, self.path)
        else:
            transport, _ = await loop.create_connection(factory, self.host, self.port, ssl=self.tls)
        return cast(asyncio.WriteTransport, transport)


def address_of(url: str) -> Address:
    """Raises: ValueError for a URL that is none. Its text may hold a password, so the error does not repeat it."""
    try:
        parts: Mapping[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
        return Address(
            path=parts.get("path", ""),
            host=parts.get("host", "localhost"),
            port=int(parts.get("port", 6379)),
            tls=_tls(parts) if parts.get("connection_class") is SSLConnection else None,
            greeting=_greeting(parts),
        )
    except (ValueError, OSError) as error:
        raise ValueError(f"not a usable store URL ({type(error).__name__})") from None


def _greeting(parts: Mapping[str, Any]) -> tuple[bytes, ...]:
    commands: list[bytes] = []
    password, username = parts.get("password"), parts.get("username")
    if password:
        who = (username.encode(),) if username else ()
        commands.append(command(b"AUTH", *who, password.encode()))
    if parts.get("db"):
        commands.append(command(b"SELECT", b"%d" % int(parts["db"])))
    return tuple(commands)


def _tls(parts: Mapping[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=parts.get("ssl_ca_certs"))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if parts.get("ssl_cert_reqs") == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if parts.get("ssl_certfile"):
        context.load_cert_chain(parts["ssl_certfile"], parts.get("ssl_keyfile"))
    return context
