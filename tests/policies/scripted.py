"""The scripts driven by hand on a real Redis, with a clock that the test moves.

Only the clock fragment (lua/lib/clock.lua) differs from what ships: here it reads a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from redis import Redis

from policies import keys
from policies.account import Counts, Direction, Limit, Limits
from policies.scripts import Script, load_scripts

CLOCK_KEY = "cg:clock"
SCRIPTS = load_scripts(fragments={"clock": f"local now = tonumber(redis.call('GET', '{CLOCK_KEY}'))"})

START_MS = 1_700_000_000_000
"""Where the clock of a test begins: a time of today's size."""
LEASE_MS = 30_000
NONCE_LIFE_MS = 300_000

Outcome = Literal["success", "fail", "void"]


def limit(
    option: str, value: int, period_ms: int = 0, counts: Counts = "outgoing", plan: str = "basic"
) -> Limit:
    """One option of an activation of `plan`."""
    counter = f"{plan}@20260101T000000Z:gateway:{option}" if period_ms else ""
    return Limit(value, counter, period_ms, plan, counts)


def limits(
    *,
    payer: str = "alice",
    total: Limit | None = None,
    success: Limit | None = None,
    fail: Limit | None = None,
    lines: int | None = None,
    accounts: int | None = None,
) -> Limits:
    """Limits of a payer in gateway mode; what is not named is unlimited."""
    return Limits(
        payer=payer,
        mode="gateway",
        call_duration=None,
        total_duration=total,
        success_calls=success,
        fail_calls=fail,
        sip_accounts=limit("sip_accounts", accounts) if accounts else None,
        lines=limit("lines", lines, counts="both") if lines else None,
        all_workers=False,
        valid_until=float("inf"),
    )


class Payer:
    """One payer's calls in one mode, seen through the scripts. Times are ms."""

    def __init__(self, client: Redis, limits: Limits, lease_ms: int = LEASE_MS) -> None:
        self.client = client
        self.limits = limits
        self.lease_ms = lease_ms
        client.set(CLOCK_KEY, START_MS)
        for script in SCRIPTS.all():
            client.script_load(script.text.decode())

    @property
    def now(self) -> int:
        return int(self.client.get(CLOCK_KEY) or 0)

    def pass_time(self, ms: int) -> None:
        self.client.incrby(CLOCK_KEY, ms)

    def admit(
        self, lease: str, direction: Direction = "out", nonce: str = "", nc: int = 0, aor: str = ""
    ) -> Any:
        """0 (or a list of records) when admitted, else (why, ms until it resets)."""
        extra, tail = keys.state_key(self.limits.payer, self.limits.mode), self._leg(lease, direction)
        if nonce:
            extra = keys.nonce_key(self.limits.payer, nonce)
            tail = (*tail, b"nonce", b"%d" % nc, b"%d" % NONCE_LIFE_MS)
        elif aor:
            extra, tail = keys.bindings_key(self.limits.payer, aor), (*tail, b"aor")
        reply = self._run(SCRIPTS.admit, [*self._keys(), unpacked(extra)[0]], tail)
        if isinstance(reply, int):
            return 0
        return [record.decode() for record in reply[2:]] if reply[0] == 0 else (reply[0], reply[1])

    def answered(self, lease: str, direction: Direction = "out") -> tuple[int, int]:
        """(ms until total_duration is used up or -1, done)."""
        reply = self._run(SCRIPTS.answered, self._keys(), self._leg(lease, direction))
        return reply[1], reply[2]

    def ended(self, lease: str, outcome: Outcome, direction: Direction = "out") -> tuple[int, int]:
        reply = self._run(SCRIPTS.ended, self._keys(), (*self._leg(lease, direction), outcome.encode()))
        return reply[1], reply[2]

    def renew(self, outgoing: Sequence[str], incoming: Sequence[str] = ()) -> tuple[int, list[str]]:
        """(ms until total_duration is used up or -1, leases that are not held)."""
        leases = [lease.encode() for lease in (*outgoing, *incoming)]
        reply = self._run(SCRIPTS.renew, self._keys(), (b"%d" % len(outgoing), *leases))
        return reply[1], [lease.decode() for lease in reply[3:]]

    def late(
        self,
        lease: str,
        outcome: Outcome | Literal["lives", "answered"],
        answered_ago: int = -1,
        ended_ago: int = 0,
        unheard: bool = False,
        direction: Direction = "out",
    ) -> tuple[int, int]:
        tail = (outcome.encode(), b"%d" % answered_ago, b"%d" % ended_ago, b"1" if unheard else b"0")
        reply = self._run(SCRIPTS.late, self._keys(), (*self._leg(lease, direction), *tail))
        return reply[1], reply[2]

    def lines(self) -> int:
        """Calls that hold a line, lapsed ones that nobody has noticed included."""
        pipeline = self.client.pipeline(transaction=False)
        for key in self._keys()[1:5]:
            pipeline.zcard(key)
        return sum(pipeline.execute())

    def _leg(self, lease: str, direction: Direction) -> tuple[bytes, ...]:
        return lease.encode(), b"1" if direction == "out" else b"2"

    def _keys(self) -> list[bytes]:
        return unpacked(keys.call_keys(self.limits.payer, self.limits.mode))

    def _run(self, script: Script, names: list[bytes], tail: Sequence[bytes]) -> Any:
        head = unpacked(keys.limit_arguments(self.limits, self.lease_ms))
        assert len(names) == script.keys
        return self.client.evalsha(script.sha, script.keys, *names, *head, *tail)


def unpacked(packed: bytes) -> list[bytes]:
    """The arguments that were packed one behind the other."""
    found: list[bytes] = []
    while packed:
        size, _, rest = packed.partition(b"\r\n")
        length = int(size[1:])
        found.append(rest[:length])
        packed = rest[length + 2 :]
    return found
