"""One torture message at a running callgate: sent, watched, and judged. test_server.py says what the words mean."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from proxy.engine.oversize import UDP_MAX
from proxy.sip.message import Request, Response
from proxy.sip.parse import parse
from tests.e2e.net import Transport
from tests.torture.cases import Case
from tests.torture.stand import Stand
from tests.torture.wire import End, Heard

SETTLED = {
    # In-dialog, and of no dialog we know: RFC 3261 §12.2.2 has a server say so. An INVITE above all must not pass with
    # a made-up To tag, or it would be a call that nobody admitted. test_dialog.py sends it within its dialog.
    "wsinv": 481,
    # A method that nobody knows for a Request-URI that nobody has: its row says "forward or reject by Request-URI
    # (404/405/501)". That it is no REGISTER is what matters: 401, which is "process" elsewhere, is not here.
    "esc02": 404,
}
BEHIND = "dblreq.0ha0isnda977644900765@192.0.2.15"
"""Call-ID of the INVITE behind dblreq: nothing in a datagram, the next message in a stream. Behind that one are five
octets more, which break the stream; so its answer finds the connection closed."""

NO_ANSWER_S = 3.0


@dataclass
class Row:
    """What was seen of one message by one transport."""

    case: Case
    transport: Transport
    words: list[str] = field(default_factory=list)
    """In the vocabulary of cases.json."""
    detail: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """What must not have been; empty = as the RFC wants it."""
    in_vain: int = 0
    """Messages that callgate may have sent where nobody listens; it remembers for a while that nobody did."""

    @property
    def should(self) -> frozenset[str]:
        return self.case.should if self.transport == "UDP" else self.case.tcp_should

    @property
    def may(self) -> frozenset[str]:
        may = self.case.may if self.transport == "UDP" else self.case.tcp_may
        return may | {"close"} if self._broken_behind else may

    @property
    def _broken_behind(self) -> bool:
        return self.case.name == "dblreq" and self.transport == "TCP"

    def judge(self) -> None:
        allowed = self.should | self.may
        for word in self.words:
            if word not in allowed and not (word.isdecimal() and "error" in allowed) and "any" not in allowed:
                self.wrong.append(f"{word} is neither asked for nor permitted")
        if (
            {"400", "close"} <= self.should
            and set(self.words) != {"400", "close"}
            and "process" not in self.should
        ):
            # RFC 4475 §3.1.2.3, §3.3.9: both, an error and the end of the connection.
            self.wrong.append("not both: an error and the end of the connection")

    def text(self) -> str:
        case = self.case
        return (
            f"{case.name:<30} {case.rfc + ' ' + case.section:<14} {self.transport:<4}"
            f" {' '.join(sorted(self.should)):<25} {' '.join(sorted(self.may)):<15}"
            f" {' '.join(self.words):<14} {'; '.join(self.detail):<38} {'; '.join(self.wrong) or 'as it should'}"
        )


HEAD = f"{'message':<30} {'RFC':<14} {'by':<4} {'asked for':<25} {'permitted':<15} {'seen':<14} {'that is':<38} verdict"


# The message, as far as a test must read it -------------------------------------------------------------------------


def header(case: Case, name: str) -> str:
    """The value of this header as it stands there, folds and all; "" when there is none."""
    head = case.data.partition(b"\r\n\r\n")[0].decode("latin-1")
    found = re.search(rf"^(?:{name})[ \t]*:[ \t]*(.*)\r?$", head, re.MULTILINE | re.IGNORECASE)
    return found[1].strip() if found else ""


def uri_of(case: Case) -> str:
    """The Request-URI (of what has one)."""
    return case.data.split(b" ")[1].decode("latin-1")


def user_of(case: Case) -> str:
    """The user part of the Request-URI, as it is written."""
    found = re.match(r"sip:(?:([^@:]*)(?::[^@]*)?@)?", uri_of(case))
    return found[1] or "" if found else ""


def answer_port(case: Case) -> int:
    """RFC 3261 §18.2.2: the port in the topmost Via, where a response goes by UDP."""
    value = header(case, "via|v").partition(",")[0].partition(";")[0]
    found = re.search(r"[^:]:([0-9]+)$", value)
    return int(found[1]) if found else 5060


def vias_of(case: Case) -> int:
    """How many Via lines there are: each comes back in an answer (RFC 3261 §8.2.6.2)."""
    head = case.data.partition(b"\r\n\r\n")[0].decode("latin-1")
    return len(re.findall(r"^(?:via|v)[ \t]*:", head, re.MULTILINE | re.IGNORECASE))


# Playing ------------------------------------------------------------------------------------------------------------


def play(stand: Stand, case: Case, transport: Transport) -> Row:
    """Send it, and see."""
    row = Row(case, transport)
    end = stand.sender(answer_port(case)) if transport == "UDP" else stand.connection()
    if case.method == "BYE":
        _set_up(stand, end, case)
    before = stand.counted()[0] - stand.ends.count
    call_id = header(case, "call-id|i")
    end.send(case.data, stand.address)
    if end.stream:
        assert stand.ends.until(lambda: end.taken_by(stand.address)), "callgate does not read"
    stand.probe()
    allowed = row.should | row.may
    if "silent" not in allowed and "any" not in allowed:
        # An answer is due and waited for. Where there should be none, the probe has shown that none comes.
        stand.ends.until(lambda: bool(end.responses(call_id)), NO_ANSWER_S)
    if "close" in row.should | row.may and end.responses(call_id):
        stand.ends.until(lambda: end.closed, NO_ANSWER_S)
    _look(stand, row, end, call_id)
    if end.stream:
        stand.ends.drop(end)
    _aftermath(stand, row, before)
    return row


def _set_up(stand: Stand, end: End, case: Case) -> None:
    """The call that this BYE ends: its Call-ID, its tags, and a CSeq before its own."""
    bye = parse(case.data)
    assert isinstance(bye, Request)
    uri = "sip:user@example.com"
    mine = [f"From: {bye.value('from')}", f"Contact: <sip:caller@{end.host}:{end.port}>"]
    invite = stand.request(end, "INVITE", uri, *mine, call_id=bye.call_id, cseq=bye.cseq - 1)
    stand.accepts[bye.call_id] = bye.to_tag
    ok = stand.ask(end, invite)
    del stand.accepts[bye.call_id]
    assert ok.status == 200
    assert ok.value("to").endswith(f";tag={bye.to_tag}")
    answer = parse(ok.data)
    assert isinstance(answer, Response)
    routes = [f"Route: {value}" for value in reversed(answer.all_values("record-route"))]
    lines = [*mine, f"To: {ok.value('to')}", *routes]
    ack = stand.request(
        end, "ACK", answer.contact_uri() or "", *lines, call_id=bye.call_id, cseq=bye.cseq - 1
    )
    end.send(ack.encode("latin-1"), stand.address)
    assert stand.ends.until(lambda: stand.arrived[-1].method == "ACK")
    stand.arrived.clear()


def _look(stand: Stand, row: Row, end: End, call_id: str) -> None:
    """What the sender and the callee have seen of the message."""
    case = row.case
    finals, arrived = end.responses(call_id), stand.arrivals(call_id)
    for final in finals:
        row.words.append(_word_for(row, final, bool(arrived)))
        if case.method == "INVITE" and not end.closed:
            stand.acknowledge(end, final, uri_of(case))
    if not finals:
        row.words.append("silent")
    if len(finals) > 1:
        row.wrong.append(f"{len(finals)} answers")
    if end.closed:
        row.words.append("close")
    if arrived and "process" not in row.words:
        row.wrong.append("forwarded, and no answer of the callee came back")
    if len(arrived) > 1:
        row.wrong.append(f"forwarded {len(arrived)} times")
    for one in arrived[:1]:
        row.wrong += _unfaithful(case, one, stand)
        # RFC 3261 §18.1.1: too large for UDP it went by TCP first, which nobody takes here, and counts as sent.
        row.in_vain += len(one.data) > UDP_MAX
    if case.name == "dblreq" and len(stand.arrivals(BEHIND)) != (1 if end.stream else 0):
        row.wrong.append(f"what is behind it was forwarded {len(stand.arrivals(BEHIND))} times")
    foreign = [one for one in end.inbox if one.method or one.call_id not in (call_id, BEHIND)]
    foreign += [
        one for one in stand.arrived if one.call_id not in (call_id, BEHIND) and one.method != "OPTIONS"
    ]
    if foreign:
        row.wrong.append(f"somebody got {foreign}")
    stand.arrived.clear()
    end.inbox.clear()


def _word_for(row: Row, final: Heard, forwarded: bool) -> str:
    """What a final response amounts to; what is wrong with it goes to the row."""
    case, status = row.case, final.status
    if len(final.all("via")) != vias_of(case):
        row.wrong.append("Vias were lost or added")
    by_callee = final.value("server") == "callee"
    row.detail.append(f"{final.start[8:]}{', by the callee' if by_callee else ''}")
    if forwarded or by_callee:
        if not (forwarded and by_callee):
            row.wrong.append("forwarded and answer do not belong together")
        return "process"
    if SETTLED.get(case.name) == status:
        return "process"
    if case.method == "REGISTER" and status == 401:
        if not final.value("www-authenticate").startswith("Digest "):
            row.wrong.append("401 without a challenge")
        return "process"
    if case.method == "OPTIONS" and status == 200 and final.value("allow") and not user_of(case):
        return "process"
    if status == 420 and final.value("unsupported") != header(case, "Proxy-Require"):
        row.wrong.append(f"Unsupported: {final.value('unsupported')}")
    return str(status)


def _aftermath(stand: Stand, row: Row, before: int) -> None:
    """Nothing went anywhere else, and nothing broke."""
    sent, errors = stand.counted()
    astray = sent - stand.ends.count - before
    # RFC 3261 §18.2.2: what answers the INVITE behind dblreq has no connection to go by.
    unanswered = int(row.case.name == "dblreq" and row.transport == "TCP")
    if not unanswered <= astray <= unanswered + row.in_vain:
        row.wrong.append(f"{astray} messages went elsewhere")
    if stand.ends.strange:
        row.wrong.append(f"callgate sent what is no SIP: {stand.ends.strange.pop()!r}")
    if errors:
        row.wrong.append(f"{errors} internal errors")
    row.judge()


# What forwarding may change -----------------------------------------------------------------------------------------


_BEGIN_NONE = ("OPTIONS", "MESSAGE", "REGISTER")


def _unfaithful(case: Case, heard: Heard, stand: Stand) -> list[str]:
    """What has not arrived as it was sent."""
    sent, got = parse(case.data), parse(heard.data)
    if not isinstance(sent, Request) or not isinstance(got, Request):
        return ["what is malformed was forwarded"]
    wrong = []
    if (got.method, got.body) != (sent.method, sent.body):
        wrong.append("method or body changed")
    if got.hops != (70 if sent.hops is None else sent.hops - 1):
        wrong.append(f"Max-Forwards is {got.hops}")
    # RFC 5393 §5.3.3: added where there is none; not within a dialog (proxy/engine/breadth.py).
    breadth = [line for key, line in zip(got.keys, got.lines, strict=True) if key == "max-breadth"]
    if breadth != ([] if sent.to_tag else ["Max-Breadth: 60"]):
        wrong.append(f"breadth became {breadth}")
    routed = f"sip:{user_of(case)}@{stand.callee.host}:{stand.callee.port}"
    if got.uri not in ((sent.uri,) if sent.to_tag else (routed, f"sip:user@{stand.callee.host}")):
        wrong.append(f"Request-URI became {got.uri}")
    # Ours on top: Via, and for an INVITE one Record-Route, two when the transport changes (RFC 5658); two for a method
    # that nobody knows, which may begin a dialog as well (RFC 3261 §16.6 step 4).
    begins = not sent.to_tag and got.method not in _BEGIN_NONE
    ours = 1
    while got.keys[ours] == "record-route":
        ours += 1
    if got.keys[0] != "via" or begins != (ours > 1):
        wrong.append(f"on top: {got.keys[:4]}")
    before, after = _shown(sent, 0), _shown(got, ours)
    if before != after:
        wrong.append(f"lines changed: {set(before) ^ set(after)}")
    return wrong


def _shown(request: Request, start: int) -> list[str]:
    """The lines that must stay as they are; of the sender's Via all but `received` and `rport`, which are ours."""
    lines = list(zip(request.keys[start:], request.lines[start:], strict=True))
    kept = [line for key, line in lines if key not in ("route", "max-forwards", "max-breadth")]
    top = next(i for i, line in enumerate(kept) if re.match(r"(?:via|v)[ \t]*:", line, re.IGNORECASE))
    kept[top] = re.sub(r"[ \t]*;[ \t]*(?:received|rport)\b[^;,]*", "", kept[top])
    return kept
