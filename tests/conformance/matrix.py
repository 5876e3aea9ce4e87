"""docs/conformance.md: what RFC 3261 asks of a proxy, a registrar and requests of our own, and the test that shows it.

The statements are in s*.yaml beside this file, one row each. Which tests show one is found in the tests themselves:
they carry `@pytest.mark.rfc3261("16.3-1")`, read from their syntax trees: nothing is imported, nothing can go stale.
`python -m tests.conformance.matrix` writes the page; `--check`, in `make check`, says whether it is current.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "conformance.md"
MARK = "rfc3261"
WHO = {
    "proxy": "proxy",
    "registrar": "registrar",
    "uas": "our own answers",
    "generated": "requests of our own",
    "none": "nobody here",
}
TITLES = {
    "8": "§8.1.3 and §8.2: responses, and answering requests",
    "10": "§10: registrations",
    "12": "§12: dialogs",
    "16": "§16: proxy behaviour",
    "17": "§17: transactions",
    "18": "§18: transport",
}
_ID = re.compile(r"(\d+(?:\.\d+)*)-\d+[a-z]?")


class Mistake(Exception):
    """A row or a marker that cannot be right."""


@dataclass
class Row:
    """One MUST or SHOULD."""

    id: str
    text: str
    who: str
    why: str = ""
    """Why it concerns nobody here."""
    unmet: str = ""
    """Why it is not met, or not shown."""
    tests: list[str] = field(default_factory=list)

    @property
    def chapter(self) -> str:
        return self.id.partition(".")[0].partition("-")[0]


def rows() -> dict[str, Row]:
    """Every statement, in the order of the RFC. Raises: Mistake."""
    found: dict[str, Row] = {}
    for path in sorted(Path(__file__).parent.glob("s*.yaml")):
        for raw in yaml.safe_load(path.read_text(encoding="utf-8")) or ():
            row = _row(raw, path.name)
            if row.id in found:
                raise Mistake(f"{path.name}: {row.id} is there twice")
            found[row.id] = row
    return dict(sorted(found.items(), key=lambda item: _order(item[0])))


def _row(raw: dict[str, Any], file: str) -> Row:
    known = {"id", "text", "who", "why", "not"}
    name = str(raw.get("id", ""))
    if not _ID.fullmatch(name) or not raw.get("text") or raw.keys() - known:
        raise Mistake(f"{file}: {raw} is no row")
    if raw.get("who") not in WHO:
        raise Mistake(f"{file}: {name}: who is one of {', '.join(WHO)}")
    row = Row(name, str(raw["text"]), str(raw["who"]), str(raw.get("why", "")), str(raw.get("not", "")))
    if row.who == "none" and (not row.why or row.unmet):
        raise Mistake(f"{file}: {name}: why does it concern nobody here?")
    return row


def _order(name: str) -> tuple[tuple[int, ...], str]:
    section, _, number = name.partition("-")
    return (*map(int, section.split(".")), 0, int(re.sub(r"\D", "", number))), name


def markers() -> Iterator[tuple[str, str]]:
    """(statement, test) of every marker; a test of a class is `path::Class::test`. Raises: Mistake."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if MARK in text:
            yield from _marked(ast.parse(text), path.relative_to(ROOT).as_posix(), ())


def _marked(node: ast.AST, path: str, inside: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        name = (*inside, child.name)
        for mark in child.decorator_list:
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == f"pytest.mark.{MARK}":
                for argument in mark.args:
                    yield ast.literal_eval(argument), "::".join((path, *name))
        if isinstance(child, ast.ClassDef):
            yield from _marked(child, path, name)


def matrix() -> dict[str, Row]:
    """The rows with their tests. Raises: Mistake."""
    found = rows()
    for statement, test in markers():
        if statement not in found:
            raise Mistake(f"{test} shows {statement}, and there is no such statement")
        found[statement].tests.append(test)
    for row in found.values():
        if row.who == "none":
            continue
        if row.tests and row.unmet:
            raise Mistake(f"{row.id} is said not to be met, and {row.tests[0]} shows that it is")
        if not row.tests and not row.unmet:
            raise Mistake(f"{row.id} concerns us: no test shows it, and nothing says why not")
    return found


def page() -> str:
    """The whole page. Raises: Mistake."""
    found = list(matrix().values())
    lines = [
        "# RFC 3261: what is asked, and the test that shows it",
        "",
        "Every MUST and SHOULD of §8.1.3, §8.2, §10, §12, §16, §17, §18. Made by `python -m tests.conformance.matrix`",
        "from the statements in `tests/conformance/` and the markers of the tests; `make check` holds it to both.",
        "",
        "| chapter | statements | concern us | met | not met or not shown | concern nobody here |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    chapters = [chapter for chapter in TITLES if any(row.chapter == chapter for row in found)]
    lines += [
        _summary(TITLES[chapter], [row for row in found if row.chapter == chapter]) for chapter in chapters
    ]
    lines.append(_summary("all", found))
    for chapter in chapters:
        lines += [
            "",
            f"## {TITLES[chapter]}",
            "",
            "| | asked | of | shown by, or why not |",
            "| --- | --- | --- | --- |",
        ]
        lines += [_line(row) for row in found if row.chapter == chapter]
    return "\n".join(lines) + "\n"


def _summary(title: str, found: list[Row]) -> str:
    count = Counter("none" if row.who == "none" else "met" if row.tests else "unmet" for row in found)
    ours = count["met"] + count["unmet"]
    return f"| {title} | {len(found)} | {ours} | {count['met']} | {count['unmet']} | {count['none']} |"


def _line(row: Row) -> str:
    if row.who == "none":
        shown = row.why
    elif row.tests:
        shown = ", ".join(f"`{test.removeprefix('tests/')}`" for test in row.tests)
    else:
        shown = f"**not:** {row.unmet}"
    cells = (row.id, row.text, WHO[row.who], shown)
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def main() -> int:
    """0: written, or current."""
    try:
        text = page()
    except Mistake as mistake:
        print(f"conformance: {mistake}")
        return 1
    if "--check" in sys.argv[1:]:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
            print("docs/conformance.md is not current: python -m tests.conformance.matrix")
            return 1
        print("conformance.md is current")
        return 0
    PAGE.write_text(text, encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
