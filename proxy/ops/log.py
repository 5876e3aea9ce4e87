"""Structured logs on standard error: one line a call, and what an operator must know. Nothing for each message.

Everything goes through structlog except the line of a call, which is built as text: it is the only one whose cost
anybody would notice.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

from config.schema import Log
from policies.reasons import TABLE, Reason
from proxy.engine.record import CallRecord
from proxy.ops.cdr import instant, masked, members, readable
from proxy.ops.lines import LineWriter

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class _Lines:
    """What structlog calls with a rendered line, whatever its level."""

    __slots__ = ("debug", "info", "warning", "error", "critical", "exception", "msg", "log")

    def __init__(self, writer: LineWriter) -> None:
        write = writer.write
        self.debug = self.info = self.warning = self.error = self.critical = self.exception = self.msg = write
        self.log = write


class _Bridge(logging.Handler):
    """What libraries log (asyncio, aiohttp, redis) joins our own lines."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger(record.name).log(
            max(record.levelno, logging.DEBUG), record.getMessage(), exc_info=record.exc_info
        )


def _stamp(_logger: object, _method: str, event: EventDict) -> EventDict:
    event["timestamp"] = instant(time.time())
    return event


def configure(settings: Log, writer: LineWriter) -> None:
    """Send all logs of the process to `writer`."""
    level = _LEVELS[settings.level]
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        _stamp,
    ]
    if settings.format == "json":
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        colours = sys.stderr.isatty()
        processors.append(
            structlog.dev.ConsoleRenderer(
                colors=colours, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
            )
        )
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Lines(writer),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Bridge()]
    root.setLevel(max(level, logging.WARNING))


class CallLog:
    """The line of a call, at the level of the reason that refused or cut it."""

    def __init__(self, settings: Log, writer: LineWriter) -> None:
        self._write = writer.write
        self._json = settings.format == "json"
        self._mask = settings.mask_numbers
        threshold = _LEVELS[settings.level]
        shown = {reason.value: TABLE[reason].log_level for reason in Reason}
        self._levels: dict[str, str] = {
            reason: level for reason, level in {"": "info", **shown}.items() if _LEVELS[level] >= threshold
        }
        """By the record's reason; absent where the line is not written."""

    def write(self, record: CallRecord) -> None:
        """The record's one line."""
        level = self._levels.get(record.reason)
        if level is None:
            return
        now = time.time()
        if self._json:
            body = members(record, now - time.monotonic(), self._mask)
            self._write(f'{{"event":"call","level":"{level}","timestamp":"{instant(now)}",{body}}}')
        else:
            self._write(f"{instant(now)} [{level}] call {self._words(record)}")

    def _words(self, record: CallRecord) -> str:
        caller, callee = _bare(record.caller), _bare(record.callee)
        if self._mask:
            caller, callee = masked(caller), masked(callee)
        talked = 0.0 if record.answered_at is None else record.ended_at - record.answered_at
        parts: dict[str, Any] = {
            "call_id": _bare(record.call_id),
            "caller": caller,
            "callee": callee,
            "payer": ",".join(record.payers),
            "mode": record.mode,
            "outcome": record.outcome,
            "status": record.status or "",
            "duration_s": f"{talked:.1f}",
            "reason": record.reason,
            "cut": "yes" if record.cut else "",
            "ended_by": record.ended_by,
            "cause": f'"{_bare(record.cause)}"' if record.cause else "",
        }
        return " ".join(f"{key}={value}" for key, value in parts.items() if value != "")


def _bare(text: str) -> str:
    """On one line whatever a peer wrote: control characters are shown, not obeyed by a terminal."""
    text = readable(text)
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
