"""Writes the README's tables of refusals and metrics from the code, or checks that they are current.

`python -m tests.house.readme` writes, `python -m tests.house.readme --check` (in `make check`) only tells.
"""

from __future__ import annotations

import sys
from pathlib import Path

from policies.counters import StoreCounters
from policies.reasons import TABLE
from proxy.engine.counters import EngineCounters
from proxy.net.sink import NetCounters
from proxy.ops.metrics import Metrics
from proxy.sip.transaction import Counters as StackCounters

PATH = Path(__file__).resolve().parents[2] / "README.md"


def refusals() -> str:
    """One row a reason."""
    lines = ["| reason | answer | what the Warning says |", "| --- | --- | --- |"]
    for reason, row in TABLE.items():
        after = ", Retry-After" if row.retry_after else ""
        words = row.text.replace("{limit}", "…")
        lines.append(f"| `{reason.value}` | {row.status} {row.phrase}{after} | {words} |")
    return "\n".join(lines)


def metrics() -> str:
    """One row a family of ours, its labels with it; what the process collector adds is left out."""
    lines = ["| metric | type | labels | what it is |", "| --- | --- | --- | --- |"]
    scrape = Metrics(
        EngineCounters(), StackCounters(), StoreCounters(), NetCounters(), dict, int, lambda: {("", ""): 0}
    )
    for family in scrape.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = dict.fromkeys(label for sample in family.samples for label in sample.labels if label != "le")
        shown = ", ".join(f"`{label}`" for label in labels)
        lines.append(f"| `{name}` | {family.type} | {shown} | {family.documentation} |")
    return "\n".join(lines)


def current(text: str) -> str:
    """The README with its tables as the code has them."""
    for name, table in (("refusals", refusals()), ("metrics", metrics())):
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        head, found, rest = text.partition(begin)
        _, closed, tail = rest.partition(end)
        if not found or not closed:
            raise SystemExit(f"{PATH.name}: no {begin} … {end}")
        text = f"{head}{begin}\n{table}\n{end}{tail}"
    return text


def main(arguments: list[str]) -> int:
    text = PATH.read_text(encoding="utf-8")
    wanted = current(text)
    if arguments == ["--check"]:
        same = wanted == text
        print(f"{PATH.name} is {'current' if same else 'not current: python -m tests.house.readme'}")
        return 0 if same else 1
    PATH.write_text(wanted, encoding="utf-8")
    print(f"{PATH.name} written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
