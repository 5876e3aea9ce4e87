"""Which TLS we speak: contexts made of `tls` in the configuration, swapped whole when it is read again.

RFC 8996: TLS 1.2 and 1.3 only. We differ from RFC 3261 §26.2.1, whose TLS_RSA_WITH_AES_128_CBC_SHA is a MUST of 2002:
under TLS 1.2 only suites with forward secrecy and authenticated encryption (RFC 9325 §4.2).

The name of a target is checked against its certificate (RFC 5922 §4, §7.3): the host of the URI that was asked for,
not the one DNS led to. We differ in two points, both Python's ssl: a wildcard (*.example.com) is taken (§7.2), as
providers have them, and SANs of type URI are not looked at (§7.1), as nobody issues them.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from config.certificates import expires_at
from config.listen import Certificate, Tls, Verify
from proxy.net.sink import NetCounters

_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
_MODES: Final[Mapping[Verify, ssl.VerifyMode]] = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


class Security:
    """The contexts in force. Connections that stand keep the one they were made with."""

    __slots__ = ("_accepting", "_counters", "_verify", "dialling")

    dialling: ssl.SSLContext
    """For connections that we open."""

    def __init__(self, tls: Tls, counters: NetCounters) -> None:
        """Raises: OSError (ssl.SSLError is one) when a file cannot be used."""
        self._counters = counters
        self.reload(tls)

    def reload(self, tls: Tls) -> None:
        """Use these files for connections from now on. Raises: OSError; then what was in force stays so."""
        accepting = {
            mode: _accepting(tls, mode) for mode in _MODES if mode == "none" or tls.client_ca is not None
        }
        dialling = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _harden(dialling)
        dialling.hostname_checks_common_name = False
        if tls.trust is None:
            dialling.load_default_certs()
        else:
            dialling.load_verify_locations(tls.trust)
        for certificate in tls.certificates[:1]:
            # RFC 3261 §26.3.1: a proxy shows its certificate to the next one, if that asks.
            _load(dialling, certificate)
        first = min((expires_at(certificate) for certificate in tls.certificates), default=float("inf"))
        self._accepting, self._verify, self.dialling = accepting, tls.verify, dialling
        self._counters.certificate_expires_at = first

    def accepting(self, verify: Verify | None) -> ssl.SSLContext:
        """For a connection that a client opened. `verify`: None = as `tls` says."""
        return self._accepting[verify or self._verify]


def _accepting(tls: Tls, verify: Verify) -> ssl.SSLContext:
    """The context of the first certificate, which gives way to another's when its name is asked for (RFC 6066 §3)."""
    contexts = [_with(certificate, tls.client_ca, verify) for certificate in tls.certificates]
    if not contexts:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    by_name = {
        name: context
        for certificate, context in zip(tls.certificates, contexts, strict=True)
        for name in certificate.names
    }

    def choose(connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        if name is None:
            return
        name = name.lower().rstrip(".")
        found = by_name.get(name) or by_name.get("*." + name.partition(".")[2])
        if found is not None:
            connection.context = found

    # We differ from RFC 6066 §3: an unknown name is no error, phones ask for whatever their user wrote.
    contexts[0].sni_callback = choose
    return contexts[0]


def _with(certificate: Certificate, client_ca: Path | None, verify: Verify) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    _load(context, certificate)
    context.verify_mode = _MODES[verify]
    if client_ca is not None:
        context.load_verify_locations(client_ca)
    return context


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    # A client's renegotiation costs us a signature each time and it nothing (RFC 9325 §3.5).
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION


def _load(context: ssl.SSLContext, certificate: Certificate) -> None:
    # With no password of ours, or OpenSSL would ask for one at the terminal.
    context.load_cert_chain(certificate.certificate, certificate.key, password="")
