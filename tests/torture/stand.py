"""A callgate among the parties of the torture messages: who sends them, whom they reach, and a probe.

The messages are fixed bytes with no credentials of ours, and most of them name a From that nobody has. So the service
knows callers by the flow they registered from (`auth: {invite: registered_source}`): whoever sends a message is
registered, with digest, from the socket it leaves by. Whom it is for is reached too: `user` is registered at the
callee's socket, and every other user part is routed there.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from load.processes import Processes
from proxy.engine.digest import answer
from proxy.sip.headers import first_value
from tests.e2e.net import Net, free_port
from tests.e2e.service import PASSWORD, Callgate, Settings, Tariff
from tests.redis import private_redis
from tests.torture.wire import PATIENCE_S, Address, End, Ends, Heard

DOMAINS = [
    "example.com",
    "example.net",
    "example.org",
    "company.com",
    "[2001:db8::10]",
    "[2001:db8::10:5070]",
]
"""Those that ../README names, and the address that RFC 5118 §4.3's REGISTER really is for."""
TARIFFS = {"everybody": Tariff(accounts=("caller", "user", "watson", "j.user", "resource", "null-"))}
CALLEE = "Server: callee"
"""A line in all that the callee answers."""

_HOSTS = itertools.count(200)
_numbers = itertools.count(1)


def settings_of(net: Net, host: str, callee: Address, store_url: str) -> Settings:
    """callgate.yaml. T1 is long, so that nothing is ever sent twice and every message can be counted."""
    return {
        "domains": DOMAINS,
        "listen": [f"udp://{host}:{net.sip_port}", f"tcp://{host}:{net.sip_port}"],
        "store": {"url": store_url, "deadline": "5s", "spool": {"path": "spool"}},
        "metrics": {"listen": f"{host}:{free_port(host)}"},
        "admin": {"socket": "admin.sock"},
        "plans": "plans.yaml",
        "subscribers": "subscribers.yaml",
        "trunks": {"callee": {"targets": [f"sip:{callee[0]}:{callee[1]}"]}},
        "routes": [{"match": ".*", "to": "callee"}],
        "auth": {"invite": "registered_source"},
        "timers": {"t1": "10s", "t2": "40s"},
        "limits": {"loop_lag_max": "10s"},
        # Strange messages by the thousand are what is tried here, and each is to be answered.
        "guard": {"enabled": False},
        "log": {"format": "json"},
    }


class Stand:
    """One callgate and the sockets around it. A `with` block ends both."""

    def __init__(
        self, net: Net, folder: Path, tariffs: Mapping[str, Tariff] = TARIFFS, **settings: Settings
    ) -> None:
        """`settings`: whole sections of callgate.yaml, instead of those above."""
        self._leave = ExitStack()
        self.ends = Ends()
        self._leave.callback(self.ends.close)
        self.callee = self.ends.udp(net.host(next(_HOSTS)))
        self.callee.handler = self._answer
        self.arrived: list[Heard] = []
        """Requests that reached the callee, as they came."""
        self.accepts: dict[str, str] = {}
        """Call-ID → the To tag with which the callee accepts that call; it declines all others."""
        self.rows_host = net.host(next(_HOSTS))
        self._senders: dict[int, End] = {}
        redis = self._leave.enter_context(private_redis())
        processes = self._leave.enter_context(Processes())
        host = net.host(next(_HOSTS))
        usual = settings_of(net, host, (self.callee.host, self.callee.port), redis.url)
        self.service = Callgate(processes, folder, usual | settings, tariffs)
        self.address = (host, net.sip_port)
        self._probe = self.ends.udp(net.host(next(_HOSTS)))
        self._probe_uri = f"sip:{host}:{net.sip_port}"

    def __enter__(self) -> Stand:
        self.service.start()
        self.register(self.callee, "user")
        self.register(self._probe, "caller")
        return self

    def __exit__(self, *_: object) -> None:
        self._leave.close()

    # Sending ---------------------------------------------------------------------------------------------------------

    def sender(self, port: int) -> End:
        """A registered caller's UDP socket at this port; one for all messages that want their answer there."""
        if port not in self._senders:
            self._senders[port] = self.ends.udp(self.rows_host, port)
            self.register(self._senders[port], "caller")
        return self._senders[port]

    def connection(self) -> End:
        """A registered caller's new connection."""
        end = self.ends.tcp(self.rows_host, self.address)
        self.register(end, "caller")
        return end

    def request(self, end: End, method: str, uri: str, *lines: str, call_id: str = "", cseq: int = 1) -> str:
        """A request of this end. `lines`: more of them; From and To where they are not the usual ones."""
        number = next(_numbers)
        text = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/{end.transport} {end.host}:{end.port};rport;branch=z9hG4bKstand{number}",
            "Max-Forwards: 70",
            f"Call-ID: {call_id or f'stand-{number}'}",
            f"CSeq: {cseq} {method}",
            *lines,
        ]
        if not any(line.startswith("To:") for line in lines):
            text.append(f"To: <{uri}>")
        if not any(line.startswith("From:") for line in lines):
            text.append("From: <sip:caller@example.com>;tag=stand")
        return "\r\n".join([*text, "Content-Length: 0", "", ""])

    def ask(self, end: End, message: str) -> Heard:
        """Send it and wait for the final response."""
        return self.ask_bytes(end, message.encode("latin-1"))

    def ask_bytes(self, end: End, message: bytes) -> Heard:
        call_id = Heard(message).call_id
        before = len(end.responses(call_id))
        end.send(message, self.address)
        came = self.ends.until(lambda: len(end.responses(call_id)) > before)
        assert came, f"no answer within {PATIENCE_S:g} s to:\n{message!r}\n{self.service.running.tail(40)}"
        response = end.responses(call_id)[before]
        end.inbox = [one for one in end.inbox if one.call_id != call_id]
        return response

    def register(self, end: End, user: str, *lines: str) -> Heard:
        """REGISTER with digest. `lines`: Contact, Expires; by default one contact wherever it registers from."""
        uri = "sip:example.com"
        contact = f"Contact: <sip:{user}@{end.host}>"
        head = (f"To: <sip:{user}@example.com>", *(lines or (contact,)))
        challenge = self.ask(end, self.request(end, "REGISTER", uri, *head))
        response = self.ask(end, self.request(end, "REGISTER", uri, *head, credentials(challenge, user, uri)))
        assert response.status == 200, response
        return response

    def acknowledge(self, end: End, response: Heard, uri: str) -> None:
        """The ACK for a final response other than 2xx (RFC 3261 §17.1.1.3)."""
        top = first_value(response.value("via"))
        lines = [
            f"ACK {uri} SIP/2.0",
            f"Via: {re.sub(r';received=[0-9.]+$', '', top)}",
            *[line for key in ("from", "to", "call-id") for line in response.all(key)],
            f"CSeq: {response.value('cseq').split()[0]} ACK",
            "Content-Length: 0",
        ]
        end.send("\r\n".join([*lines, "", ""]).encode("latin-1"), self.address)

    # The callee ------------------------------------------------------------------------------------------------------

    def _answer(self, request: Heard, source: Address) -> None:
        self.arrived.append(request)
        if request.method == "ACK":
            return
        tag = self.accepts.get(request.call_id) if request.method == "INVITE" else None
        status = "486 Busy Here" if request.method == "INVITE" and tag is None else "200 OK"
        to = request.value("to")
        lines = [
            f"SIP/2.0 {status}",
            *[line for key in _ANSWERED for line in request.all(key)],
            f"To: {to}" if re.search(r">.*;tag=|^[^<]*;tag=", to) else f"To: {to};tag={tag or 'callee'}",
            f"Contact: <sip:callee@{self.callee.host}:{self.callee.port}>",
            CALLEE,
            "Content-Length: 0",
        ]
        self.callee.send("\r\n".join([*lines, "", ""]).encode("latin-1"), source)

    def arrivals(self, call_id: str) -> list[Heard]:
        """What of this call reached the callee, but ACKs."""
        return [one for one in self.arrived if one.call_id == call_id and one.method != "ACK"]

    # Looking ---------------------------------------------------------------------------------------------------------

    def probe(self) -> None:
        """callgate answers an OPTIONS, and has done all that came before.

        The two that are relayed to `user` go by the store, as a call's two admissions do, and over the same connection
        to it: when they are answered, nothing that an earlier message asked for is still to come.
        """
        options = self.ask(self._probe, self.request(self._probe, "OPTIONS", self._probe_uri))
        assert options.status == 200
        assert options.value("allow")
        for _ in range(2):
            uri = "sip:user@example.com"
            assert self.ask(self._probe, self.request(self._probe, "OPTIONS", uri)).status == 200

    def counted(self) -> tuple[int, int]:
        """callgate's own counts: messages it has sent to anybody, and internal errors."""
        page = self.service.get("/metrics")[1]
        sent = re.findall(
            r'^callgate_(?:requests|responses)_total{.*direction="out".*} (\S+)$', page, re.MULTILINE
        )
        errors = re.findall(r"^callgate_internal_errors_total (\S+)$", page, re.MULTILINE)
        assert len(sent) > 10, page
        return int(sum(map(float, sent))), int(float(*errors))


_ANSWERED = ("via", "record-route", "from", "call-id", "cseq")


def credentials(challenge: Heard, user: str, uri: str, method: str = "REGISTER") -> str:
    """The Authorization line that answers a 401."""
    assert challenge.status == 401
    value = answer(challenge.value("www-authenticate"), user, PASSWORD, method, uri, "stand")
    assert value is not None
    return f"Authorization: {value}"
