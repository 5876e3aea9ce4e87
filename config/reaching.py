"""How neighbours are found and watched: the targets of a trunk, their health checks, and the name servers."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator

from config.listen import DEFAULT_PORTS, HostPort
from config.model import Model, listed
from config.units import FilePath, host_port_of, seconds, whole

_TARGET = re.compile(r"sip:(?:[^@<>\s]+@)?(\[[0-9A-Fa-f:.]+\]|[^:;?@<>\s]+)(:[0-9]+)?((?:;[^;?<>\s]+)*)")


def _target_of(raw: object) -> str:
    text = raw.strip() if isinstance(raw, str) else ""
    if text.startswith("sips:"):
        raise ValueError("sips is not supported: use sip, with ;transport=tls")
    match = _TARGET.fullmatch(text)
    if not match:
        raise ValueError(f"not a SIP address: {raw!r}; write it as sip:192.0.2.1:5060;transport=udp")
    found = re.search(r";transport=([^;]*)", match[3].lower())
    transport = found[1] if found else "udp"
    if transport in ("ws", "wss"):
        raise ValueError(f"transport={transport} cannot be called: a WebSocket client connects to us")
    if transport not in ("udp", "tcp", "tls"):
        raise ValueError(f"unknown transport {transport!r}: use udp, tcp or tls")
    host_port_of(match[1] + (match[2] or ""), DEFAULT_PORTS[transport.upper()])
    return text


class Target(Model):
    """Where calls to a trunk go, written as a SIP URI or {uri: …, priority: …, weight: …}."""

    uri: Annotated[str, BeforeValidator(_target_of)]
    priority: Annotated[int, whole(1, 65535)] | None = None
    """Lower is tried first; None = its place in the list."""
    weight: Annotated[int, whole(1, 65535)] = 1
    """Share of the calls among targets of one priority."""

    @model_validator(mode="before")
    @classmethod
    def _uri_alone(cls, raw: Any) -> Any:
        return raw if isinstance(raw, dict | list) else {"uri": raw}


class Health(Model):
    """OPTIONS that tell whether a trunk's targets are alive."""

    every: Annotated[float, seconds(1, 3600)] = 30.0
    timeout: Annotated[float, seconds(0.1, 32)] = 4.0
    """Without an answer by then a check has failed."""
    failures: Annotated[int, whole(1, 100)] = 2
    """Failed checks in a row that take a target out; one good check takes it in again."""


def _name_server_of(raw: object) -> HostPort:
    if isinstance(raw, HostPort):
        return raw
    host, port = host_port_of(raw if isinstance(raw, str) else "", 53)
    try:
        ip_address(host)
    except ValueError:
        raise ValueError(
            f"not a numeric address: {raw!r}; a name server is found without a name server"
        ) from None
    return HostPort(host, port)


class Resolver(Model):
    """Who is asked where host names lead (RFC 3263)."""

    servers: Annotated[tuple[Annotated[HostPort, BeforeValidator(_name_server_of)], ...], listed] = ()
    """Name servers, numeric; none = those of /etc/resolv.conf."""
    timeout: Annotated[float, seconds(0.1, 30)] = 2.0
    """For one server; all of them together get twice as long."""
    hosts: FilePath = Path("/etc/hosts")
