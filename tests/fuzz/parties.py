"""Callers, callees, the limiter, the store and the network around tests/fuzz/soup.py: one move for each few octets.

A move is (what, a, b, c), four small numbers; `MOVES` says how often each kind comes. `Parties.natural` does what would
happen anyway, so that calls get far; the other moves disturb them.
"""

from __future__ import annotations

from collections.abc import Callable

from policies.reasons import Reason
from policies.verdicts import (
    Admitted,
    AdmitVerdict,
    Refused,
    Replayed,
    Unavailable,
)
from proxy.engine.digest import answer
from proxy.engine.events import (
    FlowFailed,
    FramingFailed,
    MediaAnswered,
    NameFound,
)
from proxy.engine.finding import Server
from proxy.sip.flow import Flow
from proxy.sip.message import ParseError, Request, Response
from proxy.sip.parse import parse
from tests.fuzz.contacts import bindings
from tests.fuzz.soup import Soup
from tests.fuzz.surroundings import operate, settle_elsewhere, settle_store
from tests.fuzz.words import EXTRAS, METHODS, OUTSIDE, SECONDS, STATUSES, URIS, USERS, mutated


class Parties:
    """Everybody but the engine."""

    def __init__(self, soup: Soup) -> None:
        self.soup = soup
        udp, tcp = soup.udp, soup.tcp
        self.flows = (
            udp.get("192.0.2.10", 5060),
            udp.get("192.0.2.20", 5060),
            udp.get("198.51.100.7", 5062),
            tcp.get("198.51.100.8", 40000, 7),
            udp.get("192.0.2.11", 5060),
            tcp.get("192.0.2.21", 5070),
            udp.get("2001:db8::7", 5060),
        )
        self.history: list[tuple[bytes, Flow]] = []
        self.to_answer: list[tuple[Flow, Request]] = []
        self.to_ack: list[tuple[Flow, Response]] = []
        self.challenges: dict[Flow, Response] = {}
        self._read = 0
        self._count = 0

    def move(self, what: int, a: int, b: int, c: int) -> None:
        MOVES[what % len(MOVES)](self, a, b, c)
        self.look()

    def look(self) -> None:
        """What the engine sent since, at those whom it is for."""
        for flow, message in self.soup.sent[self._read :]:
            if isinstance(message, Request):
                if message.method != "ACK":
                    self.to_answer.append((flow, message))
            elif message.status in (401, 407):
                self.challenges[flow] = message
            elif message.status >= 200 and message.cseq_method == "INVITE":
                self.to_ack.append((flow, message))
        self._read = len(self.soup.sent)

    def receive(self, data: bytes, flow: Flow) -> None:
        self.history.append((data, flow))
        self.soup.receive(data, flow)

    # Clients ---------------------------------------------------------------------------------------------------------

    def _via(self, flow: Flow, form: int) -> str:
        self._count += 1
        host = f"[{flow.host}]" if ":" in flow.host else flow.host
        sent_by = f"SIP/2.0/{flow.transport} {host}"
        branch = f";branch=z9hG4bKf{self._count}"
        match form % 8:
            case 5:
                return f"{sent_by}:5099;rport{branch}"
            case 6:
                return f"{sent_by}:{flow.port}"
            case 7:
                return f"SIP/2.0/UDP pc.example.org{branch}, SIP/2.0/TCP 192.0.2.99{branch}"
            case _:
                return f"{sent_by}:{flow.port}{branch}"

    def send(self, flow: Flow, method: str, uri: str, form: int, *lines: str, cseq: int = 1) -> None:
        text = [
            f"{method} {uri} SIP/2.0",
            f"Via: {self._via(flow, form)}",
            f"CSeq: {cseq} {method}",
            *lines,
        ]
        if form & 64:
            text.insert(2 + form % 3, EXTRAS[form % len(EXTRAS)])
        challenge = self.challenges.get(flow)
        if challenge is not None and form & 8:
            proxy = challenge.status == 407
            for value in challenge.values("proxy-authenticate" if proxy else "www-authenticate"):
                said = answer(value, "alice", "secret", method, uri, "cn")
                text.append(f"{'Proxy-' if proxy else ''}Authorization: {said}")
        body = "v=0\r\n" if form & 16 else ""
        if form & 16 and form & 3:
            text.append("Content-Type: application/sdp")
        if flow.transport != "UDP" or form & 32:
            text.append(f"Content-Length: {len(body)}")
        self.receive("\r\n".join([*text, "", body]).encode("latin-1"), flow)

    def invite(self, a: int, b: int, c: int) -> None:
        flow, user = self.flows[a % len(self.flows)], USERS[a // 16 % len(USERS)]
        uri = URIS[b % 3 if b & 32 else b % len(URIS)]
        call_id = f"c{self._count}" if b < 240 else "c1"
        more = []
        if c & 128 and self.to_ack:
            # In the place of a call that was answered: by its callee's tag or its caller's.
            _, answered = self.to_ack[-1 - b % len(self.to_ack)]
            tags = (answered.to_tag, answered.from_tag)[:: -1 if c & 1 else 1]
            more.append(f"Replaces: {answered.call_id};to-tag={tags[0]};from-tag={tags[1]}")
        self.send(
            flow,
            "INVITE",
            uri,
            c,
            f"From: <sip:{user}@example.com>;tag=f{self._count if b < 240 else 1}",
            f"To: <{uri}>",
            f"Call-ID: {call_id}",
            f"Contact: <sip:{user}@{flow.host if ':' not in flow.host else '[::7]'}:{flow.port}>",
            *more,
        )

    def outside(self, a: int, b: int, c: int) -> None:
        flow, user, uri = self.flows[a % len(self.flows)], USERS[a // 16 % len(USERS)], URIS[b % len(URIS)]
        method = OUTSIDE[b // 16 % len(OUTSIDE)]
        frm = f"From: <sip:{user}@example.com>;tag=o"
        self.send(flow, method, uri, c, frm, f"To: <{uri}>", f"Call-ID: o{self._count}")

    def register(self, a: int, b: int, c: int) -> None:
        flow = self.flows[2 + a % 2]
        aor = (
            "<sip:alice@example.com>",
            "<sip:alice@example.com>",
            "<sip:bob@example.net>",
            "<tel:+1>",
            "<sip:carol@example.net>",
            "<sip:carol@example.net>",
        )[a // 2 % 6]
        contact = (
            "",
            "Contact: *",
            EXTRAS[13],
            EXTRAS[14],
            EXTRAS[9],
            "Contact: <sip:alice@198.51.100.7:5062>",
        )[b % 6]
        lines = [f"From: {aor};tag=r", f"To: {aor}", "Call-ID: r", *filter(None, [contact])]
        if b & 32:
            lines.append("Expires: 0")
        if b & 64:
            lines.append("Supported: path, outbound")
        uri = ("sip:example.com", "sip:192.0.2.1", "sip:example.org")[max(0, c - 200) % 3]
        self.send(flow, "REGISTER", uri, c | 8, *lines, cseq=self._count)

    def ack(self, a: int, b: int, c: int) -> None:
        if self.to_ack:
            flow, response = self.to_ack[-1 - a % len(self.to_ack)]
            self._within(flow, response, "ACK", response.cseq, c)

    def _within(self, flow: Flow, response: Response, method: str, cseq: int, form: int) -> None:
        routes = [f"Route: {value}" for value in reversed(response.all_values("record-route"))]
        if method == "ACK" and response.status >= 300:
            via = response.via.value.partition(";received")[0]
            routes = []
        else:
            via = ""
        lines = [
            f"From: {response.value('from')}",
            f"To: {response.value('to')}",
            f"Call-ID: {response.call_id}",
            *routes,
        ]
        uri = response.contact_uri() or "sip:192.0.2.1"
        if form & 128 and routes:
            # RFC 3261 §12.2.1.1: by a strict router, which puts the Route into the Request-URI.
            first, *rest = [route.removeprefix("Route: ") for route in routes]
            routes = [f"Route: {route}" for route in (*rest, f"<{uri}>")]
            lines[3:] = routes
            uri = first.strip("<>")
        if via:
            text = [
                f"{method} {uri} SIP/2.0",
                f"Via: {via}",
                f"CSeq: {cseq} {method}",
                *lines,
                "Content-Length: 0",
                "",
                "",
            ]
            self.receive("\r\n".join(text).encode("latin-1"), flow)
        else:
            self.send(flow, method, uri, form, *lines, cseq=cseq)

    def within(self, a: int, b: int, c: int) -> None:
        """A request within a dialog, by the caller (who got a 2xx) or the callee (who got the INVITE)."""
        method = METHODS[b % len(METHODS)]
        if b & 128:
            invites = [(flow, one) for flow, one in self.to_answer if one.method == "INVITE"]
            if invites:
                flow, invite = invites[-1 - a % len(invites)]
                routes = [f"Route: {value}" for value in invite.all_values("record-route")]
                frm = f"From: {invite.value('to')}" + ("" if invite.to_tag else f";tag=t{b // 16 % 3}")
                lines = [frm, f"To: {invite.value('from')}", f"Call-ID: {invite.call_id}", *routes]
                uri = invite.contact_uri() or "sip:192.0.2.1"
                self.send(flow, method, uri, c, *lines, cseq=1 + c % 5)
        elif self.to_ack:
            flow, response = self.to_ack[-1 - a % len(self.to_ack)]
            self._within(flow, response, method, response.cseq + b // 16 % 4, c)

    def cancel(self, a: int, b: int, c: int) -> None:
        invites = [(data, flow) for data, flow in self.history if data.startswith(b"INVITE ")]
        if invites:
            data, flow = invites[-1 - a % len(invites)]
            self.receive(data.replace(b"INVITE", b"CANCEL"), flow)

    def again(self, a: int, b: int, c: int) -> None:
        """A retransmission; rarely by another way."""
        if self.history:
            data, flow = self.history[-1 - a % len(self.history)]
            self.receive(data, self.flows[c % len(self.flows)] if b > 220 else flow)

    # Callees ---------------------------------------------------------------------------------------------------------

    def respond(self, a: int, b: int, c: int) -> None:
        if self.to_answer:
            flow, request = self.to_answer[-1 - a % len(self.to_answer)]
            self._respond(flow, request, STATUSES[b % len(STATUSES)], c)

    def _respond(self, flow: Flow, request: Request, status: int, form: int) -> None:
        self.receive(self.response(request, status, form), flow)

    def response(self, request: Request, status: int, form: int) -> bytes:
        copied = [
            line
            for line, key in zip(request.lines, request.keys, strict=True)
            if key in ("via", "record-route", "from", "call-id", "cseq")
        ]
        tag = "" if request.to_tag or status == 100 else f";tag=t{form % 3}"
        lines = [f"SIP/2.0 {status} Reason", *copied, f"To: {request.value('to')}{tag}"]
        if not form & 4:
            host = ("192.0.2.20", "203.0.113.5", "callee.example.org", "[2001:db8::9]")[form // 16 % 4]
            lines.append(f"Contact: <sip:callee@{host}:5060>")
        if form & 8:
            lines.insert(1 + len(request.values("via")), "Record-Route: <sip:203.0.113.9;lr>")
        if status in (401, 407):
            name = "WWW" if status == 401 else "Proxy"
            lines.append(f'{name}-Authenticate: Digest realm="x", nonce="n{form}", qop="auth"')
        if form & 64:
            lines.append(EXTRAS[form % len(EXTRAS)])
        body = "v=0 answer\r\n" if form & 128 else ""
        if body:
            lines.append("Content-Type: application/sdp")
        lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", body]).encode("latin-1")

    # Limiter, store, names, network, operator ------------------------------------------------------------------------

    def decide(self, a: int, b: int, c: int) -> None:
        if self.soup.asked:
            leg = self.soup.asked[a % len(self.soup.asked)]
            verdict: AdmitVerdict = Admitted(leg.lease, bindings(self.flows, c) if leg.aor else None)
            if b % 4 == 3:
                reason = (Reason.LINES, Reason.FAIL_CALLS, Reason.OVERLOAD)[b // 4 % 3]
                refusals: tuple[AdmitVerdict, ...] = (Refused(reason, "5", 1000), Unavailable(), Replayed())
                verdict = refusals[c % 3]
            self.soup.decide(leg, verdict)

    def wait(self, a: int, b: int, c: int) -> None:
        if c & 1:
            self.soup.lag(SECONDS[a % len(SECONDS)])
        else:
            self.soup.advance(SECONDS[a % len(SECONDS)])

    def fail(self, a: int, b: int, c: int) -> None:
        self.soup.handle(FlowFailed(self.flows[a % len(self.flows)]))

    # Nonsense --------------------------------------------------------------------------------------------------------

    def mutant(self, a: int, b: int, c: int) -> None:
        """What somebody sent before, changed a little."""
        if self.history:
            data, flow = self.history[-1 - a // 12 % len(self.history)]
            self.receive(mutated(data, a, b, c, self.history[b % len(self.history)][0]), flow)

    def rubbish(self, a: int, b: int, c: int) -> None:
        error = parse(bytes([a, b, c]) + b" \r\n\r\n")
        flow = self.flows[a % len(self.flows)]
        if self.history:
            cut = self.history[-1][0][: 4 * b]
            self.receive(cut, flow)
            error = parse(cut)
        if isinstance(error, ParseError) and flow.conn:
            self.soup.handle(FramingFailed(flow, error))

    # What would happen anyway ----------------------------------------------------------------------------------------

    def natural(self, a: int, b: int, c: int) -> None:
        soup = self.soup
        if soup.asked:
            soup.decide(soup.asked[0], Admitted(soup.asked[0].lease, bindings(self.flows, c | 2)))
        elif soup.names:
            soup.handle(NameFound(soup.names.pop(), [Server(0, 0, "UDP", 5060, ["203.0.113.5"])], 60))
        elif soup.media:
            soup.handle(MediaAnswered(soup.media.pop(0), b"v=0 relayed"))
        elif soup.places or soup.turns:
            settle_elsewhere(self, 0, b, 1)
        elif soup.registers or soup.lookups:
            settle_store(self, 0, 3, 2 * bool(soup.lookups))
        elif self.to_answer:
            self._respond(*self.to_answer[-1], 200 if b & 3 else 180, c & 0x13)
            if b & 3:
                self.to_answer.pop()
        elif self.to_ack and b & 1:
            flow, response = self.to_ack.pop()
            self._within(flow, response, "ACK", response.cseq, 0)
        else:
            self.invite(a & 0x70, b & 1, 0)


Move = Callable[[Parties, int, int, int], None]
MOVES: tuple[Move, ...] = (
    *[Parties.natural] * 12,
    *[Parties.invite] * 5,
    *[Parties.decide] * 4,
    *[Parties.respond] * 7,
    *[Parties.ack] * 2,
    *[Parties.within] * 6,
    *[Parties.cancel] * 3,
    *[Parties.again] * 3,
    *[Parties.mutant] * 6,
    *[Parties.wait] * 5,
    *[settle_store] * 3,
    settle_elsewhere,
    *[operate] * 3,
    Parties.fail,
    *[Parties.outside] * 2,
    *[Parties.register] * 2,
    Parties.rubbish,
)
