"""The demonstration: three calls over real sockets through a real callgate, each held to what was told of it.

Everything runs in this process but the store: the proxy as `callgate serve` would run it, from files as an operator
would write them, on free ports of 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from config.load import load
from proxy.app.server import Server
from proxy.demo.phone import Line, Phone
from proxy.sip.message import Response

CUT_SPREAD = 1.0
"""Seconds a cut may come late."""
TALK = 1.5
START_PATIENCE = 10.0

_FILES = {
    "callgate.yaml": """\
domains: [demo.callgate]
listen: ["udp://127.0.0.1:0"]
store: {url: embedded, data: store, spool: {path: spool}}
metrics: {listen: "127.0.0.1:0"}
admin: {socket: callgate.sock}
plans: plans.yaml
subscribers: subscribers.yaml
""",
    "plans.yaml": """\
plans:
  one-line:
    categories: {gateway: {lines: LINES, call_duration: CUT_AFTERs}}
  plain:
    categories: {softphone: {}}
""",
    "subscribers.yaml": """\
subscribers:
  alice:
    accounts: [{user: alice, password: wonderland, mode: gateway}]
    activations: [{plan: one-line, since: 2026-01-01}]
  bob:
    accounts: [{user: bob, password: builder, mode: softphone}]
    activations: [{plan: plain, since: 2026-01-01}]
""",
}


class Failed(Exception):
    """Something did not happen as told. The text says what was expected."""


class Story:
    """One telling. `say` gets each line as it happens."""

    def __init__(self, say: Callable[[str], None], cut_after: int = 4, lines: int = 1) -> None:
        """`cut_after` (seconds) and `lines` are alice's tariff; with more lines than one the story cannot come true."""
        self._say = say
        self._cut_after = cut_after
        self._lines = lines
        self._start = time.monotonic()

    async def tell(self) -> None:
        """Raises: Failed, when one of the three calls did not go as told; StartError, StoreError."""
        with tempfile.TemporaryDirectory(prefix="callgate-demo-") as folder:
            for name, text in _FILES.items():
                filled = text.replace("LINES", str(self._lines)).replace("CUT_AFTER", str(self._cut_after))
                (Path(folder) / name).write_text(filled, encoding="utf-8")
            loaded = load(Path(folder) / "callgate.yaml")
            server = Server(loaded, Path(folder) / "callgate.yaml")
            await server.start()
            proxy = server.addresses["UDP"]
            alice = Phone("alice", "demo.callgate", "wonderland", proxy)
            bob = Phone("bob", "demo.callgate", "builder", proxy)
            try:
                self._line(
                    f"the proxy listens on udp://{proxy[0]}:{proxy[1]}, its store is {server.store_name}"
                )
                self._line(f"alice's tariff: one line, calls of {self._cut_after} s at most")
                for phone in (alice, bob):
                    await phone.open()
                if not await _soon(lambda: not server.unready(), START_PATIENCE):
                    raise Failed(f"the proxy should take calls: {server.unready()}")
                self._check(await bob.register() == 200, "bob registers with his password: 200")
                await self._admitted(alice, bob)
                await self._refused_and_cut(alice, bob, server)
            finally:
                alice.close()
                bob.close()
                await server.stop()

    async def _admitted(self, alice: Phone, bob: Phone) -> None:
        self._title("1. A call that is admitted")
        line = await self._connected(alice, bob)
        await asyncio.sleep(TALK)
        status = await alice.hang_up(line)
        theirs = bob.lines[line.call_id]
        self._check(
            status == 200 and theirs.ended.done(),
            f"after {TALK} s alice hangs up; bob gets her BYE and says 200",
        )

    async def _refused_and_cut(self, alice: Phone, bob: Phone, server: Server) -> None:
        self._title("2. A call that is refused")
        line = await self._connected(alice, bob)
        answered = asyncio.get_running_loop().time()
        refused, _ = await alice.call(bob.address)
        self._check(
            (refused.status, refused.reason) == (486, "No lines for call") and bob.rang.empty(),
            f"alice calls again on her one line: {refused.status} {refused.reason}; bob never rings",
        )
        warning = refused.value("warning") or ""
        self._check("lines" in warning, f"why: Warning: {warning}")
        self._title("3. A call that is cut at its limit")
        self._line("her first call goes on, and nobody hangs up ...")
        for name, ended in (("alice", line.ended), ("bob", bob.lines[line.call_id].ended)):
            try:
                async with asyncio.timeout(self._cut_after + 2 * CUT_SPREAD):
                    at, reason = await asyncio.shield(ended)
            except TimeoutError:
                raise Failed(f"{name} should have got a BYE {self._cut_after} s after the answer") from None
            lasted = at - answered
            self._check(
                self._cut_after - 0.1 <= lasted <= self._cut_after + CUT_SPREAD and "call_duration" in reason,
                f"after {lasted:.2f} s {name} gets a BYE from the proxy. Reason: {reason}",
            )
        self._check(await _soon(lambda: not server.operator.calls()), "and the line is free again")

    async def _connected(self, alice: Phone, bob: Phone) -> Line:
        final: Response
        final, line = await alice.call(bob.address)
        self._check(final.status == 200, f"alice calls bob: {final.status} {final.reason}, they talk")
        assert line is not None
        async with asyncio.timeout(CUT_SPREAD):
            await bob.rang.get()
        return line

    def _check(self, held: bool, told: str) -> None:
        if not held:
            raise Failed(told)
        self._line(told)

    def _title(self, text: str) -> None:
        self._say("")
        self._say(text)

    def _line(self, text: str) -> None:
        self._say(f"  {time.monotonic() - self._start:5.1f} s  {text}")


async def _soon(holds: Callable[[], bool], patience: float = CUT_SPREAD) -> bool:
    """Whether it comes to hold within that time."""
    deadline = time.monotonic() + patience
    while not holds() and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    return holds()
