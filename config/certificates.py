"""Whether the files of `tls` can be used, told as mistakes of the configuration: before any socket is opened, and
before a reload takes the place of what works. What is made of them stands in proxy.net.tls.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from config.document import Loc
from config.listen import SECURE, Certificate
from config.schema import Config


def check_certificates(config: Config) -> Iterator[tuple[Loc, str]]:
    """Mistakes: where in callgate.yaml, and the words."""
    tls = config.tls
    for index, certificate in enumerate(tls.certificates):
        yield from _chain(("tls", "certificates", index), certificate)
    for key, path in (("client_ca", tls.client_ca), ("trust", tls.trust)):
        if path is not None:
            yield from _authorities(("tls", key), path)
    secure = [
        (index, listen) for index, listen in enumerate(config.listen) if listen.address.transport in SECURE
    ]
    for index, listen in secure:
        if not tls.certificates:
            yield (
                ("listen", index),
                f"{listen.address.transport.lower()} needs a certificate: tls.certificates",
            )
        if listen.verify not in (None, "none") and tls.client_ca is None:
            yield ("listen", index, "verify"), "needs tls.client_ca: who may sign clients' certificates?"
    if tls.verify != "none" and tls.client_ca is None:
        yield ("tls", "verify"), "needs tls.client_ca: who may sign clients' certificates?"


def warn_of_certificates(config: Config) -> Iterator[tuple[Loc, str]]:
    """What is odd and no mistake: it was good yesterday, and calls go on over other transports."""
    for index, certificate in enumerate(config.tls.certificates):
        if not expires_at(certificate):
            yield ("tls", "certificates", index, "certificate"), f"{certificate.certificate} has expired"


def expires_at(certificate: Certificate) -> float:
    """Unix seconds; 0 when it has expired already. Raises: OSError when the files cannot be used.

    Python's ssl tells this of a peer alone, so it is made one, in memory, and trusted for its own certificate.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate.certificate, certificate.key, password="")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(certificate.certificate)
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = client.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True)
    for end in (*ends, *ends):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLCertVerificationError:
            return 0.0
    shown: Any = ends[0].getpeercert()
    return float(ssl.cert_time_to_seconds(shown["notAfter"]))


def _chain(loc: Loc, certificate: Certificate) -> Iterator[tuple[Loc, str]]:
    for key, path in (("certificate", certificate.certificate), ("key", certificate.key)):
        if why := _unreadable(path):
            yield (*loc, key), why
            return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # With no password of ours, or OpenSSL would ask for one at the terminal.
        context.load_cert_chain(certificate.certificate, certificate.key, password="")
    except (ssl.SSLError, ValueError) as error:
        if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
            yield (*loc, "key"), f"{certificate.key} is not the key of {certificate.certificate}"
            return
        key = "key" if _has_certificate(certificate.certificate) else "certificate"
        kind = "a certificate" if key == "certificate" else "a private key without a password"
        yield (*loc, key), f"{getattr(certificate, key)} is no PEM file with {kind}"


def _has_certificate(path: Path) -> bool:
    try:
        ssl.PEM_cert_to_DER_cert(_first_certificate(path.read_text(encoding="latin-1")))
    except ValueError:
        return False
    return True


def _first_certificate(text: str) -> str:
    end = f"{ssl.PEM_FOOTER}\n"
    return text[text.find(ssl.PEM_HEADER) :].partition(end)[0] + end


def _authorities(loc: Loc, path: Path) -> Iterator[tuple[Loc, str]]:
    if why := _unreadable(path):
        yield loc, why
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (ssl.SSLError, ValueError):
        yield loc, f"{path} is no PEM file with certificates"


def _unreadable(path: Path) -> str:
    try:
        with path.open("rb"):
            return ""
    except OSError as error:
        return f"cannot read {path}: {error.strerror}"
