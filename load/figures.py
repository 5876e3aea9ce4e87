"""What a run found: for each figure and peer, one value a repeat; kept as JSON, read back by the report."""

from __future__ import annotations

import dataclasses
import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path

from load.procfs import Machine

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table."""

    key: str
    title: str
    unit: str
    digits: int = 0


FIGURES: tuple[Figure, ...] = (
    Figure("highest", "highest rate with no failed call and no retransmission", "calls/s"),
    Figure("cpu", "CPU of proxy + Redis per admitted call", "µs"),
    Figure("cpu_proxy", "– of the proxy", "µs"),
    Figure("cpu_store", "– of Redis", "µs"),
    Figure("trips", "Redis scripts per call", "", 2),
    Figure("delay_p50", "set-up delay added, p50", "ms", 2),
    Figure("delay_p99", "set-up delay added, p99", "ms", 2),
    Figure("memory", "memory per call in progress", "kB", 1),
    Figure("memory_own", "– of it shared memory in use, by its own account", "kB", 1),
    Figure("memory_store", "– of Redis, besides", "kB", 1),
    Figure("growth", "CPU per call with many calls held ÷ with few", "×", 2),
    Figure("keeping", "CPU to keep 1,000 calls, none coming or going", "ms/s", 2),
    Figure("scaling", "highest rate, 2 processes ÷ 1", "×", 2),
)


@dataclass(slots=True)
class Run:
    """One run of the rig."""

    made: str
    """UTC, ISO 8601."""
    commit: str
    """What was measured; "" when unknown."""
    machine: Machine
    settings: dict[str, float | int | str]
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """figure → peer → one value a repeat, in order: the n-th of one peer was taken next to the n-th of the other."""

    failures: list[str] = field(default_factory=list)
    """Measurements that did not come about at the first try, and why."""

    def add(self, figure: str, peer: str, value: float) -> None:
        """Note one value."""
        if all(one.key != figure for one in FIGURES):
            raise KeyError(figure)
        self.values.setdefault(figure, {}).setdefault(peer, []).append(value)

    def median(self, figure: str, peer: str) -> float | None:
        """The middle value, None when it was not measured."""
        values = self.values.get(figure, {}).get(peer)
        return statistics.median(values) if values else None

    def ratios(self, figure: str, peer: str, other: str) -> list[float]:
        """peer ÷ other, pair by pair: a machine that changes its speed changes both of a pair."""
        both = self.values.get(figure, {})
        return [a / b for a, b in zip(both.get(peer, []), both.get(other, []), strict=False) if b]

    def save(self, folder: Path = RESULTS) -> Path:
        """Write it as JSON, named by its time."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.made.replace(':', '')}.json"
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n", encoding="utf-8")
        return path


def load(path: Path) -> Run:
    """Read what `save` wrote."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    raw["machine"] = Machine(**raw["machine"])
    return Run(**raw)
