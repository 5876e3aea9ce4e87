"""The values that configuration is written in: durations, counts, instants, addresses, names.

Every scalar of a file arrives here as the text that was written, so YAML 1.1 never gets to read `00:02:00` as the
number 120, `no` as false or `2026-01-01` as a date. Each `…_of` function takes that text (or the value itself, for
configuration made in Python), and returns the value or raises ValueError with words for the person who wrote it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Final

from pydantic import BeforeValidator, ValidationInfo

SECOND_MS: Final = 1000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
WEEK_MS: Final = 7 * DAY_MS

DURATION_MAX_MS: Final = 3650 * DAY_MS  # ten years: longer is a slip of the pen, and "unlimited" exists
COUNT_MAX: Final = 1_000_000_000

_CLOCK = re.compile(r"([0-9]{1,6}):([0-5][0-9]):([0-5][0-9])")
_PARTS = re.compile(
    r"(?:([0-9]{1,9})w)?(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?(?:([0-9]{1,9})ms)?"
)
_PART_MS: Final = (WEEK_MS, DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, 1)
_PER = re.compile(r"(.*?)\s+per\s+(.*)")
_WHOLE = re.compile(r"[0-9]{1,18}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*\.?")

UNLIMITED: Final = "unlimited"


@dataclass(frozen=True, slots=True)
class Amount:
    """How much an option allows.

    value: milliseconds for durations, a count for everything else; None = unlimited.
    period_ms: the window it is allowed in; 0 = the option has no period.
    """

    value: int | None
    period_ms: int = 0


def duration_ms_of(raw: object) -> int:
    """Milliseconds of `90s`, `2m`, `1h30m`, `200ms`, `00:02:00`."""
    if not isinstance(raw, str):
        raise ValueError("must be a duration, such as 90s, 2m, 1h30m or 00:02:00")
    text = raw.strip()
    if clock := _CLOCK.fullmatch(text):
        hours, minutes, seconds = (int(part) for part in clock.groups())
        total = hours * HOUR_MS + minutes * MINUTE_MS + seconds * SECOND_MS
    elif text and (parts := _PARTS.fullmatch(text)):
        total = sum(int(part) * unit for part, unit in zip(parts.groups(), _PART_MS, strict=True) if part)
    elif _WHOLE.fullmatch(text):
        raise ValueError(f"a duration needs a unit: write {text}s, {text}m or {text}h, not {text}")
    else:
        raise ValueError(f"not a duration: {raw!r}; write it as 90s, 2m, 1h30m or 00:02:00")
    if total > DURATION_MAX_MS:
        raise ValueError(f"{text} is more than ten years; write unlimited if there is no limit")
    return total


def duration_text(ms: int) -> str:
    """A duration as `duration_ms_of` reads it: `1h30m`, `100h`; in days only when they are whole."""
    if ms <= 0:
        return "0s"
    if ms % DAY_MS == 0:
        return f"{ms // DAY_MS}d"
    out = ""
    for size, unit in ((HOUR_MS, "h"), (MINUTE_MS, "m"), (SECOND_MS, "s"), (1, "ms")):
        count, ms = divmod(ms, size)
        if count:
            out += f"{count}{unit}"
    return out


def count_of(raw: object, low: int = 0, high: int = COUNT_MAX) -> int:
    """A whole number between low and high, both included."""
    if isinstance(raw, int) and not isinstance(raw, bool):
        number = raw
    elif isinstance(raw, str) and _WHOLE.fullmatch(raw.strip()):
        number = int(raw)
    else:
        raise ValueError(f"must be a whole number, not {_shown(raw)}")
    if not low <= number <= high:
        raise ValueError(f"must be between {low} and {high}, not {number}")
    return number


def bool_of(raw: object) -> bool:
    """yes / no, true / false, on / off."""
    if isinstance(raw, bool):
        return raw
    word = raw.strip().lower() if isinstance(raw, str) else ""
    if word in ("yes", "true", "on"):
        return True
    if word in ("no", "false", "off"):
        return False
    raise ValueError(f"must be yes or no, not {_shown(raw)}")


def instant_of(raw: object) -> int:
    """Unix seconds of `2026-01-01`, `2026-01-01 12:00` or `2026-01-01T12:00:00+02:00`. Without an offset: UTC."""
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    try:
        moment = datetime.fromisoformat(raw.strip() if isinstance(raw, str) else "")
    except ValueError:
        raise ValueError(
            f"not a date or time: {_shown(raw)}; write it as 2026-01-01 or 2026-01-01T12:00Z"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp())


def instant_text(unix: float) -> str:
    """ISO 8601 in UTC, to the second: `2026-01-01T00:00:00Z`."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def instant_id(unix: float) -> str:
    """ISO 8601 basic, for names without a colon: `20260101T000000Z`."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y%m%dT%H%M%SZ")


def name_of(raw: object) -> str:
    """A name of ours (plan, subscriber, trunk, Worker). It becomes part of Redis keys, so its letters are few."""
    if isinstance(raw, str) and _NAME.fullmatch(raw):
        return raw
    raise ValueError(
        f"not a name: {_shown(raw)}; a name has letters, digits and _ . + - and at most 64 characters"
    )


def text_of(raw: object) -> str:
    """Text that is not empty. Never shown in an error: it may be a password."""
    if isinstance(raw, str) and raw:
        return raw
    raise ValueError("must be text that is not empty")


def host_of(raw: object) -> str:
    """A host name or an IP address, lower case; IPv6 without brackets."""
    text = raw.strip().lower() if isinstance(raw, str) else ""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(ip_address(bare))
    except ValueError:
        if bare == text and _HOST.fullmatch(text) and not re.fullmatch(r"[0-9.]+", text):
            return text
        raise ValueError(f"not a host name or an address: {_shown(raw)}") from None


def domain_of(raw: object) -> str:
    """A host as it stands in SIP URIs: as `host_of`, but IPv6 in brackets."""
    host = host_of(raw)
    return f"[{host}]" if ":" in host else host


def host_port_of(text: str, default_port: int | None = None) -> tuple[str, int]:
    """(host, port) of `host:port`, `[v6]:port`, and of a host alone when there is a default port."""
    if text.startswith("["):
        host, bracket, rest = text.partition("]")
        host, port_text = host + bracket, rest.removeprefix(":")
    elif ":" in text:
        host, _, port_text = text.rpartition(":")
    else:
        host, port_text = text, ""
    if not port_text:
        if default_port is None or text.endswith(":"):
            raise ValueError(f"needs a port, such as {text.rstrip(':')}:5060")
        return host_of(host), default_port
    try:
        port = count_of(port_text, 0, 65535)
    except ValueError:
        raise ValueError(f"not a port: {port_text!r}; a port is a number from 0 to 65535") from None
    return host_of(host), port


def network_of(raw: object) -> IPv4Network | IPv6Network:
    """An address or a range in CIDR form: `192.0.2.7`, `192.0.2.0/24`, `2001:db8::/32`."""
    if isinstance(raw, IPv4Network | IPv6Network):
        return raw
    try:
        return ip_network(raw if isinstance(raw, str) else "")
    except ValueError as error:
        why = "its host bits are set" if "host bits" in str(error) else "write it as 192.0.2.0/24"
        raise ValueError(f"not an address range: {_shown(raw)}; {why}") from None


def path_of(raw: object, info: ValidationInfo) -> Path:
    """A path; a relative one is meant from the folder of the file that names it (context `folder`)."""
    if isinstance(raw, str) and raw:
        raw = Path(raw)
    if not isinstance(raw, Path):
        raise ValueError("must be a path")
    folder = (info.context or {}).get("folder")
    return raw if folder is None else Path(os.path.normpath(Path(folder, raw)))


def seconds(low: float, high: float) -> BeforeValidator:
    """Validator of a duration kept as float seconds, between low and high seconds."""

    def check(raw: object) -> float:
        number = isinstance(raw, int | float) and not isinstance(raw, bool)
        value = float(raw) if number else duration_ms_of(raw) / SECOND_MS  # type: ignore[arg-type]
        if not low <= value <= high:
            between = f"{duration_text(round(low * SECOND_MS))} and {duration_text(round(high * SECOND_MS))}"
            raise ValueError(f"must be between {between}, not {_shown(raw)}")
        return value

    return BeforeValidator(check)


def whole(low: int, high: int) -> BeforeValidator:
    """Validator of a whole number between low and high."""
    return BeforeValidator(lambda raw: count_of(raw, low, high))


def amount(inner: Callable[[object], int], low_text: str, low: int, periodic: bool) -> BeforeValidator:
    """Validator of an option's value: an Amount, `unlimited`, or the text that `inner` reads (with `per <period>`)."""

    def check(raw: object) -> Amount:
        if isinstance(raw, Amount):
            return raw
        if isinstance(raw, str) and raw.strip().lower() == UNLIMITED:
            return Amount(None)
        value, period_ms = raw, 0
        per = _PER.fullmatch(raw.strip()) if isinstance(raw, str) else None
        if per and not periodic:
            raise ValueError(f"takes no period: write {per[1]!r}, not {raw!r}")
        if per:
            value, period_ms = per[1], duration_ms_of(per[2])
            if period_ms < SECOND_MS:
                raise ValueError(f"a period is at least 1s, not {per[2]}")
        number = inner(value)
        if number < low:
            raise ValueError(f"must be at least {low_text} (or unlimited), not {value}")
        if periodic and not per:
            raise ValueError(f"needs a period: write '{value} per 1d', not {_shown(raw)}")
        return Amount(number, period_ms)

    return BeforeValidator(check)


def _shown(raw: object) -> str:
    if raw is None:
        return "nothing"
    if isinstance(raw, dict):
        return "a mapping"
    if isinstance(raw, list | tuple):
        return "a list"
    return repr(raw)


Name = Annotated[str, BeforeValidator(name_of)]
Text = Annotated[str, BeforeValidator(text_of)]
Host = Annotated[str, BeforeValidator(host_of)]
Domain = Annotated[str, BeforeValidator(domain_of)]
YesNo = Annotated[bool, BeforeValidator(bool_of)]
Instant = Annotated[int, BeforeValidator(instant_of)]
FilePath = Annotated[Path, BeforeValidator(path_of)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(network_of)]
