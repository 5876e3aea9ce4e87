"""The link on a real Redis, through a proxy that fails as told."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop
from redis import Redis

from policies import link as link_module
from policies.address import address_of
from policies.counters import BreakerState, StoreCounters, StoreError
from policies.keys import command, evalsha
from policies.link import MISSES_MAX, Link
from policies.scripts import Script, shipped_scripts
from policies.store import NO_REPLY
from tests.policies.linked import Replies, Watcher, bench, until
from tests.redis import PrivateRedis, private_redis
from tests.tools import require

PING = command(b"PING")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def run(main: Coroutine[Any, Any, None]) -> None:
    uvloop.run(main)


@pytest.mark.usefixtures("redis_client")
class TestCommands:
    def test_commands_of_one_turn_share_a_write_and_answer_in_order(self, redis_server: PrivateRedis) -> None:
        async def main() -> None:
            async with bench(redis_server) as b:
                replies = Replies()
                for number in range(500):
                    assert b.link.plain(command(b"ECHO", b"%d" % number), replies, number)
                assert replies.told == []
                await replies.count(500)
                assert replies.told == [(number, b"%d" % number) for number in range(500)]

        run(main())

    def test_a_failing_callback_costs_nobody_else_a_reply(self, redis_server: PrivateRedis) -> None:
        async def main() -> None:
            seen: list[dict[str, Any]] = []
            asyncio.get_running_loop().set_exception_handler(lambda _loop, context: seen.append(context))

            def fail(_context: Any, _reply: Any) -> None:
                raise RuntimeError("a defect")

            async with bench(redis_server) as b:
                replies = Replies()
                b.link.plain(PING, fail, None)
                b.link.plain(PING, replies, "after")
                await replies.count(1)
            assert [str(context["exception"]) for context in seen] == ["a defect"]

        run(main())

    def test_scripts_that_were_flushed_are_loaded_again_and_the_command_is_carried_out(
        self, redis_server: PrivateRedis, redis_client: Redis
    ) -> None:
        async def main() -> None:
            async with bench(redis_server) as b:
                redis_client.script_flush()
                assert await b.ask_script() == []
                assert b.watcher.errors == []

        run(main())

    def test_a_script_that_redis_cannot_know_is_an_error_and_no_endless_loop(
        self, redis_server: PrivateRedis
    ) -> None:
        async def main() -> None:
            counters = StoreCounters()
            async with bench(redis_server, counters=counters) as b:
                replies = Replies()
                unknown = Script("unknown", 0, b"", "0" * 40)
                b.link.call(evalsha(unknown, 0), replies, "unknown")
                b.link.plain(PING, replies, "after")
                await replies.count(2)
                assert dict(replies.told)["unknown"] is NO_REPLY
                assert b.watcher.errors[0].startswith("NOSCRIPT")
                assert counters.errors[StoreError.REPLY] == 1

        run(main())

    def test_more_than_may_be_in_flight_is_not_taken(
        self, redis_server: PrivateRedis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(link_module, "IN_FLIGHT_MAX", 10)

        async def main() -> None:
            async with bench(redis_server) as b:
                replies = Replies()
                taken = [b.link.plain(PING, replies, number) for number in range(15)]
                assert taken == [True] * 10 + [False] * 5
                await replies.count(10)
                assert b.link.plain(PING, replies, 16)

        run(main())


@pytest.mark.usefixtures("redis_client")
class TestDeadlines:
    def test_a_late_reply_is_swallowed_and_the_next_command_gets_its_own(
        self, redis_server: PrivateRedis
    ) -> None:
        async def main() -> None:
            counters = StoreCounters()
            async with bench(redis_server, deadline_s=0.1, counters=counters) as b:
                replies, late = Replies(), Replies()
                b.proxy.replies.close()
                b.link.plain(command(b"ECHO", b"one"), replies, 1)
                b.link.plain(command(b"ECHO", b"two"), replies, 2, late)
                await replies.count(2)
                assert replies.told == [(1, NO_REPLY), (2, NO_REPLY)]
                b.proxy.replies.open()
                b.link.plain(command(b"ECHO", b"three"), replies, 3)
                await replies.count(3)
                assert replies.told[2] == (3, b"three")
                assert late.told == [(2, b"two")]
                assert counters.errors[StoreError.DEADLINE] == 2
                assert counters.breaker is BreakerState.CLOSED

        run(main())

    def test_misses_on_end_open_the_breaker_and_a_ping_closes_it(self, redis_server: PrivateRedis) -> None:
        async def main() -> None:
            counters = StoreCounters()
            async with bench(redis_server, deadline_s=0.1, counters=counters) as b:
                replies = Replies()
                b.proxy.replies.close()
                for number in range(MISSES_MAX):
                    assert b.link.plain(PING, replies, number)
                await b.watcher.down.wait()
                states = [counters.breaker]
                assert not b.link.plain(PING, replies, "not tried")
                await until(lambda: counters.breaker is BreakerState.HALF_OPEN)
                assert not b.link.plain(PING, replies, "not tried")
                await until(lambda: counters.breaker is BreakerState.OPEN)  # the PING went unanswered too
                b.proxy.replies.open()
                await b.watcher.up.wait()
                states.append(counters.breaker)
                assert states == [BreakerState.OPEN, BreakerState.CLOSED]
                assert await b.ask(b"ECHO", b"well") == b"well"
                assert b.proxy.connections == 1
                assert len(replies.told) == MISSES_MAX

        run(main())

    def test_a_loop_that_was_late_itself_gives_nothing_up(self, redis_server: PrivateRedis) -> None:
        async def main() -> None:
            watcher, replies = Watcher(), Replies()
            link = Link(redis_server.url, shipped_scripts(), StoreCounters(), watcher, deadline_s=0.05)
            link.start()
            await watcher.up.wait()
            link.plain(PING, replies, None)
            await asyncio.sleep(0)  # written
            loop = asyncio.get_running_loop()
            busy_until = loop.time() + 0.2
            while loop.time() < busy_until:
                pass
            await replies.count(1)
            assert replies.told == [(None, b"PONG")]
            await link.close()

        run(main())

    def test_a_connection_that_owes_replies_for_long_is_given_up(
        self, redis_server: PrivateRedis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(link_module, "STALL_S", 0.1)

        async def main() -> None:
            async with bench(redis_server, deadline_s=0.02) as b:
                replies, late = Replies(), Replies()
                b.proxy.replies.close()
                for number in range(MISSES_MAX):
                    b.link.plain(PING, replies, number, late)
                await late.count(MISSES_MAX)
                assert {reply for _, reply in late.told} == {NO_REPLY}
                b.proxy.replies.open()
                await b.watcher.up.wait()
                assert b.proxy.connections == 2

        run(main())


@pytest.mark.usefixtures("redis_client")
class TestConnection:
    def test_what_is_in_flight_when_it_breaks_is_told_once_and_to_late_as_well(
        self, redis_server: PrivateRedis
    ) -> None:
        async def main() -> None:
            async with bench(redis_server, deadline_s=5.0) as b:
                replies, late = Replies(), Replies()
                b.proxy.commands.close()
                b.link.plain(PING, replies, 1, late)
                b.link.plain(PING, replies, 2)
                await b.proxy.commands.held.wait()
                b.proxy.cut()
                await b.watcher.down.wait()
                assert replies.told == [(1, NO_REPLY), (2, NO_REPLY)]
                assert late.told == [(1, NO_REPLY)]
                b.proxy.commands.open()
                await b.watcher.up.wait()
                assert await b.ask(b"ECHO", b"back") == b"back"
                assert len(replies.told) == 2

        run(main())

    def test_a_store_that_is_away_is_tried_until_it_is_back(self, redis_server: PrivateRedis) -> None:
        async def main() -> None:
            async with bench(redis_server) as b:
                await b.proxy.away()
                await b.watcher.down.wait()
                await until(lambda: len(b.watcher.errors) > 0)
                assert not b.link.plain(PING, Replies(), None)
                await b.proxy.listen()
                await b.watcher.up.wait()
                assert await b.ask(b"PING") == b"PONG"

        run(main())

    def test_a_store_restarted_empty_has_the_scripts_before_it_is_asked(self) -> None:
        async def main() -> None:
            with private_redis() as redis:
                async with bench(redis) as b:
                    redis.stop()
                    await b.watcher.down.wait()
                    redis.start()
                    await b.watcher.up.wait()
                    assert await b.ask_script() == []

        run(main())

    def test_password_and_database_of_the_url(self) -> None:
        async def main() -> None:
            with private_redis() as redis:
                with redis.client() as admin:
                    admin.config_set("requirepass", "se cret")
                watcher = Watcher()
                link = Link(
                    f"unix://:se%20cret@{redis.socket}?db=3",
                    shipped_scripts(),
                    StoreCounters(),
                    watcher,
                    deadline_s=1.0,
                )
                link.start()
                await watcher.up.wait()
                replies = Replies()
                link.plain(command(b"CLIENT", b"INFO"), replies, None)
                await replies.count(1)
                assert b" db=3 " in replies.told[0][1]
                await link.close()

        run(main())

    def test_a_wrong_password_never_comes_up(self) -> None:
        async def main() -> None:
            with private_redis() as redis:
                with redis.client() as admin:
                    admin.config_set("requirepass", "right")
                watcher = Watcher()
                link = Link(
                    f"unix://:wrong@{redis.socket}",
                    shipped_scripts(),
                    StoreCounters(),
                    watcher,
                    deadline_s=1.0,
                )
                link.start()
                await until(lambda: len(watcher.errors) > 0)
                assert "WRONGPASS" in watcher.errors[0] or "AUTH" in watcher.errors[0]
                assert not link.up
                await link.close()

        run(main())

    def test_tls_with_a_certificate_that_is_checked(self, tmp_path: Path) -> None:
        key, certificate, port = tmp_path / "key.pem", tmp_path / "cert.pem", free_port()
        make = (
            f"{require('openssl')} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        )
        names = "-subj /CN=localhost -addext subjectAltName=DNS:localhost"
        subprocess.run(
            [*make.split(), *names.split(), "-keyout", str(key), "-out", str(certificate)],
            check=True,
            capture_output=True,
        )

        async def connect(options: str) -> Watcher:
            watcher = Watcher()
            link = Link(
                f"rediss://localhost:{port}/1{options}",
                shipped_scripts(),
                StoreCounters(),
                watcher,
                deadline_s=1.0,
            )
            link.start()
            await until(lambda: link.up or len(watcher.errors) > 0)
            await link.close()
            return watcher

        async def main() -> None:
            tls = ["--bind", "127.0.0.1", "--tls-port", str(port), "--tls-auth-clients", "no"]
            with private_redis(*tls, "--tls-cert-file", str(certificate), "--tls-key-file", str(key)):
                assert (await connect(f"?ssl_ca_certs={certificate}")).errors == []
                assert (await connect("?ssl_cert_reqs=none")).errors == []
                assert "certificate" in (await connect("")).errors[0]

        run(main())

    def test_what_answers_but_is_not_redis_is_left(self, tmp_path: Path) -> None:
        async def main() -> None:
            path = str(tmp_path / "s")

            async def babble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

            server = await asyncio.start_unix_server(babble, path)
            watcher = Watcher()
            link = Link(f"unix://{path}", shipped_scripts(), StoreCounters(), watcher, deadline_s=1.0)
            link.start()
            await until(lambda: len(watcher.errors) > 0)
            assert "not Redis" in watcher.errors[0]
            await link.close()
            server.close()

        run(main())

    def test_close_lets_replies_come_in(self, redis_server: PrivateRedis) -> None:
        async def main() -> None:
            replies = Replies()
            async with bench(redis_server) as b:
                b.link.plain(command(b"ECHO", b"last"), replies, None)
            assert replies.told == [(None, b"last")]

        run(main())


class TestAddress:
    def test_urls(self) -> None:
        plain = address_of("redis://:pw@store.example:6380/2")
        assert (plain.host, plain.port, plain.path, plain.tls) == ("store.example", 6380, "", None)
        assert plain.greeting == (command(b"AUTH", b"pw"), command(b"SELECT", b"2"))
        named = address_of("rediss://user:pw@store.example")
        assert named.tls is not None
        assert named.tls.check_hostname
        assert named.greeting == (command(b"AUTH", b"user", b"pw"),)
        assert not address_of("rediss://h?ssl_cert_reqs=none").tls.check_hostname  # type: ignore[union-attr]
        assert address_of("unix:///run/redis.sock").path == "/run/redis.sock"

    @pytest.mark.parametrize(
        "url", ["http://h/", "redis://h:notaport/", "rediss://h?ssl_ca_certs=/nowhere/ca"]
    )
    def test_a_url_that_is_none_is_not_repeated(self, url: str) -> None:
        with pytest.raises(ValueError) as told:
            address_of(url)
        assert url not in str(told.value)
