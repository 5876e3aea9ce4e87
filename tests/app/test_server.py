"""A running callgate as its operator meets it: ready, drained, reloaded, asked, and never half started."""

from __future__ import annotations

import asyncio
import json
import socket
import time
import urllib.request
from pathlib import Path

import pytest

from config.load import load
from proxy.app.reload import Reloaded
from proxy.app.server import Server, StartError
from proxy.demo.phone import Phone
from tests.app.running import elapsed, run, running, until, write_files


def test_a_call_is_listed_counted_and_recorded(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(write_files(tmp_path)) as world:
            line, _ = await world.talk()
            (shown,) = world.server.operator.calls()
            assert shown["call_id"] == line.call_id
            assert (shown["state"], shown["mode"]) == ("answered", "gateway")
            assert shown["payers"] == ["alice", "bob"]
            assert 0 <= shown["talked_s"] < 30
            assert b'callgate_calls_active{mode="gateway"} 1.0' in world.server.metrics()
            assert await world.alice.hang_up(line) == 200
            await until(lambda: not world.server.operator.calls())
            assert b'callgate_calls_active{mode="gateway"} 0.0' in world.server.metrics()
            assert b'callgate_admissions_total{decision="admitted",mode="gateway",reason="none"} 1.0' in (
                world.server.metrics()
            )
            told = json.loads(world.page.page[-1])
        cdr = json.loads((tmp_path / "cdr.jsonl").read_text())
        assert told["call_id"] == cdr["call_id"] == line.call_id
        assert (cdr["outcome"], cdr["ended_by"], cdr["status"]) == ("success", "caller", 200)

    run(main())


def test_hangup_sends_a_bye_to_both_sides(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(write_files(tmp_path)) as world:
            line, theirs = await world.talk()
            assert world.server.operator.hangup("nobody's") == 0
            assert world.server.operator.hangup(line.call_id) == 1
            for end in (line, theirs):
                _, reason = await end.ended
                assert reason.startswith("SIP ;cause=")
            await until(lambda: not world.server.operator.calls())

    run(main())


def ready(server: Server) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}/readyz", timeout=10) as answer:
            return answer.status, answer.read().decode().strip()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode().strip()


def test_a_drain_refuses_new_calls_and_waits_for_running_ones(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(write_files(tmp_path)) as world:
            server = world.server
            line, _ = await world.talk()
            assert await asyncio.to_thread(ready, server) == (200, "ok")
            drain = asyncio.ensure_future(server.drain())
            await asyncio.sleep(0)
            assert await asyncio.to_thread(ready, server) == (503, "draining")
            refused, _ = await world.bob.call(world.alice.address)
            assert refused.status == 503
            assert "draining" in (refused.value("warning") or "")
            assert refused.value("retry-after")
            assert not drain.done()
            assert await world.alice.hang_up(line) == 200
            await drain
            assert not line.ended.done()

    run(main())


def test_a_drain_that_takes_too_long_ends_the_calls(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(write_files(tmp_path, drain="100ms")) as world:
            line, theirs = await world.talk()
            start = time.monotonic()
            await world.server.drain()
            assert 0.1 <= elapsed(start) < 5
            assert line.ended.done()
            assert theirs.ended.done()
            assert world.server.operator.calls() == []

    run(main())


def test_a_drain_without_calls_is_over_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(write_files(tmp_path)) as world:
            async with asyncio.timeout(0.5):
                await world.server.drain()

    run(main())


def test_a_reload_changes_who_may_call_and_drops_nobody(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(write_files(tmp_path)) as world:
            line, theirs = await world.talk()
            carol = Phone("carol", "example.com", "secret", world.server.addresses["UDP"])
            await carol.open()
            assert await carol.register() != 200
            path = tmp_path / "subscribers.yaml"
            path.write_text(
                path.read_text()
                + "  carol:\n    accounts: [{user: carol, password: secret, mode: softphone}]\n"
                + "    activations: [{plan: plain, since: 2026-01-01}]\n"
            )
            assert await world.server.reload() == Reloaded(plans=2, subscribers=3, payers=2)
            assert await carol.register() == 200
            assert not line.ended.done()
            assert not theirs.ended.done()
            assert await world.alice.hang_up(line) == 200
            carol.close()

    run(main())


def test_a_reload_with_a_mistake_keeps_what_is_in_force(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(write_files(tmp_path)) as world:
            (tmp_path / "subscribers.yaml").write_text("subscribers: {bob: {acounts: []}}\n")
            found = await world.server.reload()
            [problem] = found.problems
            assert problem.startswith(f"{tmp_path / 'subscribers.yaml'}:1: subscribers.bob.acounts: ")
            assert await world.bob.register() == 200
            line, _ = await world.talk()
            assert await world.alice.hang_up(line) == 200

    run(main())


def test_what_needs_a_restart_stays_as_it_is_on_reload(tmp_path: Path) -> None:
    async def main() -> None:
        path = write_files(tmp_path)
        async with running(path) as world:
            before = world.server.loaded.config
            write_files(tmp_path, metrics='{listen: "127.0.0.1:1"}', domains="[example.com, example.net]")
            assert (await world.server.reload()).restart_only == ("metrics",)
            assert world.server.loaded.config.metrics == before.metrics
            assert world.server.loaded.config.domains == ("example.com", "example.net")

    run(main())


def test_reloads_follow_one_another_and_none_is_lost(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(write_files(tmp_path)) as world:
            done: list[str] = []
            world.server.reloads.on_done = lambda: done.append("done")
            for _ in range(5):
                # As five signals in one turn: one reads, and one more has whatever changed since.
                world.server.reloads.soon(tell_others=False)
            await until(lambda: len(done) == 2)
            assert (await world.server.reload()).plans == 2
            assert len(done) == 3

    run(main())


def test_a_reload_that_was_asked_for_before_the_start_is_done_after_it(tmp_path: Path) -> None:
    async def main() -> None:
        path = write_files(tmp_path)
        server = Server(load(path), path)
        done: list[str] = []
        server.reloads.on_done = lambda: done.append("done")
        server.reloads.soon(tell_others=True)
        await server.start()
        await until(lambda: done == ["done"])
        await server.stop()

    run(main())


def test_a_stream_that_cannot_be_framed_is_answered_then_closed(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(write_files(tmp_path)) as world:
            reader, writer = await asyncio.open_connection(*world.server.addresses["TCP"])
            writer.write(
                b"OPTIONS sip:example.com SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK1\r\n"
                b"From: <sip:a@example.com>;tag=1\r\nTo: <sip:example.com>\r\nCall-ID: 1\r\n"
                b"CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n\r\n"
            )
            answer = await reader.read()
            assert answer.startswith(b"SIP/2.0 400 ")
            assert b"Content-Length" in answer.split(b"\r\n")[0]
            writer.close()

    run(main())


def free_port() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    return sock


@pytest.mark.parametrize(
    ("section", "text"),
    [
        pytest.param("listen", '["tcp://127.0.0.1:PORT"]', id="sip"),
        pytest.param("metrics", '{listen: "127.0.0.1:PORT"}', id="metrics"),
    ],
)
def test_a_taken_address_is_named_and_everything_given_back(tmp_path: Path, section: str, text: str) -> None:
    async def main() -> None:
        with free_port() as taken:
            port = str(taken.getsockname()[1])
            path = write_files(tmp_path, **{section: text.replace("PORT", port)})
            with pytest.raises(StartError, match=rf"127\.0\.0\.1:{port}"):
                await Server(load(path), path).start()
        # The same again, and nothing of the first try is in the way: no store, no socket, no lock.
        server = Server(load(path), path)
        await server.start()
        await server.stop()

    run(main())


def test_a_second_one_on_the_same_files_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(write_files(tmp_path)):
            other = tmp_path / "other"
            other.mkdir()
            path = write_files(other, admin=f"{{socket: {tmp_path}/callgate.sock}}")
            with pytest.raises(StartError, match="another callgate uses it"):
                await Server(load(path), path).start()

    run(main())


def test_without_its_store_it_is_not_ready_unless_told_to_admit(tmp_path: Path) -> None:
    async def main() -> None:
        for policy, word in (("refuse", "the store does not answer"), ("admit", "")):
            path = write_files(
                tmp_path, store=f'{{url: "unix://{tmp_path}/nobody.sock", on_store_failure: {policy}}}'
            )
            server = Server(load(path), path)
            await server.start()
            assert server.unready() == word
            assert (b"callgate_ready 1.0" in server.metrics()) == (not word)
            await server.stop()

    run(main())
