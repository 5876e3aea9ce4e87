"""A Cluster's slots: which one a command belongs to, and which node has which."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from redis.crc import key_slot

from policies.asking import Asker

SLOTS: Final = 16384

# A command's first key: of EVALSHA the argument after the script and the number of keys, of all others that we send the
# first one. Keys of one command have one hash tag, so the first stands for all.
_FIRST_KEY: Final = re.compile(
    rb"\*\d+\r\n\$\d+\r\n(?:EVALSHA\r\n\$40\r\n[0-9a-f]{40}\r\n\$\d+\r\n\d+|[A-Z]+)\r\n\$(\d+)\r\n"
)


def slot_of(packed: bytes) -> int:
    """Of a packed command; 0 for one without a key, which any node carries out. About 1 µs."""
    found = _FIRST_KEY.match(packed)
    if found is None:
        return 0
    start = found.end()
    return key_slot(packed[start : start + int(found[1])])


def is_script(packed: bytes) -> bool:
    """It is a script's call, whose last argument the link adds."""
    return b"EVALSHA" in packed[:24]


@dataclass(frozen=True, slots=True)
class View:
    """What one node knows of the Cluster. Of two views the higher one is the newer."""

    ok: bool
    """It sees most of the others. One that is cut off says no, and what it knows may be old."""
    epoch: int
    """Raised by every failover and every move of a slot."""
    owners: tuple[tuple[int, int, str, int], ...]
    """(first slot, last slot, host, port of their master)"""

    @property
    def rank(self) -> tuple[bool, int]:
        return self.ok, self.epoch


async def view_of(asker: Asker) -> View:
    """Raises: OSError."""
    info: Any = await asker.ask(b"CLUSTER", b"INFO")
    rows: Any = await asker.ask(b"CLUSTER", b"SLOTS")
    try:
        told = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
        owners = [
            # A node that does not know its own address, or does not tell one, is where it was asked.
            (int(first), int(last), (master[0] or b"").decode() or asker.address.host, int(master[1]))
            for first, last, master, *_ in rows
        ]
        return View(told["cluster_state"] == "ok", int(told["cluster_current_epoch"]), tuple(sorted(owners)))
    except (TypeError, ValueError, KeyError, IndexError, AttributeError):
        raise ConnectionError(f"{asker.address}: its answer makes no sense") from None
