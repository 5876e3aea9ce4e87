"""A Redis Cluster behind the same `call` as one link: a link to each master, each command by the slot of its first key.

Commands of one payer go to one link, so their order holds. Each node has a breaker of its own: one that is away costs
its own payers the store, and nobody else's. Who has which slot is asked at the start, every SURVEY_S, and at once when
a node says MOVED, says that it does not serve a slot, or goes; of what most of the nodes answer the view with the
highest epoch counts. What a node did not take, because its slot has moved or is moving, goes on by policies/detour.py.

The servers should not require full coverage (`cluster-require-full-coverage no`), or one master without a replica that
dies stops all. Not here: reading from replicas, for every script writes.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Final

from config.store_url import ServersUrl
from policies.address import address_of
from policies.asking import Asker, most
from policies.counters import BreakerState, StoreCounters, StoreError
from policies.detour import Astray, Detours
from policies.link import Link
from policies.scripts import Scripts
from policies.slots import SLOTS, View, slot_of, view_of
from policies.store import Callback, LinkUser

SURVEY_S: Final = 10.0
"""Between looks at who has which slot while all is well."""
TROUBLE_S: Final = 1.0
"""The same while a node is away: its replica may have become master."""
SURVEY_PAUSE_S: Final = 0.1
"""At least, between two looks."""
KEPT_S: Final = 60.0
"""A node that has no slots any more, or none yet, keeps its link for so long."""
_DOWN: Final = "CLUSTERDOWN The cluster is down"
"""Most masters are away, or this node was and has not heard of the others yet; or a slot is served by nobody, and full
coverage is required. Not so "Hash slot not served", which is about one slot."""
_AGAIN: Final = ("TRYAGAIN", "CLUSTERDOWN", "LOADING", "MASTERDOWN")


class Node:
    """One master and the link to it."""

    def __init__(self, cluster: Cluster, host: str, port: int) -> None:
        self.cluster = cluster
        self.host = host
        self.port = port
        self.tried = False
        """It came up once, or could not be reached."""
        self.retired = False
        """It is one no more; what it says is of no interest."""
        self.wanted_at = 0.0
        """Loop time at which it had slots, or was to get some."""
        self.counters = cluster.counters.of_node()
        self.link = Link(
            cluster.url.server(host, port),
            cluster.scripts,
            self.counters,
            self,
            deadline_s=cluster.deadline_s,
            elsewhere=self,
        )
        self.link.start()

    def on_link_up(self) -> None:
        self.tried = True
        self.cluster.on_node_up()

    def on_link_down(self, why: str) -> None:
        if not self.retired:
            self.cluster.on_node_down(f"{self.host}:{self.port}: {why}")

    def on_link_error(self, text: str) -> None:
        self.tried = True
        if not self.retired:
            self.cluster.on_node_error(f"{text} ({self.host}:{self.port})")

    def sent_on(
        self, text: str, due: float, packed: bytes, callback: Callback, context: Any, late: Callback | None
    ) -> bool:
        """See Elsewhere."""
        kind = text.partition(" ")[0]
        if kind not in ("MOVED", "ASK", *_AGAIN):
            return False
        detours = self.cluster.detours
        if isinstance(context, Astray):
            astray = context
            detours.join_again(astray, self.link)
        elif packed:
            astray = detours.come_back(self.link, due, packed, callback, context, late)
        else:
            return False
        self.cluster.redirect(self, astray, kind, text)
        return True


class Cluster:
    """All nodes, from `start` to `close` (policies.store.Store)."""

    def __init__(
        self, url: ServersUrl, scripts: Scripts, counters: StoreCounters, user: LinkUser, *, deadline_s: float
    ) -> None:
        """Raises: ValueError for a URL that is none. Needs a running loop."""
        self.up = False
        """Some node takes commands, and each was tried."""
        self.replaceable = True
        self.url = url
        self.scripts = scripts
        self.counters = counters
        self.deadline_s = deadline_s
        self._user = user
        self._seeds = [address_of(url.server(host, port)) for host, port in url.hosts]
        self._loop = asyncio.get_running_loop()
        self._nodes: dict[tuple[str, int], Node] = {}
        self._map: list[Node | None] = [None] * SLOTS
        self._view: View | None = None
        """What the map was made of; None = it was changed since."""
        self._stale = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self.detours = Detours(self._link_of, counters, deadline_s)
        counters.breaker = BreakerState.OPEN

    def start(self) -> None:
        """Learn who has which slot, and connect to them. LinkUser.on_link_up follows."""
        self._keeping = self._loop.create_task(self._keep_map())

    async def close(self) -> None:
        """Let replies that are under way come in, for one deadline at most, and hang up for good."""
        self.up = False
        if self._keeping is not None:
            keeping, self._keeping = self._keeping, None
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        await asyncio.gather(*(node.link.close() for node in self._nodes.values()), *self._closing)
        self.detours.close()

    # Commands

    def call(self, packed: bytes, callback: Callback, context: Any, late: Callback | None = None) -> bool:
        """See Store.call."""
        slot = slot_of(packed)
        node = self._map[slot]
        if node is None or not node.link.up or slot in self.detours.slots:
            return self._detour(slot, node, packed, callback, context, late)
        return node.link.call(packed, callback, context, late)

    def plain(self, packed: bytes, callback: Callback, context: Any, late: Callback | None = None) -> bool:
        """See Store.plain."""
        slot = slot_of(packed)
        node = self._map[slot]
        if node is None or not node.link.up or slot in self.detours.slots:
            return self._detour(slot, node, packed, callback, context, late)
        return node.link.plain(packed, callback, context, late)

    def _detour(
        self,
        slot: int,
        node: Node | None,
        packed: bytes,
        callback: Callback,
        context: Any,
        late: Callback | None,
    ) -> bool:
        # A node that we have just heard of, because the slot went there, is worth waiting for.
        if node is not None and slot in self.detours.slots and (node.link.up or not node.tried):
            return self.detours.join(slot, packed, callback, context, late)
        self.counters.errors[StoreError.BREAKER] += 1
        return False

    def _link_of(self, slot: int) -> Link | None:
        node = self._map[slot]
        return node.link if node is not None else None

    def redirect(self, node: Node, astray: Astray, kind: str, text: str) -> None:
        """A node did not take a command: `text` is MOVED or ASK with slot and address, or to try again."""
        target = None if kind in _AGAIN else self._named(text, node)
        if kind == "MOVED" and target is not None:
            self._map[astray.slot] = target
            self._view = None
        if kind in ("MOVED", "CLUSTERDOWN"):
            self._stale.set()
        if text == _DOWN:
            node.link.suspend(f"it says {_DOWN}")
        asked = target.link if kind == "ASK" and target is not None else None
        self.detours.point(astray, asked, again=target is None)

    def _named(self, text: str, node: Node) -> Node | None:
        """The node in `MOVED <slot> <host>:<port>`; without a host it is where `node` is."""
        host, _, port = text.rpartition(" ")[2].rpartition(":")
        try:
            return self._node(host or node.host, int(port))
        except ValueError:
            return None

    # Nodes

    def _node(self, host: str, port: int) -> Node:
        node = self._nodes.get((host, port))
        if node is None:
            node = self._nodes[host, port] = Node(self, host, port)
        node.wanted_at = self._loop.time()
        return node

    def on_node_up(self) -> None:
        # Told of each node: what waited for its return is tried again.
        if self.up or self._comes_up():
            self._user.on_link_up()

    def on_node_down(self, why: str) -> None:
        self._stale.set()
        if not self.up:
            return
        self.up = any(node.link.up for node in self._nodes.values())
        if self.up:
            self._user.on_link_error(f"a node is away: {why}")
        else:
            self._user.on_link_down(why)

    def on_node_error(self, text: str) -> None:
        self._user.on_link_error(text)
        if not self.up and self._comes_up():
            self._user.on_link_up()

    def _comes_up(self) -> bool:
        nodes = self._nodes.values()
        ready = all(node.tried for node in nodes) and any(node.link.up for node in nodes)
        self.up = ready and self._keeping is not None
        return self.up

    # Who has which slot

    async def _keep_map(self) -> None:
        while True:
            self._stale.clear()
            try:
                self._take(await self._survey())
                await self._resume()
            except (OSError, ValueError) as error:
                self.counters.errors[StoreError.CONNECTION] += 1
                self._user.on_link_error(f"cannot learn who has which slot: {error}")
            whole = self._view is not None and all(node.link.up for node in self._nodes.values())
            try:
                await asyncio.wait_for(self._stale.wait(), SURVEY_S if whole else TROUBLE_S)
            except TimeoutError:
                pass
            await asyncio.sleep(SURVEY_PAUSE_S)

    async def _survey(self) -> View:
        """Raises: OSError when nobody answers."""
        known = [*self._nodes, *((seed.host, seed.port) for seed in self._seeds)]
        askers = [self._asker(host, port) for host, port in dict.fromkeys(known)]
        try:
            return max(await most([view_of(asker) for asker in askers]), key=lambda view: view.rank)
        finally:
            for asker in askers:
                asker.close()

    def _asker(self, host: str, port: int) -> Asker:
        return Asker(replace(self._seeds[0], host=host, port=port))

    async def _resume(self) -> None:
        """Ask those that would do nothing whether they would by now."""
        for node in [node for node in self._nodes.values() if node.link.suspended]:
            asker = self._asker(node.host, node.port)
            try:
                if (await view_of(asker)).ok:
                    node.link.resume()
            except OSError:
                continue
            finally:
                asker.close()

    def _take(self, view: View) -> None:
        if view != self._view:
            leaving: dict[Node, list[int]] = {}
            for first, last, host, port in view.owners:
                node = self._node(host, port)
                for slot in range(first, last + 1):
                    old = self._map[slot]
                    if old is node or (old is not None and old.link.up and not node.tried):
                        # To one that is not connected yet, the old one's MOVED leads, and on a detour it is waited for.
                        continue
                    self._map[slot] = node
                    if old is not None and not old.link.idle:
                        leaving.setdefault(old, []).append(slot)
            for old, slots in leaving.items():
                self.detours.begin(slots, old.link)
            self._view = view
        if not view.ok:
            for node in self._nodes.values():
                node.link.suspend("the Cluster is down: most masters are away, or a slot is served by nobody")
        now = self._loop.time()
        owners = {(host, port) for _, _, host, port in view.owners}
        for place, node in list(self._nodes.items()):
            if place in owners:
                node.wanted_at = now
            elif not node.link.up or now - node.wanted_at > KEPT_S:
                self._retire(place, node)

    def _retire(self, place: tuple[str, int], node: Node) -> None:
        del self._nodes[place]
        node.retired = True
        self.counters.nodes.remove(node.counters)
        self._map = [None if owner is node else owner for owner in self._map]
        closing = self._loop.create_task(node.link.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
