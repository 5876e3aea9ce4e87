"""How much a stranger may ask for, and what becomes of one who asks for more. Key `guard`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator

from config.model import Model, listed
from config.units import Network, Text, YesNo, count_of, duration_ms_of, seconds

_PER = re.compile(r"(\S+)\s+per\s+(\S+)")


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in so many seconds: a bucket of `count`, filled again evenly over `period`."""

    count: int
    period: float


def _rate_of(raw: object) -> Rate:
    if isinstance(raw, Rate):
        return raw
    match = _PER.fullmatch(raw.strip()) if isinstance(raw, str) else None
    if match is None:
        raise ValueError(f"not a rate: {raw!r}; write it as 1000 per 10s")
    count, period = count_of(match[1], 1, 1_000_000), duration_ms_of(match[2]) / 1000
    if not 0.1 <= period <= 86400:
        raise ValueError(f"a rate's period is between 100ms and 1d, not {match[2]}")
    return Rate(count, period)


RateOf = Annotated[Rate, BeforeValidator(_rate_of)]


class Guard(Model):
    """Against scanners, guessers and floods. Trunks' addresses are exempt."""

    enabled: YesNo = True
    unauthenticated: RateOf = Rate(1000, 10.0)
    """Requests without proof of who sends them, from one address."""
    failures: RateOf = Rate(20, 600.0)
    """Wrong passwords from one address, and for one account."""
    flood: RateOf = Rate(2000, 1.0)
    """Datagrams of any kind from one address."""
    ban: Annotated[float, seconds(1, 86400)] = 600.0
    """The first one; each further one of the same address is twice as long, up to 16 times."""
    scanners: Annotated[tuple[Text, ...], listed] = (
        "friendly-scanner",
        "sipvicious",
        "sundayddr",
        "sip-scan",
        "sipcli",
        "iWar",
        "VaxSIPUserAgent",
        "pplsip",
        "siparmyknife",
    )
    """Parts of User-Agent, in any case."""
    exempt: Annotated[tuple[Network, ...], listed] = ()
