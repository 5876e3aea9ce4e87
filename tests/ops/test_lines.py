"""Lines reach their file in order, are bounded while it is slow, and survive rotation and a full pipe."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from proxy.ops import lines
from proxy.ops.lines import LineWriter


def test_lines_of_many_threads_are_all_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "cdr.jsonl"
    writer = LineWriter(path)

    def write_all(name: str) -> None:
        for i in range(500):
            writer.write(f"{name} {i}")

    threads = [threading.Thread(target=write_all, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    written = path.read_text().splitlines()
    assert len(written) == 1500
    for name in "abc":
        assert [line for line in written if line[0] == name] == [f"{name} {i}" for i in range(500)]


def test_a_file_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "cdr.jsonl"
    for word in ("first", "second"):
        writer = LineWriter(path)
        writer.write(word)
        writer.close()
    assert path.read_text() == "first\nsecond\n"


def test_after_rotation_lines_go_to_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "cdr.jsonl"
    writer = LineWriter(path)
    writer.write("before")
    writer.reopen()
    path.rename(tmp_path / "cdr.jsonl.1")
    writer.write("after")
    writer.close()
    everything = (tmp_path / "cdr.jsonl.1").read_text() if (tmp_path / "cdr.jsonl.1").exists() else ""
    assert path.exists()
    assert sorted((everything + path.read_text()).split()) == ["after", "before"]


def test_a_reader_that_stands_still_costs_lines_and_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LINES_MAX", 100)
    monkeypatch.setattr(lines, "FLUSH_PERIOD", 0.0)
    source, sink = os.pipe()
    writer = LineWriter(sink)
    # More than a pipe (64 kB) and the buffer hold together: the writing thread is stuck in the pipe.
    while writer.lost < 50:
        writer.write("x" * 1000)
    received = bytearray()

    def drain() -> None:
        while data := os.read(source, 1 << 16):
            received.extend(data)

    reader = threading.Thread(target=drain)
    reader.start()
    writer.close()
    os.close(sink)
    reader.join()
    os.close(source)
    assert writer.lost == 50
    assert b"(50 lines lost: too many at once)" in received


def test_a_closed_pipe_is_survived() -> None:
    source, sink = os.pipe()
    os.close(source)
    writer = LineWriter(sink)
    writer.write("nobody reads this")
    writer.close()
    os.close(sink)
    assert writer.lost == 1
