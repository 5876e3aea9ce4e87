"""The name of an instance: the same at every start, so that the store knows which leases its last run has left.

It stands beside the spool and is as unique as that: a process that uses a spool has it locked.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from policies.spool import SpoolError

_NAME = re.compile(r"[0-9a-f]{8}")


def identity(spool: Path) -> str:
    """The name that belongs to this spool, eight hexadecimal digits; made at the first start. Raises: SpoolError."""
    path = spool.with_name(spool.name + ".instance")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        written = path.read_text(encoding="ascii", errors="replace").strip() if path.exists() else ""
        if _NAME.fullmatch(written):
            return written
        name = secrets.token_hex(4)
        new = path.with_name(path.name + ".new")
        new.write_text(name + "\n", encoding="ascii")
        os.replace(new, path)
    except OSError as error:
        raise SpoolError(f"cannot keep the name of this instance in {path}: {error.strerror}") from None
    return name
