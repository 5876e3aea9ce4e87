"""What a real softphone does under test, in the same words for each kind: baresip.py, linphone.py.

It answers by itself. `await_…` return as soon as it is so; what is said of "the call" is said of its latest.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from load.processes import Child, wait_until
from tests.e2e.net import PATIENCE_S
from tests.e2e.sipp import Message


class Softphone(ABC):
    """A `with` block ends what it needs; its process ends with the `Processes` it was started in."""

    user: str
    host: str
    child: Child
    log: Path
    """Has the SIP it sent and received."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def register(self) -> None:
        """Returns when its registrar has accepted it."""

    @abstractmethod
    def dial(self, uri: str) -> None: ...

    @abstractmethod
    def await_up(self) -> None:
        """One more call than before is answered, by it or by the other side."""

    @abstractmethod
    def hold(self) -> None: ...

    @abstractmethod
    def resume(self) -> None: ...

    @abstractmethod
    def await_held(self) -> None:
        """The other side has put it on hold."""

    @abstractmethod
    def await_resumed(self) -> None: ...

    @abstractmethod
    def transfer(self, uri: str) -> None:
        """Blind: by a REFER without Replaces."""

    @abstractmethod
    def hang_up(self) -> None: ...

    @abstractmethod
    def await_over(self) -> None: ...

    def said(self) -> str:
        """Its log so far."""
        return self.log.read_text(errors="replace").replace("\r", "")

    def messages(self, start: str, cseq: str = "") -> list[Message]:
        """Heads of those it sent and received, by how they begin and how their CSeq ends."""
        heads = re.findall(rf"^{re.escape(start)}.*?\n\n", self.said(), re.MULTILINE | re.DOTALL)
        found = [Message(0.0, False, head.replace("\n", "\r\n")) for head in heads]
        return [message for message in found if message.value("CSeq").endswith(cseq)]

    def await_bye(self, reason: str) -> None:
        """Its latest has this Reason."""
        self.until(
            f"a BYE: {reason}",
            lambda: [bye.values("Reason") for bye in self.messages("BYE ")][-1:] == [[reason]],
        )

    def until(self, what: str, true: Callable[[], bool]) -> None:
        wait_until(f"{self.user}: {what}", true, self.child, PATIENCE_S)

    def kill(self) -> None:
        """As a flat battery would: nothing is said to anybody."""
        self.child.popen.kill()
        self.child.popen.wait()
