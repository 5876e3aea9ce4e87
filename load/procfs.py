"""What the kernel says of a process and its descendants: CPU used, memory held; and what machine this is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


def tree(pid: int) -> list[int]:
    """`pid` and all its descendants."""
    found = [pid]
    for parent in found:
        for task in (PROC / str(parent) / "task").glob("*"):
            try:
                found.extend(int(child) for child in (task / "children").read_text().split())
            except OSError:
                continue  # it ended while we looked
    return found


def cpu_seconds(pid: int) -> float:
    """utime + stime of `pid` and its descendants (proc(5), /proc/pid/stat fields 14 and 15), in seconds.

    The kernel scales the two so that their sum is the scheduler's exact run time; what is lost is one tick (10 ms).
    """
    ticks = 0
    for one in tree(pid):
        try:
            stat = (PROC / str(one) / "stat").read_text()
        except OSError:
            continue
        fields = stat[stat.rindex(")") + 2 :].split()  # the name in brackets may hold spaces
        ticks += int(fields[11]) + int(fields[12])
    return ticks * TICK_S


def pss_bytes(pid: int) -> int:
    """Resident memory of `pid` and its descendants in bytes, a page shared by n of them counted once (Pss).

    The sum of Rss would count Kamailio's shared memory once for each of its processes.
    """
    total = 0
    for one in tree(pid):
        try:
            rollup = (PROC / str(one) / "smaps_rollup").read_text()
        except OSError:
            continue
        for line in rollup.splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


@dataclass(frozen=True, slots=True)
class Machine:
    """All that a report says of the machine."""

    cpu: str
    cores: int


def machine() -> Machine:
    """The machine this runs on."""
    names = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    return Machine(cpu=names[0] if names else "unknown", cores=len(os.sched_getaffinity(0)))


def _cpuinfo() -> list[str]:
    return (PROC / "cpuinfo").read_text().splitlines()
