"""One connection to Redis for the whole process: commands of one turn of the loop share a write, many are in flight.

A command is bytes; what waits for its reply is a tuple in a queue, for Redis answers in order: no future, no task. One
timer walks the head of that queue, since every command has the same deadline. Who waits is told once when it passed;
the reply, when it comes, is swallowed in its order, or handed to `late` of whoever must undo what came too late.

The breaker opens after MISSES_MAX missed deadlines on end and when the connection is gone, and nothing is sent then. It
is a PING of ours that tries whether the store is back, never a caller's command.

A store that hangs carries out late what it was asked, and a script that counts from the moment it runs counts wrong.
So each script's last argument is its deadline by Redis's clock, which the link asks for once a second: what comes later
does nothing (lua/lib/punctual.lua), and who had sent it tells what happened afterwards, with the true times.

Who is master when Sentinel decides: policies/sentinel.py. Several links that are one Cluster: policies/cluster.py.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import Any, Final, cast

import hiredis

from policies.address import Address
from policies.counters import BreakerState, StoreCounters, StoreError
from policies.keys import command, number
from policies.scripts import Scripts
from policies.store import NO_REPLY, Callback, Elsewhere, LinkUser, ignored
from policies.target import target_of

MISSES_MAX: Final = 5
"""Deadlines missed on end that open the breaker."""
PROBE_S: Final = 0.25
"""Between attempts to find the store well again; it is also the first pause before connecting anew."""
BACKOFF_S_MAX: Final = 2.0
"""A store that is back is noticed within this time."""
CONNECT_S_MAX: Final = 5.0
"""For connecting and for loading the scripts, each."""
STALL_S: Final = 5.0
"""A connection that has owed a reply for so long is given up: its other end may be gone without a word."""
IN_FLIGHT_MAX: Final = 20_000
"""Commands without a reply. At 50,000 commands a second it is what a store that is 400 ms late would owe."""
_LOOP_LATE_S: Final = 0.02
CLOCK_S: Final = 1.0
"""Between looks at Redis's clock: it may be set while we run."""
_PING: Final = command(b"PING")
_TIME: Final = command(b"TIME")
_LATE: Final = "LATE"
"""How a script's error begins that came too late and did nothing."""
_ASKING: Final = command(b"ASKING")

_Waiting = tuple[float, bytes, Callback, Any, Callback | None]
"""Deadline, the command (b"" once it was sent again), callback, context, late."""


class Link(asyncio.Protocol):
    """The connection, kept up from `start` to `close`."""

    def __init__(
        self,
        url: str,
        scripts: Scripts,
        counters: StoreCounters,
        user: LinkUser,
        *,
        deadline_s: float,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """Raises: ValueError for a URL that is none. Needs a running loop."""
        self.up = False
        self.suspended = False
        self._target = target_of(url)
        self.replaceable = not isinstance(self._target, Address)
        self._loads = [command(b"SCRIPT", b"LOAD", script.text) for script in scripts.all()]
        self._counters = counters
        self._user = user
        self._elsewhere = elsewhere
        self._deadline_s = deadline_s
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.WriteTransport | None = None
        self._reader = hiredis.Reader()
        self._outgoing: list[bytes] = []
        self._due = 0.0
        """Deadline of what is sent in this turn of the loop."""
        self._not_after = b""
        """The same by Redis's clock, packed."""
        self._ahead = 0.0
        """Seconds by which Redis's clock is ahead of the loop's; a round trip too many at most."""
        self._clock_due = 0.0
        self._waiting: deque[_Waiting] = deque()
        self._missed: deque[_Waiting] = deque()
        """Told NO_REPLY at their deadline; their replies come before those of `_waiting`."""
        self._misses = 0
        """Deadlines missed on end."""
        self._expiry: asyncio.TimerHandle | None = None
        self._expiry_put_off = False
        self._probe: asyncio.TimerHandle | None = None
        self._reloading = False
        self._greeting_left = 0
        self._greeted_at = 0.0
        self._greeted: asyncio.Future[None] = self._loop.create_future()
        self._connecting: asyncio.Task[None] | None = None
        self._closing = False
        counters.breaker = BreakerState.OPEN

    def start(self) -> None:
        """Connect, now and whenever the connection is lost. LinkUser.on_link_up follows."""
        self._connecting = self._loop.create_task(self._connect(0.0))

    async def close(self) -> None:
        """Let replies that are under way come in, for one deadline at most, and hang up for good."""
        self._closing = True
        self._go_down("closed")
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        give_up_at = self._loop.time() + self._deadline_s
        while self._waiting and self._transport is not None and self._loop.time() < give_up_at:
            await asyncio.sleep(self._deadline_s / 50)
        self._abort()
        # A connection whose making was cancelled half way is never told lost: wait for the word, but not for ever.
        while self._transport is not None and self._loop.time() < give_up_at:
            await asyncio.sleep(0)

    # Commands and their replies

    def call(self, packed: bytes, callback: Callback, context: Any, late: Callback | None = None) -> bool:
        """See Store.call."""
        if not self.plain(packed, callback, context, late):
            return False
        self._outgoing.append(self._not_after)
        return True

    def plain(self, packed: bytes, callback: Callback, context: Any, late: Callback | None = None) -> bool:
        """See Store.plain."""
        if not self.up or len(self._waiting) + len(self._missed) >= IN_FLIGHT_MAX:
            self._counters.errors[StoreError.BREAKER] += 1
            return False
        self._send(packed, callback, context, late)
        return True

    def ask(
        self, packed: bytes, callback: Callback, context: Any, late: Callback | None, plain: bool
    ) -> bool:
        """As `call` or `plain`, of a slot that is on its way to this node of a Cluster."""
        if not self.up:
            return False
        self._send(_ASKING, ignored, None)
        self._send(packed, callback, context, late)
        if not plain:
            self._outgoing.append(self._not_after)
        return True

    def fence(self, callback: Callback, context: Any) -> None:
        """`callback` is called when all that was sent before has been answered, or has missed its deadline."""
        self._send(_PING, callback, context)

    def suspend(self, why: str) -> None:
        """The server answers, but will do nothing until `resume`, or until it is connected to anew."""
        if self.up:
            self.suspended = True
            self._go_down(why)

    def resume(self) -> None:
        """It does its work again."""
        if self.suspended:
            self._go_up()

    @property
    def idle(self) -> bool:
        """No reply is awaited."""
        return not self._waiting

    def _send(self, packed: bytes, callback: Callback, context: Any, late: Callback | None = None) -> None:
        if not self._outgoing:
            self._begin_turn()
        self._outgoing.append(packed)
        self._waiting.append((self._due, packed, callback, context, late))

    def _begin_turn(self) -> None:
        now = self._loop.time()
        self._due = due = now + self._deadline_s
        self._not_after = number(math.ceil((due + self._ahead) * 1000))
        self._loop.call_soon(self._flush)
        if self._expiry is None:
            self._expiry = self._loop.call_at(due, self._expire)
        if now >= self._clock_due:
            self._clock_due = now + CLOCK_S
            self._outgoing.append(_TIME)
            self._waiting.append((due, _TIME, self._clock, now, None))

    def _clock(self, asked_at: Any, reply: Any) -> None:
        if isinstance(reply, list):
            self._ahead = int(reply[0]) + int(reply[1]) / 1e6 - asked_at
        else:
            self._clock_due = 0.0

    def _flush(self) -> None:
        if self._outgoing and self._transport is not None:
            self._transport.write(b"".join(self._outgoing))
        self._outgoing.clear()

    def data_received(self, data: bytes) -> None:
        reader, waiting, missed = self._reader, self._waiting, self._missed
        # What was sent at `due - deadline` has taken until now.
        sent_before = self._loop.time() + self._deadline_s
        observe = self._counters.round_trip.observe
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                if missed:
                    _, _, _, context, late = missed.popleft()
                    if late is not None:
                        self._tell(late, context, reply)
                elif waiting:
                    due, packed, callback, context, late = waiting.popleft()
                    observe(sent_before - due)
                    self._misses = 0
                    if isinstance(reply, hiredis.ReplyError):
                        self._refused(str(reply), due, packed, callback, context, late)
                    else:
                        self._tell(callback, context, reply)
                else:
                    self._greet(reply)
        except hiredis.ProtocolError as error:
            self._user.on_link_error(f"this is not Redis: {error}")
            self._abort()

    def _tell(self, callback: Callback, context: Any, reply: Any) -> None:
        try:
            callback(context, reply)
        except Exception as error:
            # One caller's defect must not cost the others their replies.
            self._loop.call_exception_handler(
                {"message": "a callback of the store link failed", "exception": error}
            )

    def _refused(
        self, text: str, due: float, packed: bytes, callback: Callback, context: Any, late: Callback | None
    ) -> None:
        if text.startswith("NOSCRIPT") and packed:
            # Somebody flushed the scripts, and nothing was carried out: load them and send the command once more.
            if not self._reloading:
                self._reloading = True
                for load in self._loads:
                    self._send(load, self._reloaded, load is self._loads[-1])
            self._send(packed, callback, context, late)
            self._outgoing.append(self._not_after)
            self._waiting[-1] = (self._due, b"", callback, context, late)
            return
        if text.startswith(_LATE):
            # It did nothing, though its reply is in time: Redis's clock was set.
            self._counters.errors[StoreError.DEADLINE] += 1
            self._clock_due = 0.0
            self._tell(callback, context, NO_REPLY)
            return
        elsewhere = self._elsewhere
        if elsewhere is not None and elsewhere.sent_on(text, due, packed, callback, context, late):
            return
        self._counters.errors[StoreError.REPLY] += 1
        self._user.on_link_error(text)
        self._tell(callback, context, NO_REPLY)
        if text.startswith(("READONLY", "MASTERDOWN", "LOADING")):
            # Failed over or restarted behind a balancer: who is master now is found by connecting anew.
            self._abort()

    def _reloaded(self, last: Any, _reply: Any) -> None:
        if last:
            self._reloading = False

    # Deadlines and the breaker

    def _expire(self) -> None:
        waiting, now = self._waiting, self._loop.time()
        if waiting and now - waiting[0][0] > _LOOP_LATE_S and not self._expiry_put_off:
            # It is our loop that is late: replies may lie unread, so let it read before any is given up.
            self._expiry_put_off = True
            self._expiry = self._loop.call_later(0.001, self._expire)
            return
        self._expiry_put_off = False
        while waiting and waiting[0][0] <= now:
            entry = waiting.popleft()
            self._missed.append(entry)
            self._misses += 1
            self._counters.errors[StoreError.DEADLINE] += 1
            self._tell(entry[2], entry[3], NO_REPLY)
        self._expiry = self._loop.call_at(waiting[0][0], self._expire) if waiting else None
        if self._misses >= MISSES_MAX and self.up:
            self._go_down(f"{self._misses} deadlines missed on end")
            self._probe = self._loop.call_later(PROBE_S, self._try)

    def _try(self) -> None:
        self._probe = None
        if self._missed and self._loop.time() - self._missed[0][0] > STALL_S:
            self._abort()
            return
        self._counters.breaker = BreakerState.HALF_OPEN
        self._send(_PING, self._tried, None)

    def _tried(self, _context: Any, reply: Any) -> None:
        if self._closing or self._transport is None:
            return
        if reply is NO_REPLY:
            self._counters.breaker = BreakerState.OPEN
            self._probe = self._loop.call_later(PROBE_S, self._try)
        else:
            self._go_up()

    def _go_up(self) -> None:
        self.up = True
        self.suspended = False
        self._misses = 0
        self._counters.breaker = BreakerState.CLOSED
        self._user.on_link_up()

    def _go_down(self, why: str) -> None:
        self._counters.breaker = BreakerState.OPEN
        if self._probe is not None:
            self._probe.cancel()
            self._probe = None
        if self.up:
            self.up = False
            self._user.on_link_down(why)

    # The connection

    async def _connect(self, pause: float) -> None:
        while not self._closing:
            await asyncio.sleep(pause)
            self._counters.breaker = BreakerState.HALF_OPEN
            self._greeted = self._loop.create_future()
            try:
                async with asyncio.timeout(CONNECT_S_MAX):
                    await self._target.connect(self._loop, lambda: self)
                    await self._greeted
                if self._transport is not None:
                    return
            except (OSError, TimeoutError) as error:
                self._abort()
                self._counters.breaker = BreakerState.OPEN
                self._counters.errors[StoreError.CONNECTION] += 1
                self._user.on_link_error(f"cannot connect: {error or type(error).__name__}")
                pause = min(BACKOFF_S_MAX, max(PROBE_S, pause * 2))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._reader = hiredis.Reader()
        commands = [*self._target.greeting, *self._loads, _TIME]
        self._greeting_left = len(commands)
        self._greeted_at = self._loop.time()
        self._transport.write(b"".join(commands))

    def _greet(self, reply: Any) -> None:
        self._greeting_left -= 1
        if self._greeted.done():
            return
        if isinstance(reply, hiredis.ReplyError):
            self._greeted.set_exception(ConnectionError(str(reply)))
        elif self._greeting_left == 0:
            self._greeted.set_result(None)
            self._clock(self._greeted_at, reply)
            self._clock_due = 0.0
            self._go_up()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._outgoing.clear()
        self._reloading = self.suspended = False
        self._go_down(f"connection lost: {exc or 'closed by the store'}")
        missed, waiting = self._missed, self._waiting
        self._missed, self._waiting = deque(), deque()
        self._counters.errors[StoreError.CONNECTION] += len(waiting)
        for entry in waiting:
            self._tell(entry[2], entry[3], NO_REPLY)
        for entry in (*missed, *waiting):
            if entry[4] is not None:
                self._tell(entry[4], entry[3], NO_REPLY)
        if not self._greeted.done():
            self._greeted.set_exception(ConnectionError("closed by the store while it was greeted"))
        elif not self._closing and (self._connecting is None or self._connecting.done()):
            self._connecting = self._loop.create_task(self._connect(PROBE_S))

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
