"""A Cluster of three real nodes behind one `call`: slots that move under traffic, nodes that die, order, deadlines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop

from config.store_url import servers_of
from policies import keys
from policies.cluster import Cluster
from policies.counters import BreakerState, StoreCounters
from policies.keys import command
from policies.scripts import shipped_scripts
from policies.slots import slot_of as slot_of_command
from policies.store import NO_REPLY
from tests import servers
from tests.policies.linked import Replies, Watcher, beside, redirects_of, until
from tests.servers import ClusterNode, cluster_of, make_certificate, payers_on, slot_of


class Bench:
    """A Cluster as callgate sees it, and what is known of it."""

    def __init__(self, cluster: Cluster, watcher: Watcher, counters: StoreCounters) -> None:
        self.cluster = cluster
        self.watcher = watcher
        self.counters = counters
        self.redirects = redirects_of(cluster)

    async def ask(self, *arguments: bytes) -> Any:
        replies = Replies()
        assert self.cluster.plain(command(*arguments), replies, None)
        await replies.count(1)
        return replies.told[0][1]

    async def ask_until_answered(self, *arguments: bytes) -> Any:
        """Who has come back needs a while to hear of the others."""
        replies = Replies()
        while True:
            if self.cluster.plain(command(*arguments), replies, None):
                await replies.count(len(replies.told) + 1)
                if replies.told[-1][1] is not NO_REPLY:
                    return replies.told[-1][1]
            await asyncio.sleep(0.01)


@asynccontextmanager
async def linked(url: str, deadline_s: float = 2.0) -> AsyncIterator[Bench]:
    watcher, counters = Watcher(), StoreCounters()
    named = servers_of(url)
    assert named is not None
    cluster = Cluster(named, shipped_scripts(), counters, watcher, deadline_s=deadline_s)
    cluster.start()
    made = Bench(cluster, watcher, counters)
    await until(lambda: cluster.up or len(watcher.errors) > 0)
    try:
        yield made
    finally:
        await cluster.close()


def key(payer: str, name: str = "list") -> bytes:
    return f"cg:{{{payer}}}:{name}".encode()


class TestSlots:
    def test_a_command_is_of_the_slot_of_its_first_key(self, nodes: servers.Cluster) -> None:
        scripts, node = shipped_scripts(), nodes.nodes[0]
        for payer in ("alice", "group bob", "a}b{c", "{}", "ünï"):
            name = f"cg:{{{payer}}}:softphone:state"
            wanted = node.ask("CLUSTER", "KEYSLOT", name)
            script = keys.evalsha(scripts.admit, 5) + keys.call_keys(payer, "softphone") + keys.number(1)
            assert slot_of_command(script) == wanted
            assert slot_of_command(command(b"HGET", name.encode(), b"field")) == wanted
        assert slot_of_command(command(b"GET", b"cg:source:{")) == node.ask(
            "CLUSTER", "KEYSLOT", "cg:source:{"
        )
        assert slot_of_command(command(b"PING")) == 0

    def test_each_command_reaches_the_node_that_has_its_slot(self, nodes: servers.Cluster) -> None:
        async def main() -> None:
            async with linked(nodes.url.rpartition(",")[0]) as b:  # one of the nodes is found by the others
                payers = [f"payer{n}" for n in range(300)]
                replies = Replies()
                for payer in payers:
                    assert b.cluster.plain(command(b"SET", key(payer), payer.encode()), replies, payer)
                await replies.count(300)
                assert {reply for _, reply in replies.told} == {b"OK"}
                for payer in payers:
                    assert nodes.node_of(payer).ask("GET", key(payer).decode()) == payer.encode()
                assert b.redirects == []
                assert b.counters.breakers() == [BreakerState.CLOSED] * 3

        uvloop.run(main())


class TestMoves:
    def test_commands_of_a_slot_that_moves_are_carried_out_once_and_in_order(
        self, nodes: servers.Cluster
    ) -> None:
        async def main() -> None:
            async with linked(nodes.url, deadline_s=10.0) as b:
                payers = [name for node in nodes.nodes for name in payers_on(node, 2)]
                sent = dict.fromkeys(payers, 0)
                replies, moving = Replies(), True

                async def traffic() -> None:
                    while moving:
                        for payer in payers:
                            for _ in range(3):
                                packed = command(b"RPUSH", key(payer), b"%d" % sent[payer])
                                assert b.cluster.plain(packed, replies, payer)
                                sent[payer] += 1
                        # As much as is answered, however busy this machine is.
                        await until(lambda: sum(sent.values()) - len(replies.told) < 1000)

                talking = asyncio.create_task(traffic())
                for turn in range(1, 7):
                    for n, payer in enumerate(payers):
                        await beside(nodes.move, slot_of(payer), nodes.nodes[(n // 2 + turn) % 3])
                moving = False
                await talking
                await replies.count(sum(sent.values()))
                assert not any(reply is NO_REPLY for _, reply in replies.told)
                for payer in payers:
                    found = nodes.node_of(payer).ask("LRANGE", key(payer).decode(), 0, -1)
                    assert [int(value) for value in found] == list(range(sent[payer]))
                assert {"MOVED", "ASK"} <= set(b.redirects)
                await until(lambda: not b.cluster.detours.slots)

        uvloop.run(main())

    def test_a_slot_goes_to_a_node_that_was_not_there_before(self) -> None:
        async def main() -> None:
            with cluster_of() as nodes:
                async with linked(nodes.url, deadline_s=5.0) as b:
                    (payer,) = payers_on(nodes.nodes[0], 1)
                    await b.ask(b"RPUSH", key(payer), b"0")
                    added = nodes.add_master()
                    replies = Replies()
                    source = nodes.begin_move(slot_of(payer), added)
                    nodes.move_keys(slot_of(payer), source, added)
                    for n in (b"1", b"2"):
                        assert b.cluster.plain(command(b"RPUSH", key(payer), n), replies, n)
                    await replies.count(2)
                    assert "ASK" in b.redirects
                    nodes.end_move(slot_of(payer), source, added)
                    for n in (b"3", b"4"):
                        assert b.cluster.plain(command(b"RPUSH", key(payer), n), replies, n)
                    await replies.count(4)
                    assert [reply for _, reply in replies.told] == [2, 3, 4, 5]
                    assert b.counters.breakers() == [BreakerState.CLOSED] * 4

        uvloop.run(main())

    def test_a_script_of_a_slot_between_two_nodes_waits_until_it_has_moved(
        self, nodes: servers.Cluster
    ) -> None:
        async def main() -> None:
            async with linked(nodes.url, deadline_s=5.0) as b:
                (payer,), target = payers_on(nodes.nodes[0], 1), nodes.nodes[1]
                slot = slot_of(payer)
                await b.ask(b"SET", key(payer, "one"), b"1")
                source = nodes.begin_move(slot, target)
                replies = Replies()
                b.cluster.plain(
                    command(b"MSETNX", key(payer, "one"), b"2", key(payer, "two"), b"2"), replies, "both"
                )
                b.cluster.plain(command(b"RPUSH", key(payer), b"behind it"), replies, "next")
                await until(lambda: "TRYAGAIN" in b.redirects)
                nodes.move_keys(slot, source, target)
                await until(lambda: "ASK" in b.redirects)
                assert replies.told == []
                nodes.end_move(slot, source, target)
                await replies.count(2)
                assert replies.told == [("both", 0), ("next", 1)]
                assert target.ask("GET", key(payer, "one").decode()) == b"1"
                assert await b.ask(b"GET", key(payer, "one")) == b"1"

        uvloop.run(main())

    def test_a_slot_that_stays_between_two_nodes_costs_a_deadline_and_nothing_else(
        self, nodes: servers.Cluster
    ) -> None:
        async def main() -> None:
            async with linked(nodes.url, deadline_s=0.1) as b:
                (payer, other), target = payers_on(nodes.nodes[0], 2), nodes.nodes[1]
                slot = slot_of(payer)
                await b.ask(b"SET", key(payer, "one"), b"1")
                source = nodes.begin_move(slot, target)
                replies, late = Replies(), Replies()
                packed = command(b"MSETNX", key(payer, "one"), b"2", key(payer, "two"), b"2")
                for n in range(3):
                    assert b.cluster.plain(packed, replies, n, late)
                assert await b.ask(b"SET", key(other), b"1") == b"OK"
                await replies.count(3)
                assert sorted(n for n, _ in replies.told) == [0, 1, 2]
                assert {reply for _, reply in replies.told} == {NO_REPLY}
                nodes.end_move(slot, target, source)  # the operator thought better of it
                assert await b.ask(b"GET", key(payer, "one")) == b"1"
                assert late.told == []  # it was never carried out
                await until(lambda: not b.cluster.detours.slots)

        uvloop.run(main())


class TestNodes:
    def test_a_node_that_dies_costs_its_own_payers_the_store_and_nobody_elses(
        self, nodes: servers.Cluster
    ) -> None:
        async def main() -> None:
            async with linked(nodes.url) as b:
                gone = nodes.nodes[1]
                (lost,), (kept,) = payers_on(gone, 1), payers_on(nodes.nodes[2], 1)
                await b.ask(b"SET", key(lost), b"1")
                gone.stop()
                await until(lambda: not b.cluster.plain(command(b"GET", key(lost)), Replies(), None))
                assert sorted(state.value for state in b.counters.breakers())[:2] == ["closed", "closed"]
                assert b.cluster.up
                assert not b.counters.away()
                # For longer than the others take to call it dead: they go on.
                for _ in range(30):
                    assert await b.ask(b"RPUSH", key(kept), b"1") is not NO_REPLY
                    await beside(nodes.nodes[0].ask, "CLUSTER", "INFO")
                    await asyncio.sleep(0.05)
                assert any("a node is away" in text for text in b.watcher.errors)
                gone.start()
                assert await b.ask_until_answered(b"GET", key(lost)) == b"1"
                assert b.counters.breakers() == [BreakerState.CLOSED] * 3

        uvloop.run(main())

    def test_all_nodes_gone_is_the_store_away(self) -> None:
        async def main() -> None:
            with cluster_of() as nodes:
                async with linked(nodes.url) as b:
                    nodes.stop()
                    await b.watcher.down.wait()
                    assert not b.cluster.up
                    assert b.counters.away()
                    for node in nodes.nodes:
                        node.start()
                    await until(lambda: b.counters.breakers() == [BreakerState.CLOSED] * 3)
                    nodes.settled()
                    assert await b.ask(b"SET", key("alice"), b"1") == b"OK"

        uvloop.run(main())

    def test_a_cluster_that_serves_nobody_until_it_is_whole_is_the_store_away(self) -> None:
        """Redis's default, cluster-require-full-coverage: one master without a replica dies, and all serve nobody."""

        async def main() -> None:
            with cluster_of(whole="yes") as nodes:
                async with linked(nodes.url, deadline_s=0.1) as b:
                    (kept,) = payers_on(nodes.nodes[2], 1)
                    nodes.nodes[0].stop()
                    b.watcher.down.clear()
                    replies = Replies()
                    while not b.watcher.down.is_set():
                        b.cluster.plain(command(b"RPUSH", key(kept), b"1"), replies, None)
                        await asyncio.sleep(0.02)
                    assert "the Cluster is down" in b.watcher.reasons[-1]
                    assert b.counters.away()
                    assert not b.cluster.plain(command(b"GET", key(kept)), Replies(), None)
                    carried_out = [reply for _, reply in replies.told if reply is not NO_REPLY]
                    nodes.nodes[0].start()
                    await b.watcher.up.wait()
                    assert await b.ask_until_answered(b"LLEN", key(kept)) == len(carried_out)

        uvloop.run(main())

    def test_a_replica_that_becomes_master_is_found(self) -> None:
        async def main() -> None:
            with cluster_of() as nodes:
                replica: ClusterNode = nodes.add_replica(nodes.nodes[0])
                (payer,) = payers_on(nodes.nodes[0], 1)
                async with linked(nodes.url) as b:
                    await b.ask(b"SET", key(payer), b"1")
                    servers.wait_for("it is replicated", lambda: replica.ask("INFO", "keyspace").get("db0"))
                    nodes.nodes[0].stop()
                    await until(lambda: not b.cluster.plain(command(b"GET", key(payer)), Replies(), None))
                    b.watcher.up.clear()
                    await b.watcher.up.wait()
                    assert await b.ask_until_answered(b"GET", key(payer)) == b"1"
                    assert b.counters.breakers() == [BreakerState.CLOSED] * 3
                    b.watcher.up.clear()

        uvloop.run(main())

    def test_scripts_flushed_at_one_node_are_loaded_again(self, nodes: servers.Cluster) -> None:
        async def main() -> None:
            async with linked(nodes.url) as b:
                nodes.nodes[1].ask("SCRIPT", "FLUSH")
                head = keys.evalsha(shipped_scripts().bindings, 0)
                for node in nodes.nodes:
                    (payer,) = payers_on(node, 1)
                    replies = Replies()
                    assert b.cluster.call(head + keys.bindings_key(payer, "x"), replies, None)
                    await replies.count(1)
                    assert replies.told == [(None, [])]
                assert b.watcher.errors == []

        uvloop.run(main())

    def test_a_server_that_is_no_cluster_is_told(self) -> None:
        async def main() -> None:
            with servers.lone_server() as server:
                async with linked(f"redis+cluster://127.0.0.1:{server.port}") as b:
                    assert not b.cluster.up
                    assert "cluster support disabled" in b.watcher.errors[0]

        uvloop.run(main())

    def test_over_tls_with_certificates_that_are_checked(self, tmp_path: Path) -> None:
        async def main() -> None:
            with cluster_of(tls=make_certificate(tmp_path)) as nodes:
                async with linked(nodes.url) as b:
                    assert b.cluster.up, b.watcher.errors
                    await until(lambda: b.counters.breakers() == [BreakerState.CLOSED] * 3)
                    for payer in ("alice", "bob", "carol"):
                        assert await b.ask(b"SET", key(payer), b"1") == b"OK"
                    await beside(
                        nodes.move,
                        slot_of("alice"),
                        nodes.nodes[(nodes.nodes.index(nodes.node_of("alice")) + 1) % 3],
                    )
                    assert await b.ask(b"GET", key("alice")) == b"1"
                    assert "MOVED" in b.redirects
                async with linked(nodes.url.partition("?")[0]) as b:
                    assert not b.cluster.up
                    assert "certificate" in b.watcher.errors[0]

        uvloop.run(main())
