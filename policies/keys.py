"""What is sent to the store: key names, and commands packed ahead so that a call adds only its own few bytes.

Every key of a payer carries the hash tag {payer}, so that on a Cluster one script finds all of them in one place:

    cg:{payer}:<mode>:state       the state of its counters (lua/lib/payer.lua)
    cg:{payer}:<mode>:po pi       pending attempts, outgoing and incoming: sorted sets lease -> expiry in ms
    cg:{payer}:<mode>:to ti       calls that were answered, likewise. Their sizes are the counts; there are no others
    cg:{payer}:<mode>:gone        what lapsed or was settled after the fact, for a day (lua/late-7.lua)
    cg:{payer}:<mode>:idle        counters of activations that are not in force now
    cg:{payer}:<mode>:accounts    active accounts of the mode -> expiry in ms
    cg:{payer}:aor:<user@domain>  bindings: hash contact key -> binding (lua/lib/bindings.lua)
    cg:{payer}:nonce:<nonce>      highest nonce count seen, for the nonce's life
    cg:source:<flow>              who registered from there; the one key without a payer

A payer is a subscriber, or a group: the scripts do not know the difference. Keys say who, never how much.
"""

from __future__ import annotations

import struct
from typing import Final

from policies.account import Counts, Limit, Limits
from policies.scripts import Script, Scripts

_COUNTS: Final[dict[Counts, int]] = {"outgoing": 1, "incoming": 2, "both": 3}

# A volume without a period would never start anew; ten years is as good and keeps the scripts to one case.
_NO_PERIOD_MS: Final = 10 * 365 * 86_400_000

OUTGOING: Final = b"$1\r\n1\r\n"
INCOMING: Final = b"$1\r\n2\r\n"


def bulk(value: bytes) -> bytes:
    """One argument as the protocol wants it."""
    return b"$%d\r\n%b\r\n" % (len(value), value)


def number(value: int) -> bytes:
    """A whole number as an argument."""
    return bulk(b"%d" % value)


def command(*arguments: bytes) -> bytes:
    """A whole command."""
    return b"*%d\r\n" % len(arguments) + b"".join(map(bulk, arguments))


def evalsha(script: Script, arguments: int) -> bytes:
    """The beginning of a script's call; keys and then `arguments` arguments follow."""
    count = 3 + script.keys + arguments
    return b"*%d\r\n" % count + bulk(b"EVALSHA") + bulk(script.sha.encode()) + number(script.keys)


class Heads:
    """The beginnings of the scripts' calls whose number of arguments is known."""

    __slots__ = ("admit", "admit_callee", "admit_digest", "answered", "bindings", "ended", "late")

    def __init__(self, scripts: Scripts) -> None:
        self.admit = evalsha(scripts.admit, 5)
        self.admit_callee = evalsha(scripts.admit, 6)
        self.admit_digest = evalsha(scripts.admit, 8)
        self.answered = evalsha(scripts.answered, 5)
        self.ended = evalsha(scripts.ended, 6)
        self.late = evalsha(scripts.late, 9)
        self.bindings = evalsha(scripts.bindings, 0)


def mode_prefix(payer: str, mode: str) -> str:
    """What the keys of a payer's calls in one mode begin with."""
    return f"cg:{{{payer}}}:{mode}:"


def call_keys(payer: str, mode: str) -> bytes:
    """KEYS 1 … 7 of every script on calls, packed."""
    prefix = mode_prefix(payer, mode)
    return b"".join(
        bulk(f"{prefix}{name}".encode()) for name in ("state", "po", "pi", "to", "ti", "gone", "idle")
    )


def state_key(payer: str, mode: str) -> bytes:
    return bulk(f"{mode_prefix(payer, mode)}state".encode())


def accounts_key(payer: str, mode: str) -> bytes:
    return bulk(f"{mode_prefix(payer, mode)}accounts".encode())


def bindings_key(payer: str, aor: str) -> bytes:
    return bulk(f"cg:{{{payer}}}:aor:{aor}".encode())


def nonce_key(payer: str, nonce: str) -> bytes:
    return bulk(f"cg:{{{payer}}}:nonce:{nonce}".encode())


def source_key(flow: str) -> bytes:
    """Not packed: it goes into plain commands."""
    return f"cg:source:{flow}".encode()


def _amounts(limit: Limit | None) -> tuple[int, int, int]:
    if limit is None:
        return 0, 0, 0
    return limit.value, limit.period_ms or _NO_PERIOD_MS, _COUNTS[limit.counts]


def limit_arguments(limits: Limits, lease_ms: int) -> bytes:
    """ARGV 1 … 3 of every script on calls, packed: limits, counters' names, a lease's life (lua/lib/payer.lua)."""
    total, fail, success = limits.total_duration, limits.fail_calls, limits.success_calls
    lines = limits.lines.value if limits.lines is not None else 0
    amounts = struct.pack("<10d", *_amounts(total), *_amounts(fail), *_amounts(success), lines)
    counters = [limit.counter if limit is not None else "" for limit in (total, fail, success)]
    _, period_ms, counts = _amounts(total)
    names = "\n".join((*counters, f"{counts} {period_ms}"))
    return bulk(amounts) + bulk(names.encode()) + number(lease_ms)
