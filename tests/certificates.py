"""Certificates for tests, signed by an authority that the test made (trustme)."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from datetime import datetime
from pathlib import Path

import trustme

from config.listen import Certificate


class Authority:
    """A certificate authority with a folder for what it issues."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self._ca = trustme.CA()
        self.path = folder / f"{name}.pem"
        """Its own certificate, for those who shall trust it."""
        self._ca.cert_pem.write_to_path(str(self.path))

    def issue(
        self, file: str, *identities: str, names: tuple[str, ...] = (), until: datetime | None = None
    ) -> Certificate:
        """`file`.pem and `file`.key for these host names and addresses; what was there before is replaced."""
        leaf = self._ca.issue_cert(*identities, not_after=until)
        certificate, key = self._folder / f"{file}.pem", self._folder / f"{file}.key"
        key.unlink(missing_ok=True)
        leaf.private_key_pem.write_to_path(str(key))
        certificate.unlink(missing_ok=True)
        for part in leaf.cert_chain_pems:
            part.write_to_path(str(certificate), append=True)
        return Certificate(certificate=certificate, key=key, names=names)


@functools.cache
def authority() -> Authority:
    """The one of this run, in a folder that goes with it."""
    folder = Path(tempfile.mkdtemp(prefix="callgate-ca-"))
    atexit.register(shutil.rmtree, folder, True)
    return Authority(folder)
