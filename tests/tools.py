"""Programs that tests start but do not ship: found, or the test says plainly why it cannot run.

Under CI (`CI=true`) a missing tool fails the test: there, a skip would hide that something was never tried.
"""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

# Debian keeps daemons in sbin, which is not on every user's PATH.
_SEARCH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])

# Which Debian package carries what; `make system` installs them.
PACKAGES = {
    "baresip": "baresip-core",
    "chromium": "chromium",
    "ip": "iproute2",
    "kamailio": "kamailio",
    "linphone-daemon": "linphone-cli",
    "nft": "nftables",
    "npm": "npm",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "redis-cli": "redis-tools",
    "redis-server": "redis-server",
    "sipp": "sip-tester",
    "tcpdump": "tcpdump",
}


def find(*names: str) -> str | None:
    """The path of the first of these programs that this machine has, or None."""
    for name in names:
        path = shutil.which(name, path=_SEARCH)
        if path:
            return path
    return None


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() not in ("", "0", "false", "no")


def require(*names: str) -> str:
    """The path of the first of these programs found. None there: the test fails under CI, else it is skipped."""
    path = find(*names)
    if path is None:
        package = PACKAGES.get(names[0], names[0])
        cannot_run(
            f"{' or '.join(names)} is not installed (Debian package {package}); `make system` installs it"
        )
    return path


def cannot_run(word: str) -> NoReturn:
    """The test fails under CI, else it is skipped; `word` says why."""
    if in_ci():
        pytest.fail(word, pytrace=False)
    pytest.skip(word)
