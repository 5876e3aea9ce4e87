"""The files of `tls` are looked at when the configuration is: a mistake in them is told as one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from config.certificates import check_certificates, expires_at, warn_of_certificates
from config.listen import Certificate, Endpoint, Listen, Tls
from config.schema import Config
from tests.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def configured(*certificates: Certificate, client_ca: Path | None = None) -> Config:
    return Config(
        domains=("example.com",),
        listen=(Listen(address=Endpoint("TLS", "127.0.0.1", 0)),),
        tls=Tls(certificates=certificates, client_ca=client_ca),
    )


def problems(*certificates: Certificate, client_ca: Path | None = None) -> list[tuple[object, ...]]:
    return [(*loc, text) for loc, text in check_certificates(configured(*certificates, client_ca=client_ca))]


def test_what_fits_together_is_fine(authority: Authority) -> None:
    first, second = authority.issue("a", "a.example"), authority.issue("b", "b.example", names=("b.example",))
    assert problems(first, second, client_ca=authority.path) == []


def test_when_it_expires(authority: Authority) -> None:
    until = datetime(2035, 5, 6, 7, 8, 9, tzinfo=UTC)
    assert expires_at(authority.issue("a", "a.example", until=until)) == until.timestamp()


def test_one_that_has_expired_is_odd_but_no_mistake(authority: Authority) -> None:
    old = authority.issue("a", "a.example", until=datetime(2020, 1, 1, tzinfo=UTC))
    assert expires_at(old) == 0
    assert problems(old) == []
    (warned,) = warn_of_certificates(
        configured(authority.issue("b", "b.example"), old.model_copy(update={"names": ("a",)}))
    )
    assert warned == (("tls", "certificates", 1, "certificate"), f"{old.certificate} has expired")


def test_another_certificates_key(authority: Authority) -> None:
    first, second = authority.issue("a", "a.example"), authority.issue("b", "b.example")
    mixed = Certificate(certificate=first.certificate, key=second.key)
    ((*loc, text),) = problems(mixed)
    assert loc == ["tls", "certificates", 0, "key"]
    assert text == f"{second.key} is not the key of {first.certificate}"


def test_a_key_that_wants_a_password(authority: Authority) -> None:
    certificate = authority.issue("a", "a.example")
    key = serialization.load_pem_private_key(certificate.key.read_bytes(), None)
    certificate.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    ((*loc, text),) = problems(certificate)
    assert loc == ["tls", "certificates", 0, "key"]
    assert text == f"{certificate.key} is no PEM file with a private key without a password"


def test_a_file_that_is_no_certificate(authority: Authority) -> None:
    certificate = authority.issue("a", "a.example")
    certificate.certificate.write_text("nothing\n")
    ((*loc, text),) = problems(certificate)
    assert loc == ["tls", "certificates", 0, "certificate"]
    assert text == f"{certificate.certificate} is no PEM file with a certificate"
