"""What the tests of TLS have in common."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.listen import Tls
from tests.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def tls(authority: Authority) -> Tls:
    return Tls(certificates=(authority.issue("first", "sip.example.com", "127.0.0.1"),), trust=authority.path)
