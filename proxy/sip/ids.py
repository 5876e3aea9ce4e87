"""Branches, tags and Call-IDs. Randomness is passed in, so a test knows every identifier before it is made.

A branch reads `z9hG4bK` `cg` <8 hex: loop hash> <16 hex: random>. The random part makes it unique in space and time
(RFC 3261 §8.1.1.7); the loop hash is found again when the request comes back (RFC 3261 §16.6 step 8, RFC 5393 §4.2).
"""

from __future__ import annotations

import random
from typing import Final

MAGIC: Final = "z9hG4bK"
_OURS: Final = MAGIC + "cg"
_OURS_UNHASHED: Final = _OURS + "00000000"
"""Of a request that cannot loop: one within a dialog."""
_POOL_BYTES: Final = 4096
_LENGTH: Final = len(_OURS) + 8 + 16


class Ids:
    """Makes identifiers from `rng`; give it `random.SystemRandom()` in production (RFC 3261 §19.3: cryptographic)."""

    __slots__ = ("_at", "_pool", "_rng")

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        # Drawn in bulk: the system's generator costs a trip into the kernel each time, some 2 µs.
        self._pool = ""
        self._at = 0

    def branch(self, loop_hash: int) -> str:
        """A new branch that carries the low 32 bits of `loop_hash`."""
        if not loop_hash:
            return _OURS_UNHASHED + self.tag()
        # Not by a format of `08x`: five times as dear.
        return f"{_OURS}{hex(loop_hash & 0xFFFFFFFF | 1 << 32)[3:]}{self.tag()}"

    def tag(self) -> str:
        """A new From or To tag, 64 bits in hex; RFC 3261 §19.3 asks for at least 32 random ones."""
        at = self._at
        if at >= len(self._pool):
            self._pool = self._rng.randbytes(_POOL_BYTES).hex()
            at = 0
        self._at = at + 16
        return self._pool[at : at + 16]

    def call_id(self) -> str:
        """A new Call-ID, 128 random bits in hex; it tells nobody our host (RFC 3261 §8.1.1.4 leaves that open)."""
        return self.tag() + self.tag()


def loop_hash_of(branch: str) -> int | None:
    """The loop hash inside a branch that a callgate made; None for any other branch."""
    if len(branch) != _LENGTH or not branch.startswith(_OURS):
        return None
    try:
        return int(branch[len(_OURS) : len(_OURS) + 8], 16)
    except ValueError:
        return None
