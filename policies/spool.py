"""Outcomes that wait on disk for the store to come back: an append-only file, bounded, read from its beginning.

Each record is one write(2) of one line before `append` returns, so it survives the death of this process, kill -9
included. It is not synced: what a power failure takes are the last seconds of calls that it ended as well.

Records are replayed in order, passing over those that the store cannot be told (a node of a Cluster is away),
and the file is emptied when the last one is done. After a death in between they are all
replayed once more, which changes nothing: late-8.lua counts an outcome once however often it is told.
"""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

from policies.account import Direction
from policies.counters import StoreCounters

RECORD_SIZE_MAX: Final = 4096
"""Bytes of one record at most; names are 64 letters long at most, so the longest has some 1,000 and its dialog."""


class SpoolError(Exception):
    """The spool cannot be used. The text says why, for the operator."""


@dataclass(frozen=True, slots=True)
class Belated:
    """What is known of one leg, as late-8.lua takes it."""

    payer: str
    mode: str
    arguments: str
    """Packed limits (keys.limit_arguments) in base64: the counters that were in force."""
    lease: str
    direction: Direction
    outcome: str
    """policies.lease.Outcome's value, or "answered" when the call went on."""
    answered_at: float | None
    """Unix seconds, as the next one; only differences to now are told to the store."""
    ended_at: float | None
    unheard: bool
    """The store may never have heard of the lease."""
    admitted_at: float | None = None
    """Unix seconds at which the store's word for the lease came; None = it did not."""
    dialog: str = ""
    """When the call went on: what another run needs to end it."""


class Waiting(NamedTuple):
    """One record and where it is in the file."""

    start: int
    end: int
    belated: Belated


class Spool:
    """The file of one process. Locked: a second process needs another path."""

    def __init__(self, path: Path, size_max: int, counters: StoreCounters) -> None:
        """`size_max`: bytes on disk. Raises: SpoolError."""
        self._path = path
        self._counters = counters
        self._read_at = 0
        self._left = 0
        self._done: dict[int, int] = {}
        """Start and end of records that are settled while one before them waits."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SpoolError(f"cannot open the spool {path}: {error.strerror}") from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise SpoolError(f"the spool {path} is in use by another process") from None
        self._size_max = size_max
        self._size = self._recovered()
        counters.spool_bytes_max = size_max
        self._count()

    def __len__(self) -> int:
        """Records that wait."""
        return self._left

    def append(self, belated: Belated) -> bool:
        """Write one down. False: the spool is full or the disk failed, the outcome is lost, and the counter says so."""
        line = _line(belated)
        if len(line) > RECORD_SIZE_MAX and belated.dialog:
            # Very long Contacts or routes. What happened counts for more than that a later run may end the call.
            line = _line(replace(belated, dialog=""))
        full = len(line) > RECORD_SIZE_MAX or self._size + len(line) > self._size_max
        if full or not self._written(line):
            self._counters.spool_dropped += 1
            return False
        self._size += len(line)
        self._left += 1
        self._count()
        return True

    def first(self, count: int, after: int = 0) -> list[Waiting]:
        """The oldest ones that begin at `after` or later in the file, `count` at most. They stay until `done`."""
        found: list[Waiting] = []
        start = max(after, self._read_at)
        while len(found) < count and (lines := list(self._lines(start, count))):
            for line in lines:
                end = start + len(line)
                belated = _read(line) if start not in self._done else None
                if belated is not None and len(found) < count:
                    found.append(Waiting(start, end, belated))
                start = end
        return found

    def done(self, settled: Sequence[Waiting]) -> None:
        """These need not be told any more."""
        self._done.update((one.start, one.end) for one in settled)
        self._left -= len(settled)
        while (end := self._done.pop(self._read_at, None)) is not None:
            self._read_at = end
        if self._left <= 0:
            os.ftruncate(self._fd, 0)
            self._read_at = self._size = self._left = 0
            self._done.clear()
        self._count()

    def close(self) -> None:
        """What is left waits for the next start."""
        os.close(self._fd)

    def _count(self) -> None:
        self._counters.spool_records = self._left
        self._counters.spool_bytes = self._size

    def _written(self, line: bytes) -> bool:
        try:
            if os.pwrite(self._fd, line, self._size) == len(line):
                return True
            os.ftruncate(self._fd, self._size)
        except OSError:
            return False
        return False

    def _lines(self, position: int, count: int) -> Iterator[bytes]:
        """Whole lines from a position on."""
        data = os.pread(self._fd, count * RECORD_SIZE_MAX, position)
        for line in data.splitlines(keepends=True)[:count]:
            if line.endswith(b"\n"):
                yield line

    def _recovered(self) -> int:
        """Count what an earlier run left; from the first line that is not whole on, nothing can be trusted."""
        size = 0
        while lines := list(self._lines(size, 1000)):
            for line in lines:
                if _read(line) is None:
                    self._counters.spool_dropped += 1
                    os.ftruncate(self._fd, size)
                    return size
                size += len(line)
                self._left += 1
        os.ftruncate(self._fd, size)
        return size


def _line(belated: Belated) -> bytes:
    text = json.dumps(asdict(belated), separators=(",", ":")).encode()
    return b"%08x %b\n" % (zlib.crc32(text), text)


def _read(line: bytes) -> Belated | None:
    """None when the line is not what was written."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    try:
        return Belated(**json.loads(text)) if int(checksum, 16) == zlib.crc32(text) else None
    except (ValueError, TypeError):
        return None
