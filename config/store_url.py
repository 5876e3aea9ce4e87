"""`store.url`: one server (redis://, rediss://, unix://), a master that Sentinel knows, or a Redis Cluster.

    redis+sentinel://[user:password@]host:port,host:port/master[/db][?option=value&…]
    redis+cluster://[user:password@]host:port,host:port[?option=value&…]

rediss+… is the same over TLS. No error repeats the URL or a part of it that may be a password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from config.units import host_port_of

Kind = Literal["sentinel", "cluster"]

PORTS: Final[Mapping[Kind, int]] = {"sentinel": 26379, "cluster": 6379}
"""Where a host without a port is meant to listen."""
_TLS_OPTIONS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs")
_OPTIONS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "sentinel": ("sentinel_username", "sentinel_password", *_TLS_OPTIONS),
    "cluster": _TLS_OPTIONS,
}
# Not urlsplit: a list of hosts with an IPv6 address in it is no netloc to it.
_SERVERS: Final = re.compile(
    r"redis(s?)\+(sentinel|cluster)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(#?).*", re.DOTALL
)
_FORMS: Final = (
    "must be embedded, redis://host:port/db, unix:///path, redis+sentinel://host:port,host:port/master/db or "
    "redis+cluster://host:port,host:port; over TLS rediss://, rediss+sentinel://, rediss+cluster://"
)


@dataclass(frozen=True, slots=True)
class ServersUrl:
    """A URL that names several servers."""

    kind: Kind
    tls: bool
    hosts: tuple[tuple[str, int], ...]
    """Sentinels, or nodes of the Cluster: those to ask first. IPv6 without brackets."""
    master: str
    """What the sentinels call it; "" for a Cluster."""
    db: int
    credentials: str
    """user:password as the URL has it, for the servers that hold data; "" = none."""
    options: Mapping[str, str]

    def server(self, host: str, port: int) -> str:
        """The URL of one server that holds data."""
        return self._one(self.credentials, host, port, self.db)

    def sentinel(self, host: str, port: int) -> str:
        """The URL of one sentinel."""
        user, password = (
            quote(self.options.get(f"sentinel_{name}", "")) for name in ("username", "password")
        )
        return self._one(f"{user}:{password}" if password else "", host, port, 0)

    def _one(self, credentials: str, host: str, port: int, db: int) -> str:
        scheme = "rediss" if self.tls else "redis"
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        tls = {name: value for name, value in self.options.items() if name in _TLS_OPTIONS}
        at = "@" if credentials else ""
        query = f"?{urlencode(tls)}" if tls else ""
        return f"{scheme}://{credentials}{at}{place}/{db}{query}"


def servers_of(url: str) -> ServersUrl | None:
    """None: the URL is one of a single server. Raises: ValueError saying what is wrong with one of several."""
    match = _SERVERS.fullmatch(url)
    if match is None:
        return None
    secure, named, netloc, path, query, fragment = match.groups("")
    kind: Kind = "sentinel" if named == "sentinel" else "cluster"
    credentials, _, hosts = netloc.rpartition("@")
    options = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(set(options) - set(_OPTIONS[kind]))
    if unknown:
        raise ValueError(f"unknown option {unknown[0]!r} of the URL; known are {', '.join(_OPTIONS[kind])}")
    if not secure and (tls := sorted(set(options) & set(_TLS_OPTIONS))):
        raise ValueError(f"{tls[0]} means nothing without TLS: use rediss+{kind}://")
    if fragment:
        raise ValueError("nothing may follow a # in the URL; in a password write %23")
    found = _hosts_of(kind, hosts)
    master, db = _path_of(kind, path)
    return ServersUrl(kind, bool(secure), found, master, db, credentials, options)


def _hosts_of(kind: Kind, text: str) -> tuple[tuple[str, int], ...]:
    what = "sentinel" if kind == "sentinel" else "node"
    found: list[tuple[str, int]] = []
    for number, place in enumerate(text.split(","), 1):
        try:
            host, port = host_port_of(place, PORTS[kind])
            if not port:
                raise ValueError
        except ValueError:
            # What stands there may be a password with a comma or an @ in it.
            raise ValueError(
                f"{what} {number} of the URL is not host:port (in a password write @ , / as %40 %2C %2F)"
            ) from None
        if (host, port) in found:
            raise ValueError(f"{what} {number} of the URL was named before")
        found.append((host, port))
    return tuple(found)


def _path_of(kind: Kind, path: str) -> tuple[str, int]:
    """(master, database)"""
    named, _, db = path.removeprefix("/").partition("/")
    if kind == "cluster":
        if path not in ("", "/", "/0"):
            raise ValueError("a Cluster has one database: nothing may follow its hosts")
        return "", 0
    if not named:
        raise ValueError("needs the master's name after the sentinels: redis+sentinel://host:port/master/db")
    if db and not (db.isascii() and db.isdecimal() and int(db) < 1 << 31):
        raise ValueError("the database, after the master's name, must be a number such as 0")
    return unquote(named), int(db or 0)


def check_store_url(url: str) -> str:
    """As it is, if `serve` can make something of it. Raises: ValueError saying what is wrong."""
    if url == "embedded" or servers_of(url) is not None:
        return url
    parts = urlsplit(url)
    if parts.scheme in ("redis", "rediss") and parts.hostname:
        return url
    if parts.scheme == "unix" and parts.path:
        return url
    raise ValueError(_FORMS)


def shown_store_url(url: str) -> str:
    """Without what may be a password."""
    match = _SERVERS.fullmatch(url)
    if match is not None:
        secure, kind, netloc, path, _, _ = match.groups()
        return f"redis{secure}+{kind}://{netloc.rpartition('@')[2]}{path}"
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
