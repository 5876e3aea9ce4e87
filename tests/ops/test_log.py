"""One line a call: every field, whatever the peer wrote, numbers masked where asked, at the level of its reason."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from config.schema import Log
from policies.reasons import TABLE, Reason
from proxy.engine.record import CallRecord
from proxy.ops.cdr import masked, members
from proxy.ops.lines import LineWriter
from proxy.ops.log import CallLog, configure


class Page(LineWriter):
    """A LineWriter that keeps its lines."""

    def __init__(self) -> None:
        self.page: list[str] = []

    def write(self, line: str) -> None:
        self.page.append(line)


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def record(**changes: Any) -> CallRecord:
    made = CallRecord("c1@host", "tag1", "alice@example.com", "+4917112345", 1000.0)
    made.answered_at, made.ended_at = 1002.0, 1064.5
    made.payers, made.mode, made.direction = ["alice"], "gateway", "out"
    made.decision, made.outcome, made.status = "admitted", "success", 200
    made.cause, made.ended_by, made.setup_delay = "BYE", "caller", 0.0012
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def line_of(settings: Log, made: CallRecord) -> str:
    page = Page()
    CallLog(settings, page).write(made)
    (line,) = page.page
    return line


def test_the_json_line_is_json_and_whole() -> None:
    line = json.loads(line_of(Log(format="json"), record()))
    assert line["event"] == "call"
    assert line["level"] == "info"
    assert line["call_id"] == "c1@host"
    assert line["payers"] == ["alice"]
    assert line["duration_s"] == 62.5
    assert line["setup_ms"] == 1.2
    assert (line["outcome"], line["reason"], line["cut"]) == ("success", "", False)
    named = set(CallRecord.__slots__) - {"answered_at", "ended_at", "started_at", "setup_delay"}
    assert named <= line.keys()


def test_times_are_the_wall_clock() -> None:
    line = json.loads("{" + members(record(), 1_700_000_000.0 - 1000.0, False) + "}")
    assert line["started"] == "2023-11-14T22:13:20.000Z"
    assert line["answered"] == "2023-11-14T22:13:22.000Z"
    assert line["ended"] == "2023-11-14T22:14:24.500Z"
    unanswered = json.loads("{" + members(record(answered_at=None, setup_delay=None), 0.0, False) + "}")
    assert (unanswered["answered"], unanswered["duration_s"], unanswered["setup_ms"]) == (None, 0.0, None)


def test_the_console_line_says_it_in_words() -> None:
    line = line_of(Log(), record(reason="call_duration", cut=True, ended_by="callgate"))
    head, _, rest = line.partition(" ")
    assert head.endswith("Z")
    assert rest == (
        "[info] call call_id=c1@host caller=alice@example.com callee=+4917112345 payer=alice mode=gateway "
        'outcome=success status=200 duration_s=62.5 reason=call_duration cut=yes ended_by=callgate cause="BYE"'
    )


@pytest.mark.parametrize("format_", ["json", "console"])
def test_what_a_peer_writes_stays_on_its_line(format_: str) -> None:
    """A Call-ID is any word, and a display of it must not start a line or colour a terminal."""
    evil = record(call_id='a"\x1b[31m\r\n{"event":"call"}', caller="Zoë".encode().decode("latin-1"))
    line = line_of(Log(format="json" if format_ == "json" else "console"), evil)
    assert "\n" not in line
    assert "\x1b" not in line
    if format_ == "json":
        read = json.loads(line)
        assert read["call_id"] == evil.call_id
        assert read["caller"] == "Zoë"
    else:
        assert "caller=Zoë" in line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("+4917112345", "+********45"),
        ("sip.4930-123-456@example.com", "sip.**********56@example.com"),
        ("alice@example.com", "alice@example.com"),
        ("line42", "line42"),
        ("112", "112"),
        ("", ""),
    ],
)
def test_numbers_are_masked_to_their_last_two_digits(text: str, shown: str) -> None:
    assert masked(text) == shown


@pytest.mark.parametrize("format_", ["json", "console"])
def test_masked_numbers_are_nowhere_in_the_line(format_: str) -> None:
    settings = Log(format="json" if format_ == "json" else "console", mask_numbers=True)
    line = line_of(settings, record(caller="4930123456@example.com"))
    assert "4917112345" not in line
    assert "4930123456" not in line
    assert "********45" in line


@pytest.mark.parametrize("reason", [reason.value for reason in Reason])
def test_each_reason_has_its_level(reason: str) -> None:
    made = record(reason=reason, decision="refused", outcome="refused")
    assert f"[{TABLE[Reason(reason)].log_level}]" in line_of(Log(), made)
    quiet = Page()
    CallLog(Log(level="error"), quiet).write(made)
    assert bool(quiet.page) == (TABLE[Reason(reason)].log_level == "error")


def test_logs_of_ours_and_of_libraries_share_the_page() -> None:
    page = Page()
    configure(Log(format="json"), page)
    structlog.get_logger("callgate").info("listening", address="udp://127.0.0.1:5060")
    structlog.get_logger("callgate").debug("not shown")
    logging.getLogger("asyncio").error("library %s", "trouble")
    logging.getLogger("asyncio").info("not shown")
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        structlog.get_logger("callgate").error("internal error", exc_info=True)
    ours, library, failure = (json.loads(line) for line in page.page)
    assert (ours["event"], ours["address"], ours["level"]) == ("listening", "udp://127.0.0.1:5060", "info")
    assert library["event"] == "library trouble"
    assert "RuntimeError: boom" in failure["exception"]


def test_on_the_console_a_traceback_is_shown() -> None:
    page = Page()
    configure(Log(), page)
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        structlog.get_logger("callgate").error("internal error", exc_info=True)
    assert "internal error" in page.page[0]
    assert "RuntimeError: boom" in page.page[0]
