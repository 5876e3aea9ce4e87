"""Questions to a server that are no commands of a call: to sentinels who is master, to a Cluster's nodes who has what.

One connection for each Asker, opened when there is a question, one question at a time. Not redis-py's client: this one
greets and checks certificates exactly as the link does (policies/address.py), and never retries behind our back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Final, TypeVar

import hiredis

from policies.address import Address
from policies.keys import command

_Answer = TypeVar("_Answer")

ASK_S_MAX: Final = 1.0
"""For one question, connecting included. A server that takes longer is as good as away."""
_READ_SIZE: Final = 65536


class Asker:
    """Asks one server."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._parser = hiredis.Reader()

    async def ask(self, *arguments: bytes) -> Any:
        """The reply. Raises: OSError (TimeoutError is one) naming the server; the next question connects anew."""
        try:
            async with asyncio.timeout(ASK_S_MAX):
                if self._writer is None:
                    await self._connect()
                return await self._reply_to(command(*arguments))
        except OSError as error:
            self.close()
            raise ConnectionError(f"{self.address}: {error or type(error).__name__}") from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Idempotent; a later question connects anew."""
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = self._reader = None

    async def _connect(self) -> None:
        address = self.address
        self._parser = hiredis.Reader()
        self._reader, self._writer = await asyncio.open_connection(
            address.host, address.port, ssl=address.tls
        )
        for packed in address.greeting:
            await self._reply_to(packed)

    async def _reply_to(self, packed: bytes) -> Any:
        assert self._reader is not None
        assert self._writer is not None
        self._writer.write(packed)
        try:
            while (reply := self._parser.gets()) is False:
                data = await self._reader.read(_READ_SIZE)
                if not data:
                    raise ConnectionError("closed by the server")
                self._parser.feed(data)
        except hiredis.ProtocolError as error:
            raise ConnectionError(f"this is not Redis: {error}") from None
        if isinstance(reply, hiredis.ReplyError):
            raise ConnectionError(str(reply))
        return reply


async def most(questions: Sequence[Coroutine[Any, Any, _Answer]]) -> list[_Answer]:
    """What more than half of those asked at once answer first; fewer answers when the others err. Raises: OSError when
    nobody answers, saying why of each."""
    asked = [asyncio.ensure_future(question) for question in questions]
    answers: list[_Answer] = []
    errors: list[str] = []
    try:
        for question in asyncio.as_completed(asked):
            try:
                answers.append(await question)
            except OSError as error:
                errors.append(str(error))
            if len(answers) > len(asked) // 2:
                break
    finally:
        for one in asked:
            one.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    if not answers:
        raise ConnectionError("; ".join(errors))
    return answers
