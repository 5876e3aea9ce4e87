"""What the parser says of every torture message: none left out, each verdict written down, all of them printed.

The server's answers on the wire are another table over the same cases. What is no syntax error (unknown scheme,
Proxy-Require, Max-Forwards: 0 …) must pass here for the engine to judge.
"""

from __future__ import annotations

import pytest

from proxy.sip.message import ErrorKind, ParseError, Request, Response
from proxy.sip.parse import parse
from proxy.sip.serialise import render, reply
from proxy.sip.stream import FrameError, Framer
from tests.torture.cases import FOLDER, Case, load

CASES = load()
PASSES = ""

# Name → "" when it parses, else kind and status (0: dropped).
VERDICTS = {
    "wsinv": PASSES,
    "intmeth": PASSES,
    "esc01": PASSES,
    "escnull": PASSES,
    "esc02": PASSES,
    "lwsdisp": PASSES,
    "longreq": PASSES,
    "dblreq": PASSES,
    "semiuri": PASSES,
    "transports": PASSES,
    "mpart01": PASSES,
    "unreason": PASSES,
    "noreason": PASSES,
    "badinv01": "via 400",
    "clerr": "content_length 400",
    "ncl": "content_length 400",
    "scalar02": "cseq 400",
    "scalarlg": "cseq 0",
    "quotbal": "to 400",
    "ltgtruri": "request_uri 400",
    "lwsruri": "start_line 400",
    "lwsstart": "start_line 400",
    "trws": "start_line 400",
    "escruri": "request_uri 400",
    "baddate": PASSES,
    "regbadct": "contact 400",
    "badaspec": "to 400",
    "baddn": "truncated 400",
    "baddn_terminated": "from 400",
    "badvers": "version 505",
    "mismatch01": "cseq 400",
    "mismatch02": "cseq 501",
    "bigcode": "start_line 0",
    "badbranch": "via 400",
    "insuf": "missing 400",
    "unkscm": PASSES,
    "novelsc": PASSES,
    "unksm2": PASSES,
    "bext01": PASSES,
    "invut": PASSES,
    "regaut01": PASSES,
    "multi01": "duplicate 400",
    "mcl01": "duplicate 400",
    "bcast": PASSES,
    "zeromf": PASSES,
    "cparam01": PASSES,
    "cparam02": PASSES,
    "regescrt": PASSES,
    "sdp01": PASSES,
    "inv2543": PASSES,
    "test": "line 0",
    "ipv6-good": PASSES,
    "ipv6-bad": "request_uri 400",
    "port-ambiguous": PASSES,
    "port-unambiguous": PASSES,
    "via-received-param-with-delim": PASSES,
    "via-received-param-no-delim": PASSES,
    "ipv6-in-sdp": PASSES,
    "mult-ip-in-header": PASSES,
    "mult-ip-in-sdp": PASSES,
    "ipv4-mapped-ipv6": PASSES,
    "ipv6-bug-abnf-3-colons": PASSES,
    "ipv6-correct-abnf-2-colons": PASSES,
}


def verdict(message: Request | Response | ParseError) -> str:
    return f"{message.kind.value} {message.status_hint}" if isinstance(message, ParseError) else PASSES


def test_no_message_is_left_out() -> None:
    files = {str(path.relative_to(FOLDER)) for path in FOLDER.glob("rfc*/*.dat")}
    assert {case.row["file"] for case in CASES} == files
    assert {case.name for case in CASES} == set(VERDICTS)
    assert len(CASES) == 63


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_message_gets_its_verdict(case: Case) -> None:
    message = parse(case.data)
    assert verdict(message) == VERDICTS[case.name]
    if isinstance(message, ParseError):
        # A verdict of ours is one the RFC asks for or permits.
        answer = str(message.status_hint) if message.status_hint else "silent"
        assert answer in case.answers or case.answers & {"error", "any"}
        assert (message.request is not None) == (message.status_hint != 0)
    else:
        assert isinstance(message, Request) == (case.kind == "request")
        assert case.should - {"400"} or "process" in case.may


REFUSED = [case for case in CASES if VERDICTS[case.name] and not VERDICTS[case.name].endswith(" 0")]
PASSED = [case for case in CASES if VERDICTS[case.name] == PASSES]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_every_refusal_can_be_answered(case: Case) -> None:
    error = parse(case.data)
    assert isinstance(error, ParseError)
    assert error.request is not None
    answer = reply(error.request, error.status_hint, error.reason, "t0")
    assert answer.startswith(f"SIP/2.0 {error.status_hint} {error.reason}\r\n".encode())
    assert answer.endswith(b"\r\nContent-Length: 0\r\n\r\n")
    # RFC 4475 §3.3.8: of a header that came twice, one goes back; §3.3.1: of one that did not come, none.
    assert error.request.via.value.encode("latin-1") in answer
    assert answer.count(b"\r\nCSeq:") == 1
    assert answer.count(b"\r\nCall-ID:") == (0 if case.name == "insuf" else 1)


@pytest.mark.parametrize("case", PASSED, ids=lambda case: case.name)
def test_a_message_that_passes_stays_what_it_was_when_written_again(case: Case) -> None:
    message = parse(case.data)
    assert not isinstance(message, ParseError)
    if isinstance(message, Request):
        start = f"{message.method} {message.uri} SIP/2.0"
    else:
        start = f"SIP/2.0 {message.status} {message.reason}"
    again = parse(render(start, message.lines, message.body))
    assert not isinstance(again, ParseError)
    assert type(again) is type(message)
    assert (again.lines, again.keys, again.body) == (message.lines, message.keys, message.body)
    assert (again.call_id, again.cseq) == (message.call_id, message.cseq)
    assert (again.from_tag, again.to_tag) == (message.from_tag, message.to_tag)
    assert again.via.value == message.via.value


# Over a stream: what the framer makes of the message, then of a second one behind it.
BROKEN_STREAMS = {"ncl": "content_length", "mcl01": "duplicate", "inv2543": "missing"}
WAITING_STREAMS = {"clerr", "baddn"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_message_is_framed_on_a_stream_or_breaks_it(case: Case) -> None:
    framer = Framer()
    frames = framer.feed(case.data)
    if case.name in WAITING_STREAMS:
        assert frames == []
        assert framer.pending == len(case.data)
        return
    first = frames[0]
    if case.name in BROKEN_STREAMS:
        assert isinstance(first, FrameError)
        assert first.error.kind is ErrorKind(BROKEN_STREAMS[case.name])
        assert first.error.status_hint == 400
        assert framer.feed(b"OPTIONS ") == []
        return
    assert isinstance(first, bytes)
    assert verdict(parse(first)) == VERDICTS[case.name]
    # RFC 4475 §3.1.1.8: on a stream the octets behind the body are the next message.
    assert len([frame for frame in frames if isinstance(frame, bytes)]) == (2 if case.name == "dblreq" else 1)


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{'message':<30} {'RFC':<14} {'kind':<9} {'the parser says':<24} {'asked for':<14} permitted"]
    for case in CASES:
        said = parse(case.data)
        words = verdict(said) or "well formed"
        rows.append(
            f"{case.name:<30} {case.rfc + ' ' + case.section:<14} {case.kind:<9} {words:<24}"
            f" {' '.join(sorted(case.should)):<14} {' '.join(sorted(case.may))}"
        )
    with capsys.disabled():
        print(
            "\n\nTorture messages, the parser's verdicts (an error: its kind, the status to answer, 0 = dropped)"
        )
        print("\n".join(rows))
    assert len(rows) == len(CASES) + 1


# --- What the RFC says about single messages, beyond pass and refuse. ---


def request(name: str) -> Request:
    message = parse(next(case.data for case in CASES if case.name == name))
    assert isinstance(message, Request)
    return message


def test_wsinv_is_read_through_its_folds_and_spaces() -> None:
    wsinv = request("wsinv")
    assert (wsinv.cseq, wsinv.max_forwards()) == (9, 68)
    assert (wsinv.from_tag, wsinv.to_tag) == ("98asjd8", "1918181833n")
    assert (wsinv.via.transport, wsinv.via.host, wsinv.via.branch) == ("UDP", "192.0.2.2", "390skdjuw")
    assert len(wsinv.all_values("via")) == 3
    assert wsinv.value("newfangledheader") == "newfangled value continued newfangled value"
    assert wsinv.value("unknownheaderwithunusualvalue") == ";;,,;;,;"
    assert wsinv.contact_uri() == "sip:jdrosen@example.com"
    assert len(wsinv.body) == 150


def test_intmeth_keeps_its_method_and_user_part() -> None:
    intmeth = request("intmeth")
    assert intmeth.method == "!interesting-Method0123456789_*+`.%indeed'~"
    assert intmeth.from_tag == "_token~1'+`*%!-."
    assert intmeth.call_id == "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{"
    assert "extensionheader-!.%*+_`'~" in intmeth.keys


def test_esc02_names_are_never_unescaped() -> None:
    esc02 = request("esc02")
    assert esc02.method == "RE%47IST%45R"
    assert len(esc02.values("contact")) == 2
    assert "c%6fntact" in esc02.keys


@pytest.mark.rfc3261("18.3-1")
def test_dblreq_ends_where_content_length_says() -> None:
    assert request("dblreq").body == b""


def test_mpart01_keeps_its_binary_body() -> None:
    mpart01 = request("mpart01")
    assert b"\0" in mpart01.body
    assert len(mpart01.body) == int(mpart01.value("content-length") or 0)


def test_a_reason_phrase_may_be_empty_or_utf8() -> None:
    by_name = {case.name: parse(case.data) for case in CASES}
    noreason, unreason = by_name["noreason"], by_name["unreason"]
    assert isinstance(noreason, Response)
    assert isinstance(unreason, Response)
    assert (noreason.status, noreason.reason) == (100, "")
    assert "девяносто девять" in unreason.reason.encode("latin-1").decode()


def test_received_is_read_with_and_without_brackets() -> None:
    assert request("via-received-param-with-delim").via.received == "[2001:db8::9:255]"
    assert request("via-received-param-no-delim").via.received == "2001:db8::9:255"
