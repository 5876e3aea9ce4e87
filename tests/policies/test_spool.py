"""The spool: what was written is read back in order, by this process or the next, and nothing else is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from policies.counters import StoreCounters
from policies.spool import Belated, Spool, SpoolError

SIZE = 1 << 20

WRITE_AND_DIE = """
import os, signal, sys
from pathlib import Path
from policies.counters import StoreCounters
from policies.spool import Spool
from tests.policies.test_spool import SIZE, belated

Spool(Path(sys.argv[1]), SIZE, StoreCounters()).append(belated("a"))
os.kill(os.getpid(), signal.SIGKILL)
"""


def belated(lease: str) -> Belated:
    return Belated("alice", "gateway", "bGltaXRz", lease, "out", "success", 1.5, 2.5, True)


def leases(spool: Spool, count: int = 100) -> list[str]:
    return [one.belated.lease for one in spool.first(count)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "spool"


def test_what_is_written_is_read_back_whole_and_in_order(path: Path) -> None:
    counters = StoreCounters()
    spool = Spool(path, SIZE, counters)
    for lease in "abc":
        assert spool.append(belated(lease))
    two = spool.first(2)
    assert [one.belated for one in two] == [belated("a"), belated("b")]
    spool.done(two)
    assert (len(spool), counters.spool_records, leases(spool)) == (1, 1, ["c"])
    assert spool.append(belated("d"))
    assert leases(spool) == ["c", "d"]
    spool.done(spool.first(2))
    assert (len(spool), counters.spool_bytes, path.stat().st_size) == (0, 0, 0)
    spool.close()


def test_a_dialog_that_is_too_long_is_left_out_and_the_outcome_is_not(path: Path) -> None:
    counters = StoreCounters()
    spool = Spool(path, SIZE, counters)
    short, long = (replace(belated("a"), outcome="answered", dialog=size * "d") for size in (1_000, 5_000))
    assert spool.append(short)
    assert spool.append(long)
    assert [one.belated for one in spool.first(2)] == [short, replace(long, dialog="")]
    assert counters.spool_dropped == 0
    spool.close()


def test_one_that_cannot_be_told_is_passed_over_and_stays(path: Path) -> None:
    counters = StoreCounters()
    spool = Spool(path, SIZE, counters)
    for lease in "abcde":
        spool.append(belated(lease))
    first, second, *_ = spool.first(5)
    spool.done(spool.first(2, second.end))
    assert (leases(spool), counters.spool_records) == (["a", "b", "e"], 3)
    spool.done([first])
    assert leases(spool, 1) == ["b"]
    spool.append(belated("f"))
    assert leases(spool, 3) == ["b", "e", "f"]
    spool.done(spool.first(1, second.end))
    spool.done([second])
    assert leases(spool) == ["f"]
    spool.done(spool.first(1))
    assert (len(spool), path.stat().st_size) == (0, 0)
    spool.append(belated("g"))
    assert leases(spool) == ["g"]
    spool.close()


def test_the_next_run_finds_what_was_not_done(path: Path) -> None:
    spool = Spool(path, SIZE, StoreCounters())
    for lease in "abc":
        spool.append(belated(lease))
    spool.done(spool.first(1))
    spool.close()
    counters = StoreCounters()
    again = Spool(path, SIZE, counters)
    # Settled ones come again: they were not forgotten alone, and telling them twice changes nothing.
    assert leases(again) == ["a", "b", "c"]
    assert counters.spool_records == 3
    again.close()


def test_it_survives_kill_9(path: Path) -> None:
    died = subprocess.run([sys.executable, "-c", WRITE_AND_DIE, str(path)], cwd=Path(__file__).parents[2])
    assert died.returncode == -signal.SIGKILL
    spool = Spool(path, SIZE, StoreCounters())
    assert leases(spool) == ["a"]
    spool.close()


@pytest.mark.parametrize("tail", [b"0badf00d {}", b"0badf00d {}\n", b"rubbish\n", b"\xff\x00"])
def test_a_torn_end_is_cut_off(path: Path, tail: bytes) -> None:
    spool = Spool(path, SIZE, StoreCounters())
    spool.append(belated("a"))
    spool.close()
    with path.open("ab") as file:
        file.write(tail)
    again = Spool(path, SIZE, StoreCounters())
    assert again.append(belated("b"))
    assert leases(again) == ["a", "b"]
    again.close()


def test_a_full_spool_says_so_and_keeps_what_it_has(path: Path) -> None:
    counters = StoreCounters()
    spool = Spool(path, 500, counters)
    taken = [spool.append(belated(str(number))) for number in range(4)]
    assert taken[0]
    assert not taken[-1]
    assert counters.spool_dropped == taken.count(False)
    assert path.stat().st_size <= 500
    spool.done(spool.first(len(spool)))
    assert spool.append(belated("room again"))
    spool.close()


def test_a_disk_that_fails_loses_one_and_not_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counters = StoreCounters()
    spool = Spool(path, SIZE, counters)
    spool.append(belated("a"))
    whole = os.pwrite
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda fd, data, offset: whole(fd, data[:10], offset))
        assert not spool.append(belated("b"))
    assert counters.spool_dropped == 1
    spool.append(belated("c"))
    assert leases(spool) == ["a", "c"]
    spool.close()


def test_two_processes_do_not_share_one(path: Path) -> None:
    spool = Spool(path, SIZE, StoreCounters())
    with pytest.raises(SpoolError, match="in use"):
        Spool(path, SIZE, StoreCounters())
    spool.close()


def test_a_path_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match="cannot open"):
        Spool(tmp_path / "file" / "spool", SIZE, StoreCounters())
