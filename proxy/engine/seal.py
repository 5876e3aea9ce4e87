"""Dialogs that are no calls (of a SUBSCRIBE, a REFER) come back by our Record-Route, and we keep nothing of them.

So what we write there is sealed with their Call-ID: a request with a made-up To tag and a Route that only looks like
ours goes nowhere, or we would carry anything for anybody. Each instance with the same secret knows the seal.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.engine.core import Core

_NAME: Final = ";s="
_LENGTH: Final = 16
"""Hexadecimal digits."""


def parameter(core: Core, call_id: str) -> str:
    """What goes into Record-Route."""
    return _NAME + _seal(core, call_id)


def seal_in(value: str) -> str:
    """The seal in a Route value of ours, "" when there is none."""
    at = value.find(_NAME)
    return value[at + len(_NAME) :][:_LENGTH] if at >= 0 else ""


def holds(core: Core, seal: str, call_id: str) -> bool:
    """Whether we, or an instance with our secret, sealed a dialog with this Call-ID."""
    return hmac.compare_digest(seal.encode("latin-1"), _seal(core, call_id).encode())


def _seal(core: Core, call_id: str) -> str:
    return hmac.digest(core.secret, b"dialog:" + call_id.encode("latin-1"), "sha256").hex()[:_LENGTH]
