"""Every torture message at a running callgate, by UDP and TCP: what it answers, and that it goes on answering.

Each message leaves, byte for byte, a socket from which `caller` has registered (stand.py). What is seen is said in the
words of cases.json:

process   Forwarded to whom it is for, once and whole, and that one's answer came back. Whole: the same method, the same
          body, and every header line as it was, in its order, but for what a proxy changes (RFC 3261 §16.6): our Via on
          top, `received` in the sender's, Max-Forwards one less, our Record-Route, the Request-URI of the target (with
          the user part as it was written), and no Route, which we do not follow from a caller.
          A BYE belongs in a dialog, so the call it ends is set up first, with its tags and Call-ID.
          A REGISTER: challenged (RFC 4475 §3.3.7: "401 with a new challenge"). What the registrar makes of it when it
          has credentials is held by test_registrar.py.
          An OPTIONS whose Request-URI is callgate itself: 200 with Allow.
          Two messages by what is written at rows.SETTLED.
a number  Answered with that status, and not forwarded.
silent    Neither answered nor forwarded.
close     The connection was closed by callgate.

That nothing else happened is counted: callgate's own number of sent messages is the number that reached our sockets, so
nothing went to 255.255.255.255, nor where the Routes and Vias of the messages point, nor twice. After each message an
OPTIONS is answered, and internal errors are 0.

The messages use some transaction identifiers (branch, sent-by, method) more than once, and by UDP one that was used
is a retransmission; so the second use of one goes to a second callgate, and so on.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.sip.message import Request
from proxy.sip.parse import parse
from tests.e2e.net import TRANSPORTS, Net, Transport
from tests.torture.cases import Case, load
from tests.torture.rows import BEHIND, HEAD, Row, play
from tests.torture.stand import Stand

CASES = load()


def transaction_of(case: Case) -> str:
    """What RFC 3261 §17.2.3 knows its transaction by; "" when nothing is kept of it."""
    message = parse(case.data)
    if not isinstance(message, Request) or not message.via.branch.startswith("z9hG4bK"):
        return ""
    return f"{message.method} {message.via.branch} {message.via.host} {message.via.port}"


def rounds(cases: list[Case]) -> list[list[Case]]:
    """All cases, each transaction identifier once a round."""
    found: list[dict[str, Case]] = []
    for case in cases:
        name = transaction_of(case) or case.name
        if all(name in used for used in found):
            found.append({})
        next(used for used in found if name not in used)[name] = case
    return [list(members.values()) for members in found]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    found: list[Row] = []
    for number, cases in enumerate(rounds(CASES)):
        with Stand(Net(), tmp_path_factory.mktemp(f"round{number}")) as stand:
            if not number:
                # Over a stream a transaction ends with its answer: its identifier may come again.
                found += [play(stand, case, "TCP") for case in CASES]
            found += [play(stand, case, "UDP") for case in cases]
    return found


def test_every_message_by_every_transport_is_in_the_table(
    rows: list[Row], capsys: pytest.CaptureFixture[str]
) -> None:
    order = {case.name: number for number, case in enumerate(CASES)}
    rows = sorted(rows, key=lambda row: (row.transport == "TCP", order[row.case.name]))
    with capsys.disabled():
        print("\n\nTorture messages at a running callgate")
        print("\n".join([HEAD, *(row.text() for row in rows)]))
    assert len(CASES) == 63
    assert [(row.case.name, row.transport) for row in rows] == [
        (c.name, t) for t in TRANSPORTS for c in CASES
    ]


@pytest.mark.rfc3261("16.3-4", "16.3-6", "16.3-7", "16.3-8", "16.3-9", "16.6-1", "16.6-2", "16.6-3", "16.6-4")
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_message_is_dealt_with_as_the_rfc_wants(
    rows: list[Row], case: Case, transport: Transport
) -> None:
    (row,) = (row for row in rows if (row.case.name, row.transport) == (case.name, transport))
    assert row.words
    assert not row.wrong, row.text()


def test_a_stream_that_holds_two_messages_gets_two_answers(tmp_path: Path) -> None:
    # dblreq without the five octets that no message is made of.
    (dblreq,) = (case for case in CASES if case.name == "dblreq")
    data = re.sub(rb"C\r\n\r\n$", b"", dblreq.data)
    assert len(data) == len(dblreq.data) - 5
    with Stand(Net(), tmp_path) as stand:
        end = stand.connection()
        end.send(data, stand.address)
        came = stand.ends.until(lambda: bool(end.responses(BEHIND)))
        assert came
        assert [one.status for one in end.inbox if one.status != 100] == [401, 486]
        assert not end.closed
