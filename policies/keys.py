"""What is sent to the store: key names, and commands packed ahead so that a call adds only its own few bytes.

Every key of a payer carries the hash tag {payer}, so that on a Cluster one script finds all of them in one place:

    cg:{payer}:<mode>:state       the state of its counters (lua/lib/payer.lua)
    cg:{payer}:<mode>:po pi       pending attempts, outgoing and incoming: sorted sets lease -> expiry in ms
    cg:{payer}:<mode>:to ti       calls that were answered, likewise. Their sizes are the counts; there are no others
    cg:{payer}:<mode>:gone        what lapsed or was settled after the fact, for a day (lua/late-8.lua)
    cg:{payer}:<mode>:idle        counters of activations that are not in force now
    cg:{payer}:<mode>:d:<lease>   what another instance needs to end the call, while it talks
    cg:{payer}:<mode>:h:<lease>   who looks after the call of an instance that died
    cg:{payer}:<mode>:accounts    active accounts of the mode -> expiry in ms
    cg:{payer}:aor:<user@domain>  bindings: hash contact key -> binding (lua/lib/bindings.lua)
    cg:{payer}:nonce:<nonce>      highest nonce count seen, for the nonce's life
    cg:source:<flow>              who registered from there
    cg:instances                  who is alive: sorted set instance -> until when, in ms (lua/beat-1.lua)
    cg:{i:<instance>}:payers      for which payers and modes it may hold leases (policies/heritage.py)
    cg:turn:<trunk>               the instance that registers the trunk's accounts elsewhere; without a payer

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

INSTANCES: Final = b"cg:instances"
NOTICES: Final = "cg:notices"
"""Channel: `plan <instance number> <state key>`, `released 0 <state key>` (lua/), `reload <instance number> -`."""

STATE_BYTES: Final = 104
"""Of a payer's state before the names of its counters (lua/lib/payer.lua)."""

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
    """The beginning of a script's call; keys and then `arguments` arguments follow. The last one, after which moment it
    is to do nothing, is the link's to add."""
    count = 3 + script.keys + arguments + 1
    return b"*%d\r\n" % count + bulk(b"EVALSHA") + bulk(script.sha.encode()) + number(script.keys)


class Heads:
    """The beginnings of the scripts' calls whose number of arguments is known."""

    __slots__ = ("admit", "admit_callee", "admit_digest", "answered", "bindings", "ended", "late")

    def __init__(self, scripts: Scripts) -> None:
        self.admit = evalsha(scripts.admit, 5)
        self.admit_callee = evalsha(scripts.admit, 6)
        self.admit_digest = evalsha(scripts.admit, 8)
        self.answered = evalsha(scripts.answered, 6)
        self.ended = evalsha(scripts.ended, 6)
        self.late = evalsha(scripts.late, 11)
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


def dialog_key(payer: str, mode: str, lease: str) -> bytes:
    return bulk(f"{mode_prefix(payer, mode)}d:{lease}".encode())


def heir_key(payer: str, mode: str, lease: str) -> bytes:
    """Not packed."""
    return f"{mode_prefix(payer, mode)}h:{lease}".encode()


def payer_of(state: str) -> tuple[str, str]:
    """(payer, mode) of a state key that is not packed."""
    payer, _, rest = state.removeprefix("cg:{").rpartition("}:")
    return payer, rest.removesuffix(":state")


def index_key(instance: str) -> bytes:
    """Not packed."""
    return f"cg:{{i:{instance}}}:payers".encode()


def state_key(payer: str, mode: str) -> bytes:
    return bulk(f"{mode_prefix(payer, mode)}state".encode())


def accounts_key(payer: str, mode: str) -> bytes:
    return bulk(f"{mode_prefix(payer, mode)}accounts".encode())


def bindings_key(payer: str, aor: str) -> bytes:
    return bulk(f"cg:{{{payer}}}:aor:{aor}".encode())


def nonce_key(payer: str, nonce: str) -> bytes:
    return bulk(f"cg:{{{payer}}}:nonce:{nonce}".encode())


def turn_key(trunk: str) -> bytes:
    return bulk(f"cg:turn:{trunk}".encode())


def source_key(flow: str) -> bytes:
    """Not packed: it goes into plain commands."""
    return f"cg:source:{flow}".encode()


def _amounts(limit: Limit | None) -> tuple[int, int, int]:
    if limit is None:
        return 0, 0, 0
    return limit.value, limit.period_ms or _NO_PERIOD_MS, _COUNTS[limit.counts]


def limit_arguments(limits: Limits, instance: int) -> bytes:
    """ARGV 1 and 2 of every script on a payer's calls, packed: limits and who asks, names (lua/lib/payer.lua)."""
    total, fail, success = limits.total_duration, limits.fail_calls, limits.success_calls
    lines = limits.lines.value if limits.lines is not None else 0
    amounts = struct.pack("<11d", *_amounts(total), *_amounts(fail), *_amounts(success), lines, instance)
    return bulk(amounts) + bulk(counter_names(limits))


def counter_names(limits: Limits) -> bytes:
    """ARGV 2: the counters that are in force, and what total_duration drains by; the end of the payer's state."""
    total = limits.total_duration
    counters = [
        limit.counter if limit is not None else ""
        for limit in (total, limits.fail_calls, limits.success_calls)
    ]
    _, period_ms, counts = _amounts(total)
    return "\n".join((*counters, f"{counts} {period_ms}")).encode()


def lease_life(lease_ms: int, *, tentative: bool = False) -> bytes:
    """ARGV 3 of every script on a payer's calls. Tentative: its call waits for another leg, and if its instance dies
    meanwhile it was never taken."""
    return bulk(b"%d.5" % lease_ms) if tentative else number(lease_ms)
