"""What is asked of the store. Answers come by callbacks, in a later turn of the loop; who has time may wait for one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol

import hiredis

NO_REPLY: Final = hiredis.ReplyError("NOREPLY")
"""In place of a reply: the deadline passed, the connection broke, or Redis answered with an error."""

Callback = Callable[[Any, Any], None]
"""(context, reply). The reply is as hiredis reads it (int, bytes, list, None), or NO_REPLY."""


class Store(Protocol):
    """What the limiter needs of a store."""

    up: bool
    """Commands are taken; in a Cluster, those of some payers at least."""
    replaceable: bool
    """Another server may take the place of one, and not know what that has done last."""

    def call(self, packed: bytes, callback: Callback, context: Any, late: Callback | None = None) -> bool:
        """Send one script's packed call, its last argument still missing. False: not sent, and neither callback will be
        called.

        Else `callback` is called once, in a later turn of the loop. If that was with NO_REPLY while the command may
        have been carried out, `late` is called once more: with the reply, or with NO_REPLY when it will never come.
        """
        ...

    def plain(self, packed: bytes, callback: Callback, context: Any, late: Callback | None = None) -> bool:
        """The same for a command that is no script."""
        ...


def ignored(_context: Any, _reply: Any) -> None:
    """A callback for commands whose outcome changes nothing."""


class StoreSilent(Exception):
    """The store did not answer."""


async def reply_of(take: Callable[[bytes, Callback, Any], bool], packed: bytes) -> Any:
    """The reply to one command, for who waits; `take` is a Store's `call` or `plain`. Raises: StoreSilent."""
    answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    if not take(packed, _answer, answered) or (reply := await answered) is NO_REPLY:
        raise StoreSilent
    return reply


def _answer(answered: asyncio.Future[Any], reply: Any) -> None:
    if not answered.done():
        answered.set_result(reply)


class LinkUser(Protocol):
    """Who is told how the link stands."""

    def on_link_up(self) -> None:
        """The store answers, and its scripts are loaded."""

    def on_link_down(self, why: str) -> None:
        """It does not; `call` returns False from now on."""

    def on_link_error(self, text: str) -> None:
        """Redis answered a command with an error that should not happen."""


class Elsewhere(Protocol):
    """Who is asked about an error reply first: a Cluster, where it may say that another node has the keys."""

    def sent_on(
        self, text: str, due: float, packed: bytes, callback: Callback, context: Any, late: Callback | None
    ) -> bool:
        """True: nothing was carried out, and the command is now the other's to bring to its end. `packed` is b"" when
        it was sent twice already."""
        ...
