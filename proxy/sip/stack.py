"""The transaction layer: finds the transaction a message belongs to and runs its machine (RFC 3261 §17, RFC 6026).

What each machine does stands in its table; here the tables are read, with ints and tuples only, and messages matched.
One process, one thread; nothing here waits. The out-list gets `Transmit`s; everything else is a call of the user.

Not here: what to do about merged requests (RFC 3261 §8.2.2.2). That rule is for a UAS core, which asks by
`claim_identity`. A proxy must not answer 482 to the second copy of a forked request, for both may be on their way to
different targets; loops are §16.3 step 4's, the engine's.
"""

from __future__ import annotations

from typing import Any, Final

from proxy.sip import client_invite, client_other, server_invite, server_other
from proxy.sip.flow import Flow
from proxy.sip.fsm import REQUEST, STATE_MASK, TRANSPORT_ERROR, Action, Machine, Plan
from proxy.sip.ids import MAGIC
from proxy.sip.message import Request, Response
from proxy.sip.outputs import Transmit
from proxy.sip.rfc2543 import acknowledges, server_key
from proxy.sip.serialise import ack_for
from proxy.sip.timers import Handler, Timers
from proxy.sip.transaction import (
    ClientTransaction,
    Counters,
    ServerTransaction,
    Sink,
    TimerConfig,
    TransactionUser,
)

__all__ = [
    "ClientTransaction",
    "Counters",
    "ServerTransaction",
    "Sink",
    "Stack",
    "TimerConfig",
    "TransactionUser",
]

# Plain ints: an enum member would be looked up and boxed for each message.
_SEND: Final = int(Action.SEND)
_KEEP: Final = int(Action.KEEP)
_RESEND: Final = int(Action.RESEND)
_ACK: Final = int(Action.ACK)
_FORGET: Final = int(Action.FORGET)
_BACKOFF: Final = int(Action.BACKOFF)
_EXPIRE: Final = int(Action.EXPIRE)
_PASS: Final = int(Action.PASS)
_TIMEOUT: Final = int(Action.TIMEOUT)
_START: Final = int(Action.BACKOFF | Action.SLOW | Action.EXPIRE)
_TELL: Final = int(Action.PASS | Action.TIMEOUT | Action.ERROR)
_WORK: Final = ~(_TELL | STATE_MASK)
_CANCELLED: Final = int(client_invite.Input.CANCELLED)
_ACKED: Final = int(server_invite.Input.ACK)
_ABANDON: Final = int(server_other.Input.ABANDON)


class Stack:
    """All transactions of one process. Every method takes `now`: monotonic seconds, never going back."""

    __slots__ = (
        "_cancels",
        "_client_invite",
        "_client_other",
        "_clients",
        "_identities",
        "_pending",
        "_server_invite",
        "_server_other",
        "_servers",
        "_servers_hard",
        "_servers_max",
        "_user",
        "counters",
        "out",
    )

    def __init__(
        self,
        user: TransactionUser,
        timers: Timers,
        out: Sink,
        config: TimerConfig,
        counters: Counters,
    ) -> None:
        self._user = user
        self.out = out
        """Where `Transmit`s are appended; may be replaced by another list between two events."""
        self.counters = counters
        # Keyed by method, branch and sent-by; a client transaction by its branch, a CANCEL's apart (§17.1.3 rule 2).
        self._servers: dict[str, ServerTransaction] = {}
        self._clients: dict[str, ClientTransaction] = {}
        # Of server transactions whose user claimed one, while they last.
        self._identities: set[str] = set()
        self._cancels: dict[str, ClientTransaction] = {}
        # The pending client transactions of each connection, to fail with it. Not for UDP, which has none to lose.
        self._pending: dict[Flow, set[ClientTransaction]] = {}
        self._servers_max = config.transactions_max
        # Requests in a dialog and CANCEL end more than they begin: they may use an eighth more.
        self._servers_hard = config.transactions_max + config.transactions_max // 8

        def plans(machine: Machine, handler: Handler) -> tuple[Plan, Plan]:
            return (
                Plan(machine, False, config, timers, handler),
                Plan(machine, True, config, timers, handler),
            )

        # Each a pair, indexed by `flow.reliable`.
        self._client_invite = plans(client_invite.MACHINE, self._client)
        self._client_other = plans(client_other.MACHINE, self._client)
        self._server_invite = plans(server_invite.MACHINE, self._server)
        self._server_other = plans(server_other.MACHINE, self._server)

    # From the network

    def receive(self, message: Request | Response, flow: Flow, now: float) -> None:
        """One parsed message from the network: at most one call of the user's `on_…`, none for a retransmission."""
        if isinstance(message, Response):
            self._response(message, flow, now)
            return
        method = message.method
        via = message.via
        branch = via.branch
        # RFC 3261 §17.2.3: branch, sent-by and method make the match; an ACK is matched as the INVITE it ends.
        if branch[:7] == MAGIC:
            name = "INVITE" if method == "ACK" else method
            key = f"{name} {branch} {via.host.lower()} {via.port}"
            txn = self._servers.get(key)
        elif method == "ACK":
            key, txn = "", self._invite_of(message)
        else:
            key = server_key(message, method, message.to_tag)
            txn = self._servers.get(key)
        if method == "ACK":
            # RFC 6026 §7.1: one that meets a 2xx goes to the user, as does one that meets nothing.
            if txn is None or self._server(txn, _ACKED, now) & _PASS:
                self._user.on_ack(message, flow, now)
        elif txn is not None:
            self.counters.retransmissions_received += 1
            self._server(txn, REQUEST, now)
        elif len(self._servers) >= self._servers_max and self._full(message):
            self.counters.overloads += 1
            self._user.on_overload(message, flow, now)
        else:
            self._new(message, key, flow, now)

    def _new(self, request: Request, key: str, flow: Flow, now: float) -> None:
        method = request.method
        plan = (self._server_invite if method == "INVITE" else self._server_other)[flow.transport != "UDP"]
        txn = self._servers[key] = ServerTransaction(key, plan, request, flow, now)
        self.counters.started[plan.number] += 1
        if method != "CANCEL":
            self._user.on_request(txn, now)
            return
        # RFC 3261 §9.2: what to cancel is found as if the method were anything but CANCEL or ACK.
        # We differ: only an INVITE is looked for. §9.1 wants nothing else cancelled, and §9.2 has that change nothing.
        self._user.on_cancel(txn, self._servers.get("INVITE" + key[len("CANCEL") :]), now)

    def _full(self, request: Request) -> bool:
        if request.to_tag or request.method == "CANCEL":
            return len(self._servers) >= self._servers_hard
        return True

    def _invite_of(self, ack: Request) -> ServerTransaction | None:
        """The INVITE that an RFC 2543 client's ACK is for. The ACK has the response's To tag, the INVITE maybe none."""
        txn = self._servers.get(server_key(ack, "INVITE", ack.to_tag))
        if txn is None:
            txn = self._servers.get(server_key(ack, "INVITE", ""))
            if txn is not None and not acknowledges(ack, txn.data):
                return None
        return txn

    def _response(self, response: Response, flow: Flow, now: float) -> None:
        # RFC 3261 §17.1.3: branch and CSeq method make the match. Any flow will do: a peer that lost its connection
        # answers over another, and nobody guesses 64 random bits.
        method = response.cseq_method
        txn = (self._cancels if method == "CANCEL" else self._clients).get(response.via.branch)
        # RFC 3261 §8.1.3.3: more Vias than ours in a response to a request of our own: it was misrouted or is corrupt.
        if txn is None or txn.method != method or (txn.own and response.more_vias()):
            self.counters.strays += 1
            self._user.on_stray_response(response, flow, now)
        elif not self._client(txn, txn.plan.by_class[response.status // 100], now, response) & _PASS:
            self.counters.retransmissions_received += 1

    # From the user

    def respond(self, txn: ServerTransaction, status: int, data: bytes, now: float) -> None:
        """The user's response, `data` being the whole message. What comes too late for its machine is dropped.

        A final response makes `txn.request` None; over a stream it ends a non-INVITE transaction: `txn.user` is None.
        """
        self._server(txn, txn.plan.by_class[status // 100], now, data)

    def claim_identity(self, txn: ServerTransaction, identity: str) -> bool:
        """RFC 3261 §8.2.2.2: what copies of a request share is this transaction's until it terminates, once at most.

        False: another one has it, be it answered already.
        """
        if identity in self._identities:
            return False
        self._identities.add(identity)
        txn.identity = identity
        return True

    def disclaim_identity(self, txn: ServerTransaction) -> None:
        """Copies of its request are requests again."""
        self._identities.discard(txn.identity)
        txn.identity = ""

    def abandon(self, txn: ServerTransaction, now: float) -> None:
        """Never answer this non-INVITE request (RFC 4320 §4.2: no 408); its retransmissions meet silence."""
        assert not txn.invite, "an INVITE is answered"
        self._server(txn, _ABANDON, now)

    def forget(self, txn: ServerTransaction, now: float) -> None:
        """A request that was never looked at: no answer, and nothing is left of it. Its retransmission is a new one."""
        if txn.state != txn.plan.terminated:
            txn.state = txn.plan.terminated
            self._drop(txn)
            self._end(txn, now)

    def send(
        self, method: str, data: bytes, branch: str, flow: Flow, user: Any, now: float, own: bool = True
    ) -> ClientTransaction:
        """Sends a request other than ACK in a transaction of its own. `own`: it is not forwarded for anybody.

        A CANCEL takes the branch and flow of its INVITE (RFC 3261 §9.1), which is then given up, by `on_timeout`, when
        no final response comes within 64*T1.
        """
        plan = (self._client_invite if method == "INVITE" else self._client_other)[flow.transport != "UDP"]
        txn = ClientTransaction(method, data, branch, plan, flow, user, own)
        if method == "CANCEL":
            assert branch not in self._cancels, "cancelled twice"
            self._cancels[branch] = txn
            invite = self._clients.get(branch)
            if invite is not None and invite.invite:
                self._client(invite, _CANCELLED, now)
        else:
            assert branch not in self._clients, "a branch is used once"
            self._clients[branch] = txn
        self.counters.started[plan.number] += 1
        self.out.append(Transmit(flow, data))
        for lane, timer in plan.entry[0]:
            lane.add(txn, timer, now)
        if plan.reliable:
            self._pending.setdefault(flow, set()).add(txn)
        return txn

    def flow_failed(self, flow: Flow, now: float) -> None:
        """The connection is gone: `on_transport_error` for each pending client transaction on it.

        Server transactions stay as they are (RFC 6026 §7.1). For a UDP flow (ICMP said so) this walks all client
        transactions: the driver limits how often that may happen.
        """
        failed: list[ClientTransaction]
        if flow.reliable:
            failed = list(self._pending.get(flow, ()))
        else:
            failed = [
                txn for table in (self._clients, self._cancels) for txn in table.values() if txn.flow is flow
            ]
        for txn in failed:
            self._client(txn, TRANSPORT_ERROR, now)

    def flows_in_use(self) -> set[Flow]:
        """The connections that transactions of either side go by. Walks all there are: not for each message."""
        clients = [*self._clients.values(), *self._cancels.values()]
        flows = {txn.flow for txn in clients if txn.plan.reliable}
        return flows | {txn.flow for txn in self._servers.values() if txn.plan.reliable}

    # The machines

    def _client(
        self, txn: ClientTransaction, input_: int, now: float, response: Response | None = None
    ) -> int:
        """Feeds one input to a client machine; also the handler of its timers. Returns the cell of the table."""
        plan = txn.plan
        state = txn.state
        cell = plan.cells[state][input_]
        if cell == state:
            return cell
        if cell & _WORK:
            data = txn.data
            if cell & _ACK and data is not None and response is not None:
                txn.data = data = ack_for(data, response)
                self.out.append(Transmit(txn.flow, data))
            elif cell & _RESEND and data is not None:
                self.counters.retransmissions_sent += 1
                self.out.append(Transmit(txn.flow, data))
            if cell & _FORGET:
                txn.data = None
            if cell & _START:
                self._start(txn, cell, now)
        entered = cell & STATE_MASK
        if entered != state:
            txn.state = entered
            if plan.reliable and entered >= plan.settled > state:
                self._settle(txn)
            if entered == plan.terminated:
                txn.data = None
                del (self._cancels if txn.method == "CANCEL" else self._clients)[txn.branch]
            else:
                for lane, timer in plan.entry[entered]:
                    lane.add(txn, timer, now)
        if cell & _TELL:
            if cell & _PASS:
                assert response is not None
                self._user.on_response(txn, response, now)
            elif cell & _TIMEOUT:
                self._user.on_timeout(txn, now)
            else:
                self._user.on_transport_error(txn, now)
        if entered != state:
            if entered == plan.terminated:
                self._end(txn, now)
            elif plan.at_once[entered] >= 0:
                self._client(txn, plan.at_once[entered], now)
        return cell

    def _server(self, txn: ServerTransaction, input_: int, now: float, data: bytes | None = None) -> int:
        """Feeds one input to a server machine; also the handler of its timers. Returns the cell of the table."""
        plan = txn.plan
        state = txn.state
        cell = plan.cells[state][input_]
        if cell == state:
            return cell
        if cell & _WORK:
            if cell & _SEND and data is not None:
                self.out.append(Transmit(txn.flow, data))
            elif cell & _RESEND and txn.data is not None:
                self.counters.retransmissions_sent += 1
                self.out.append(Transmit(txn.flow, txn.data))
            if cell & _FORGET:
                txn.request = txn.data = None
            if cell & _KEEP:
                txn.data = data
            if cell & _START:
                self._start(txn, cell, now)
        entered = cell & STATE_MASK
        if entered != state:
            txn.state = entered
            if entered == plan.terminated:
                self._drop(txn)
                if cell & _TIMEOUT:
                    self._user.on_ack_timeout(txn, now)
                self._end(txn, now)
            else:
                for lane, timer in plan.entry[entered]:
                    lane.add(txn, timer, now)
                if plan.at_once[entered] >= 0:
                    self._server(txn, plan.at_once[entered], now)
        return cell

    def _drop(self, txn: ServerTransaction) -> None:
        txn.request = txn.data = None
        del self._servers[txn.key]
        if txn.identity:
            self._identities.discard(txn.identity)

    def _start(self, txn: ClientTransaction | ServerTransaction, cell: int, now: float) -> None:
        plan = txn.plan
        if cell & _EXPIRE:
            plan.patience.add(txn, plan.give_up, now)
            return
        last = len(plan.backoff) - 1
        txn.attempt = min(txn.attempt + 1, last) if cell & _BACKOFF else last
        plan.backoff[txn.attempt].add(txn, plan.repeat, now)

    def _settle(self, txn: ClientTransaction) -> None:
        """No longer pending, so no longer failed by its connection."""
        pending = self._pending[txn.flow]
        pending.discard(txn)
        if not pending:
            del self._pending[txn.flow]

    def _end(self, txn: ClientTransaction | ServerTransaction, now: float) -> None:
        """The last of a terminated transaction. Letting go of the user breaks the cycle of the two."""
        plan = txn.plan
        self.counters.ended[plan.number] += 1
        if plan.machine.invite:
            self._user.on_terminated(txn, now)
        txn.user = None
