"""What monitoring and the operator see over HTTP, and what a start says when an address cannot be had."""

from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from config.listen import HostPort
from proxy.ops.http import BadRequest, HttpError, Requests, Services


class Proxy:
    """Health and control of nothing."""

    def __init__(self) -> None:
        self.word = ""
        self.cut: list[str] = []

    def metrics(self) -> bytes:
        return b"callgate_ready 1.0\n"

    def unready(self) -> str:
        return self.word

    def requests(self) -> Requests:
        return {("GET", "/calls"): self.calls, ("POST", "/hangup"): self.hangup}

    async def calls(self, body: Mapping[str, Any]) -> Any:
        return [{"call_id": "c1", "state": "answered", "asked": body}]

    async def hangup(self, body: Mapping[str, Any]) -> Any:
        call_id = body["call_id"]
        if not isinstance(call_id, str):
            raise BadRequest("call_id must be a text")
        self.cut.append(call_id)
        return {"calls": 1 if call_id == "c1" else 0}


def run(main: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10):
            await main

    asyncio.run(bounded())


def test_metrics_and_health() -> None:
    async def main() -> None:
        proxy, services = Proxy(), Services()
        port = await services.start_metrics(HostPort("127.0.0.1", 0), proxy)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
            async with http.get("/metrics") as answer:
                assert await answer.read() == b"callgate_ready 1.0\n"
                assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            async with http.get("/healthz") as answer:
                assert (answer.status, await answer.text()) == (200, "ok\n")
            async with http.get("/readyz") as answer:
                assert (answer.status, await answer.text()) == (200, "ok\n")
            proxy.word = "draining"
            async with http.get("/readyz") as answer:
                assert (answer.status, await answer.text()) == (503, "draining\n")
            async with http.post("/hangup") as answer:
                assert answer.status == 404
        await services.close()

    run(main())


def test_control_is_for_the_owner_alone(tmp_path: Path) -> None:
    async def main() -> None:
        proxy, services, path = Proxy(), Services(), tmp_path / "var" / "callgate.sock"
        await services.start_control(path, proxy.requests())
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        connector = aiohttp.UnixConnector(str(path))
        async with aiohttp.ClientSession("http://callgate", connector=connector) as http:
            async with http.get("/calls") as answer:
                assert await answer.json() == [{"call_id": "c1", "state": "answered", "asked": {}}]
            async with http.get("/calls", json={"mode": "gateway"}) as answer:
                assert (await answer.json())[0]["asked"] == {"mode": "gateway"}
            async with http.post("/hangup", json={"call_id": "c1"}) as answer:
                assert await answer.json() == {"calls": 1}
            async with http.post("/hangup", json={"call_id": "c2"}) as answer:
                assert await answer.json() == {"calls": 0}
            for rubbish in (b"", b"[]", b"{}", b"\xff", b"{"):
                async with http.post("/hangup", data=rubbish) as answer:
                    assert answer.status == 400
            async with http.post("/hangup", json={"call_id": 7}) as answer:
                assert (answer.status, await answer.text()) == (400, "call_id must be a text\n")
            async with http.post("/calls") as answer:
                assert answer.status == 405
        assert proxy.cut == ["c1", "c2"]
        await services.close()
        assert not path.exists()

    run(main())


def test_the_socket_of_a_dead_one_is_taken_over_and_that_of_a_live_one_is_not(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "callgate.sock"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        first, second = Services(), Services()
        await first.start_control(path, Proxy().requests())
        with pytest.raises(HttpError, match=r"callgate\.sock: another callgate uses it"):
            await second.start_control(path, Proxy().requests())
        await second.close()
        assert path.exists()
        await first.close()

    run(main())


def test_addresses_that_cannot_be_had_are_named(tmp_path: Path) -> None:
    async def main() -> None:
        services = Services()
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with pytest.raises(HttpError, match=rf"http://127\.0\.0\.1:{port}: Address already in use"):
                await services.start_metrics(HostPort("127.0.0.1", port), Proxy())
        with pytest.raises(HttpError, match="at most 107 bytes"):
            await services.start_control(tmp_path / ("x" * 110), Proxy().requests())
        (tmp_path / "file").touch()
        with pytest.raises(HttpError, match=r"file/callgate\.sock"):
            await services.start_control(tmp_path / "file" / "callgate.sock", Proxy().requests())
        await services.close()

    run(main())
