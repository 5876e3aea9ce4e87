"""What the rig asks of a proxy under test, the same of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from load.processes import Child, Processes
from load.store import Store


@dataclass(frozen=True, slots=True)
class Place:
    """Where a proxy is to stand: between this caller side, this callee and this store."""

    folder: Path
    host: str
    port: int
    callee_host: str
    callee_port: int
    payers: int
    processes: int = 1


class Peer(Protocol):
    """A proxy that can be put between SIPp and Redis."""

    @property
    def name(self) -> str:
        """Its name in tables."""

    def start(self, processes: Processes, store: Store, place: Place) -> Child:
        """Start it; returned when it takes calls."""

    def own_memory_bytes(self, place: Place) -> int | None:
        """What it itself says it holds for calls, where it says so."""
