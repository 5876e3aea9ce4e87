"""Sections of callgate.yaml about sockets: `listen`, `tls`, `websocket`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from config.model import Model, listed
from config.units import FilePath, host_of, host_port_of, seconds, text_of

Transport = Literal["UDP", "TCP", "TLS", "WS", "WSS"]
TRANSPORTS: Final[tuple[Transport, ...]] = get_args(Transport)
SECURE: Final = ("TLS", "WSS")
WEBSOCKET: Final = ("WS", "WSS")
Verify = Literal["none", "optional", "required"]

DEFAULT_PORTS: Final = {"UDP": 5060, "TCP": 5060, "TLS": 5061, "WS": 80, "WSS": 443}
"""RFC 3261 §19.1.2, RFC 7118 §5.5."""
_NAMES: Final = "udp, tcp, tls, ws or wss"


@dataclass(frozen=True, slots=True)
class HostPort:
    """host: a name or an address, IPv6 without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a socket of ours listens. Port 0 = any free one (for tests)."""

    transport: Transport
    host: str
    port: int


def _endpoint_of(raw: object) -> Endpoint:
    if isinstance(raw, Endpoint):
        return raw
    match = re.fullmatch(r"([a-z]+)://(.+)", raw) if isinstance(raw, str) else None
    if not match:
        raise ValueError(f"not a listening address: {raw!r}; write it as udp://0.0.0.0:5060")
    scheme, address = match.groups()
    for transport in TRANSPORTS:
        if transport.lower() == scheme:
            return Endpoint(transport, *host_port_of(address, DEFAULT_PORTS[transport]))
    raise ValueError(f"unknown transport {scheme!r}: use {_NAMES}")


def _advertise_of(raw: object) -> HostPort:
    """Port 0 = the port of the listener."""
    return (
        raw if isinstance(raw, HostPort) else HostPort(*host_port_of(raw if isinstance(raw, str) else "", 0))
    )


Advertise = Annotated[HostPort, BeforeValidator(_advertise_of)]


class Listen(Model):
    """One listening socket, written `udp://host:port` or {address: …, advertise: …, verify: …}."""

    address: Annotated[Endpoint, BeforeValidator(_endpoint_of)]
    advertise: Advertise | None = None
    """What Via, Record-Route and Contact say instead of the address; port 0 = the same port."""
    verify: Verify | None = None
    """Instead of tls.verify."""

    @model_validator(mode="before")
    @classmethod
    def _address_alone(cls, raw: Any) -> Any:
        return raw if isinstance(raw, dict | list) else {"address": raw}

    @model_validator(mode="after")
    def _verify_fits(self) -> Self:
        if self.verify is not None and self.address.transport not in SECURE:
            raise ValueError("verify is for tls:// and wss:// only: others have no certificates")
        return self


def _server_name_of(raw: object) -> str:
    text = text_of(raw)
    return "*." + host_of(text[2:]) if text.startswith("*.") else host_of(text)


class Certificate(Model):
    """What we show to peers: a PEM file with the certificate and those between it and the root, and its key."""

    certificate: FilePath
    key: FilePath
    names: Annotated[tuple[Annotated[str, BeforeValidator(_server_name_of)], ...], listed] = ()
    """Server names (SNI) it is shown for; `*.example.com` for one label more."""


class Tls(Model):
    """For every tls:// and wss:// listener, and for connections that we open."""

    certificates: Annotated[tuple[Certificate, ...], listed] = ()
    """The first is shown to whoever asks for none of the others' names."""
    verify: Verify = "none"
    """Whether clients must show a certificate."""
    client_ca: FilePath | None = None
    """PEM file of those who may sign clients' certificates."""
    trust: FilePath | None = None
    """PEM file of those who may sign the certificates of targets; None = the system's."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for index, certificate in enumerate(self.certificates):
            if index and not certificate.names:
                raise ValueError("each certificate after the first needs names: for whom is it?")
        return self


def _origin_of(text: str) -> str:
    if text == "*":
        return text
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path or parts.query:
        raise ValueError(f"not an origin: {text!r}; write it as https://phone.example.com, or *")
    return text.lower()


class WebSocket(Model):
    """For every ws:// and wss:// listener."""

    origins: Annotated[
        tuple[Annotated[str, BeforeValidator(text_of), AfterValidator(_origin_of)], ...],
        listed,
        Field(min_length=1),
    ] = ("*",)
    """Web pages whose scripts may connect; `*` = any, and clients that are no browser."""
    ping: Annotated[float, seconds(1, 3600)] = 30.0
    """After so long without a sign of life a client is asked for one; after as long again it is given up."""
