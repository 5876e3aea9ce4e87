"""What the rooms of the engine share: settings, tables, the stack, and the list that effects are put on.

The rooms (admission, forward, respond, indialog, teardown …) are plain functions with the `Core` as first argument.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from policies.account import Limits, Mode, NoPlan
from policies.catalog import Account, Trunk
from policies.payer import Charge, charge
from policies.reasons import Reason, Row, rows
from policies.resolve import owner_and_member, resolve_payer
from proxy.engine.bindings import Sources
from proxy.engine.call import Call, Running
from proxy.engine.counters import EngineCounters
from proxy.engine.digest import Digest
from proxy.engine.effects import Effect, PlanActivated
from proxy.engine.finding import Finder
from proxy.engine.guard import Guard
from proxy.engine.health import Health
from proxy.engine.nat import NatPings
from proxy.engine.reach import Reach
from proxy.engine.snapshot import Snapshot
from proxy.sip.flow import Flow, FlowTable, Local
from proxy.sip.ids import Ids
from proxy.sip.outputs import Transmit
from proxy.sip.serialise import reply
from proxy.sip.stack import ServerTransaction, Stack
from proxy.sip.timers import Handler, TimerHandle, Timers

SOURCES_MAX: Final = 16_384
"""Source addresses whose trunk is remembered (one dict entry each)."""
CHARGES_MAX: Final = 65_536
"""Accounts, with the Workers of their calls, whose payer is remembered: some 300 bytes each."""


class LocalText:
    """The texts that name one of our sockets in messages, made once."""

    __slots__ = ("local", "record_route", "route_prefix", "sent_by", "via")

    def __init__(self, local: Local) -> None:
        transport = local.transport
        self.local = local
        self.via = f"Via: SIP/2.0/{transport} {local.host}:{local.port};branch="
        self.sent_by = f" {local.host}:{local.port};"
        """How our sent-by stands in a Via line of ours."""
        # RFC 3261 §16.6 step 4: lr always; transport only where it is not the default of the scheme.
        # RFC 7118 §5.2: in URIs WebSocket is "ws", with TLS below it or not.
        scheme_transport = "ws" if transport == "WSS" else transport.lower()
        parameter = "" if transport == "UDP" else f";transport={scheme_transport}"
        self.route_prefix = f"<sip:{local.host}:{local.port}{parameter};lr"
        self.record_route = f"Record-Route: {self.route_prefix}"


class Core:
    """The engine's state. One for each process."""

    __slots__ = (
        "_charges",
        "_limits",
        "_trunks",
        "by_call_id",
        "calls",
        "counters",
        "digest",
        "draining",
        "finder",
        "flows",
        "guard",
        "health",
        "ids",
        "instance",
        "natted",
        "on_ack_overdue",
        "on_branch_failed",
        "on_budget",
        "on_call_duration",
        "on_orphan_due",
        "on_ping",
        "on_replaced",
        "on_session",
        "on_replan",
        "on_timer_c",
        "on_unanswered",
        "ours",
        "out",
        "overloaded",
        "pings",
        "own",
        "own_prefixes",
        "plans_change_at",
        "plans_timer",
        "reach",
        "reasons",
        "replans",
        "rng",
        "relays",
        "running",
        "secret",
        "server_name",
        "sessions",
        "snapshot",
        "sources",
        "stack",
        "texts",
        "tcp_refused",
        "timers",
        "told",
        "wall_offset",
        "watching",
    )

    stack: Stack
    on_timer_c: Handler
    on_unanswered: Handler
    on_branch_failed: Handler
    on_call_duration: Handler
    on_budget: Handler
    on_orphan_due: Handler
    on_ack_overdue: Handler
    on_session: Handler
    on_ping: Handler
    on_replan: Handler
    on_replaced: Handler

    def __init__(
        self,
        snapshot: Snapshot,
        tables: Sequence[FlowTable],
        rng: random.Random,
        timers: Timers,
        instance: str,
        name: str,
        digest: Digest,
    ) -> None:
        self.timers = timers
        self.instance = instance
        """Names this process, new at each start: the numbers of connections belong to it."""
        self.ours = name + instance
        """What the tokens of our calls begin with, and so their leases: whose they are, and of which start."""
        self.digest = digest
        self.sources = Sources()
        """Who registered from which flow through this process."""
        self.secret = b""
        """Signs flow tokens; the engine sets it."""
        self.rng = rng
        self.ids = Ids(rng)
        self.natted = NatPings(self)
        """Phones behind NAT that are pinged."""
        self.out: list[Effect] = []
        self.counters = EngineCounters()
        self.flows = tuple(tables)
        self.texts: dict[Local, LocalText] = {table.local: LocalText(table.local) for table in tables}
        self.own_prefixes = tuple(text.route_prefix for text in self.texts.values())
        self.own = frozenset((local.host.lower(), local.port) for local in self.texts)
        """(host, port) that mean us, as they stand in URIs."""
        first = tables[0].local
        self.server_name = f"{first.host}:{first.port}"
        """The warn-agent of our Warning headers."""
        self.calls: dict[str, Call] = {}
        """By token: every call from admission until its last dialog is gone."""
        self.by_call_id: dict[str, list[Call]] = {}
        self.running: dict[tuple[str, str], Running] = {}
        """By (payer, mode): the legs there are, of calls that ring too."""
        self.replans: deque[tuple[str, str]] = deque()
        """Of these, those whose limits are to be looked at anew."""
        self.plans_change_at = math.inf
        """Unix time at which the first of their limits changes."""
        self.plans_timer: TimerHandle | None = None
        self.told: set[str] = set()
        """Subscribers of whom it was told that a plan is in force for them by itself; those of the catalog at most."""
        self.tcp_refused: dict[tuple[str, int], float] = {}
        """Peers that took no TCP connection where size would have it (oversize.py), until when that is believed."""
        self.finder = Finder()
        self.reach = Reach(self)
        self.health = Health(self)
        self.draining = False
        self.overloaded = False
        self.wall_offset = 0.0
        """Unix time minus engine time, in seconds; the driver keeps it right."""
        self.configure(snapshot)
        self.guard = Guard(self)

    def configure(self, snapshot: Snapshot) -> None:
        """Use this snapshot from now on. What running calls feel of it is replan.py's matter."""
        self.snapshot = snapshot
        config = snapshot.config
        self.reasons: Mapping[Reason, Row] = rows(config.refusals)
        self.sessions = config.session_timers if config.session_timers.enabled else None
        """RFC 4028; None = off."""
        self.pings = config.dialog_ping if config.dialog_ping.enabled else None
        self.relays = config.rtpengine is not None
        """There is an rtpengine for those that want one."""
        self.watching = self.sessions is not None or self.pings is not None
        """Dialogs are watched for being alive: the one test of a call where they are not."""
        self._limits: dict[tuple[str, Mode], Limits | NoPlan] = {}
        self._charges: dict[tuple[str, tuple[str, ...]], Charge] = {}
        self.told &= snapshot.catalog.subscribers.keys()
        self._trunks: dict[str, tuple[Trunk, ...]] = {}

    # Who -------------------------------------------------------------------------------------------------------------

    def trunks_at(self, host: str) -> tuple[Trunk, ...]:
        """The trunks that send from this address (policies.catalog)."""
        trunks = self._trunks
        found = trunks.get(host)
        if found is None:
            if len(trunks) >= SOURCES_MAX:
                trunks.clear()
            found = trunks[host] = self.snapshot.catalog.trunks_at(host)
        return found

    def in_force(self, wall: float, payer: str, mode: Mode) -> Limits | NoPlan:
        """What a payer may do in a mode, resolved once until an activation starts or ends. `wall`: Unix time."""
        key = (payer, mode)
        found = self._limits.get(key)
        if found is None or found.valid_until <= wall:
            catalog = self.snapshot.catalog
            found = self._limits[key] = resolve_payer(catalog, payer, mode, wall)
            if payer not in self.told and catalog.automatic and payer in catalog.subscribers:
                self.told.add(payer)
                self.out.append(PlanActivated(payer, catalog.automatic))
        return found

    def limits_of(self, account: Account, now: float) -> Limits | NoPlan:
        """What the account's subscriber may do in the account's mode: what registrations go by."""
        return self.in_force(now + self.wall_offset, account.subscriber, account.mode)

    def charge_of(self, account: Account, workers: tuple[str, ...], now: float) -> Charge:
        """Who pays a leg of the account in a call that uses these Workers, and what speaks against it. Remembered."""
        key = (account.aor, workers)
        wall = now + self.wall_offset
        found = self._charges.get(key)
        if found is None or found.valid_until <= wall:
            if len(self._charges) >= CHARGES_MAX:
                self._charges.clear()
            in_force = partial(self.in_force, wall)
            found = self._charges[key] = charge(self.snapshot.catalog, account, workers, wall, in_force)
        return found

    def limits_of_payer(self, payer: str, mode: Mode, now: float) -> Limits | None:
        """By the payer's id, as leases know it, for its calls that were left; None = nobody we know."""
        catalog = self.snapshot.catalog
        if owner_and_member(payer)[0] not in catalog.subscribers:
            return None
        found = resolve_payer(catalog, payer, mode, now + self.wall_offset)
        return found if isinstance(found, Limits) else found.of_calls_left()

    def is_own(self, host: str, port: int | None) -> bool:
        """Whether a URI's host and port mean this proxy: one of our sockets, or a domain of ours."""
        return host in self.snapshot.catalog.domains or (host, port or 5060) in self.own

    # Where -----------------------------------------------------------------------------------------------------------

    def flow_to(self, transport: str, host: str, port: int, name: str = "") -> Flow | None:
        """The flow to a numeric address; None when we have no socket of that transport and family.

        `name`: the host name it was found by, which a TLS certificate there must have; "" = none, the address then.
        """
        family = 6 if ":" in host else 4
        for table in self.flows:
            local = table.local
            if local.transport == transport and local.family == family:
                return table.named(host, port, name) if name and transport == "TLS" else table.get(host, port)
        return None

    def flow_beside(self, source: Flow, port: int) -> Flow:
        """Another port of the peer of `source`, from the same socket of ours."""
        for table in self.flows:
            if table.local is source.local:
                return table.get(source.host, port)
        return source

    # Answers of our own ----------------------------------------------------------------------------------------------

    def answer(
        self,
        txn: ServerTransaction,
        status: int,
        phrase: str,
        now: float,
        extra: Sequence[str] = (),
        body: bytes = b"",
    ) -> None:
        """Answer the transaction ourselves. What has been answered already is left as it is."""
        request = txn.request
        if request is None:
            return
        if status > 100:
            data = reply(request, status, phrase, self.ids.tag(), None, extra, body)
        else:
            data = reply(request, status, phrase, "", None, extra, body, now - txn.received_at)
        self.respond(txn, status, data, now)

    def respond(self, txn: ServerTransaction, status: int, data: bytes, now: float) -> None:
        """Send a response, `data` being the whole of it."""
        flow = txn.flow
        if flow.conn and not flow.open and txn.request is not None and flow.transport == "TCP":
            # RFC 3261 §18.2.2: "If that connection is no longer open, the server SHOULD open a connection to the IP
            # address in the "received" parameter, if present, using the port in the "sent-by" value".
            # We differ over TLS, where a client proves no name to be called back by.
            txn.flow = self.flow_beside(flow, txn.request.via.port or 5060)
        self.stack.respond(txn, status, data, now)

    def refusal(self, reason: Reason, limit: str, resets_in_ms: int | None) -> tuple[Row, list[str]]:
        """The row of a refusal and the header lines that go with it (SPEC §4)."""
        row = self.reasons[reason]
        extra = [f'Warning: 399 {self.server_name} "{row.warning(limit, resets_in_ms)}"']
        if row.retry_after or row.status == 503:
            extra.append(f"Retry-After: {math.ceil(self.snapshot.config.limits.retry_after)}")
        elif resets_in_ms is not None:
            # RFC 3261 §20.33: when to try again; the windows of a tariff end at a known second.
            extra.append(f"Retry-After: {max(1, -(-resets_in_ms // 1000))}")
        return row, extra

    def transmit(self, flow: Flow, data: bytes) -> None:
        """Send outside any transaction."""
        self.out.append(Transmit(flow, data))
