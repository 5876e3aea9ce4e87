"""The scripts driven by hand on a real Redis, with a clock that the test moves.

Only the clock fragment (lua/lib/clock.lua) differs from what ships: here it reads a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass
class Found:
    """What inherit-7.lua found."""

    exhausts_in: int
    lasting: int
    calls: list[tuple[str, str, str, str]]
    """held or lapsed, direction, lease, dialog."""


class Payer:
    """One payer's calls in one mode, seen through the scripts. Times are ms."""

    def __init__(self, client: Redis, limits: Limits, lease_ms: int = LEASE_MS) -> None:
        self.client = client
        self.limits = limits
        self.lease_ms = lease_ms
        self.instance = 1
        self.not_after = 0
        """0 = the very moment: in time."""
        client.set(CLOCK_KEY, START_MS)
        for script in SCRIPTS.all():
            client.script_load(script.text.decode())

    @property
    def now(self) -> int:
        return int(self.client.get(CLOCK_KEY) or 0)

    def pass_time(self, ms: int) -> None:
        self.client.incrby(CLOCK_KEY, ms)

    def admit(
        self,
        lease: str,
        direction: Direction = "out",
        nonce: str = "",
        nc: int = 0,
        aor: str = "",
        *,
        tentative: bool = False,
    ) -> Any:
        """0 (or a list of records) when admitted, else (why, ms until it resets)."""
        extra, tail = keys.state_key(self.limits.payer, self.limits.mode), self._leg(lease, direction)
        if nonce:
            extra = keys.nonce_key(self.limits.payer, nonce)
            tail = (*tail, b"nonce", b"%d" % nc, b"%d" % NONCE_LIFE_MS)
        elif aor:
            extra, tail = keys.bindings_key(self.limits.payer, aor), (*tail, b"aor")
        reply = self._run(SCRIPTS.admit, [*self._keys(), unpacked(extra)[0]], tail, tentative=tentative)
        if isinstance(reply, int):
            return 0
        return [record.decode() for record in reply[2:]] if reply[0] == 0 else (reply[0], reply[1])

    def answered(self, lease: str, direction: Direction = "out", dialog: str = "") -> tuple[int, int]:
        """(ms until total_duration is used up or -1, done)."""
        reply = self._run(
            SCRIPTS.answered, self._keys_with_dialog(lease), (*self._leg(lease, direction), dialog.encode())
        )
        return reply[1], reply[2]

    def ended(self, lease: str, outcome: Outcome, direction: Direction = "out") -> tuple[int, int]:
        tail = (*self._leg(lease, direction), outcome.encode())
        reply = self._run(SCRIPTS.ended, self._keys_with_dialog(lease), tail)
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
        admitted_ago: int = -1,
        dialog: str = "",
    ) -> tuple[int, int]:
        times = (b"%d" % answered_ago, b"%d" % ended_ago, b"1" if unheard else b"0", b"%d" % admitted_ago)
        tail = (*self._leg(lease, direction), outcome.encode(), *times, dialog.encode())
        reply = self._run(SCRIPTS.late, self._keys_with_dialog(lease), tail)
        return reply[1], reply[2]

    def release(self, lease: str, most: int = 100) -> list[str]:
        """The leases that were released."""
        reply = self._run(SCRIPTS.release, self._keys(), (b"%d" % most, lease.encode()))
        return [lease.decode() for lease in reply[3:]]

    def usage(self) -> dict[str, Any]:
        """(window's start, used) of each counter, how many calls there are by kind, and the calls."""
        reply = self._run(SCRIPTS.usage, self._keys(), (b"100",))
        calls = [(reply[at], reply[at + 1].decode(), reply[at + 2]) for at in range(13, len(reply), 3)]
        names = ("total", "fail", "success")
        windows = {name: (reply[3 + 2 * at], reply[4 + 2 * at]) for at, name in enumerate(names)}
        return {**windows, "counts": tuple(reply[9:13]), "calls": calls}

    def inherit(self, instance: str, *, again: bool, since: str = "since") -> Found:
        asked = (instance.encode(), f"{instance}{since}".encode() if again else b"")
        reply = self._run(SCRIPTS.inherit, self._keys(), asked)
        calls = [
            (kind.decode(), "out" if own == 1 else "in", lease.decode(), dialog.decode())
            for kind, own, lease, dialog in zip(*(reply[4 + at :: 4] for at in range(4)), strict=True)
        ]
        return Found(reply[1], reply[3], calls)

    def beat(self, instance: str) -> list[str]:
        """Who has stopped, and is left to the caller for a tenth of a lease."""
        reply: Any = self.client.evalsha(
            SCRIPTS.beat.sha, 1, keys.INSTANCES, instance, self.lease_ms, self.lease_ms // 10, self.now
        )
        return sorted(one.decode() for one in reply)

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

    def _keys_with_dialog(self, lease: str) -> list[bytes]:
        return [*self._keys(), unpacked(keys.dialog_key(self.limits.payer, self.limits.mode, lease))[0]]

    def _run(
        self, script: Script, names: list[bytes], tail: Sequence[bytes], *, tentative: bool = False
    ) -> Any:
        head = unpacked(
            keys.limit_arguments(self.limits, self.instance)
            + keys.lease_life(self.lease_ms, tentative=tentative)
        )
        assert len(names) == script.keys
        not_after = self.not_after or self.now
        return self.client.evalsha(script.sha, script.keys, *names, *head, *tail, b"%d" % not_after)


def unpacked(packed: bytes) -> list[bytes]:
    """The arguments that were packed one behind the other."""
    found: list[bytes] = []
    while packed:
        size, _, rest = packed.partition(b"\r\n")
        length = int(size[1:])
        found.append(rest[:length])
        packed = rest[length + 2 :]
    return found
