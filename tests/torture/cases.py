"""The torture messages: one `Case` a message, with what the RFC asks for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Case:
    """One row of `cases.json`, and its message."""

    name: str
    rfc: str
    section: str
    title: str
    kind: str
    """"request" or "response"."""
    method: str
    valid: bool
    should: frozenset[str]
    """The answers asked for: "process", "silent", a status code, "any"."""
    may: frozenset[str]
    """The answers permitted beside them; also "error": any error status."""
    tcp_should: frozenset[str]
    """The same over a stream; `should` where the row does not tell them apart."""
    tcp_may: frozenset[str]
    row: dict[str, Any]
    """The whole row, for what only some have: "contact_check", "expect_contacts", "single_response" …"""
    data: bytes

    @property
    def answers(self) -> frozenset[str]:
        """All answers that satisfy the RFC over UDP."""
        return self.should | self.may


def _case(row: dict[str, Any]) -> Case:
    data = (FOLDER / row["file"]).read_bytes()
    assert len(data) == row["bytes"], f"{row['file']}: {len(data)} bytes; line ends changed?"
    should, may = frozenset(row["should"]), frozenset(row["may"])
    return Case(
        name=row["name"],
        rfc=row["rfc"],
        section=row["section"],
        title=row["title"],
        kind=row["kind"],
        method=row["method"],
        valid=row["valid"],
        should=should,
        may=may,
        tcp_should=frozenset(row.get("tcp_should", should)),
        tcp_may=frozenset(row.get("tcp_may", may)),
        row=row,
        data=data,
    )


def load() -> list[Case]:
    """Every case, in the RFCs' order."""
    return [_case(row) for row in json.loads((FOLDER / "cases.json").read_text())]
