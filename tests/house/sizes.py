"""Holds every file to its size: Python files to 400 lines, functions to 70, Lua scripts to 60 lines of code.

Small files named after the one thing in them are how a newcomer finds "where is Timer C" by reading names.
Run by `make check` as `python -m tests.house.sizes`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("proxy", "policies", "config", "tests", "load")

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
LUA_LINES_MAX = 60


def too_long(path: Path, shown: Path) -> Iterator[str]:
    """One line of text for each thing in this file that is over its size."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".lua":
        yield from _lua(text, shown)
        return
    lines = len(text.splitlines())
    if lines > FILE_LINES_MAX:
        yield f"{shown}:1: {lines} lines in the file, at most {FILE_LINES_MAX}"
    for node in ast.walk(ast.parse(text, filename=str(path))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES_MAX:
                yield f"{shown}:{node.lineno}: {length} lines in {node.name}(), at most {FUNCTION_LINES_MAX}"


def _lua(text: str, shown: Path) -> Iterator[str]:
    # The header that gives purpose, KEYS, ARGV and output is not held against a script.
    code = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("--")]
    if len(code) > LUA_LINES_MAX:
        yield f"{shown}:1: {len(code)} lines of code in the script, at most {LUA_LINES_MAX}"


def check_tree(root: Path) -> list[str]:
    """Everything over its size under `root`, in the order of paths."""
    found: list[str] = []
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".py", ".lua") and path.is_file():
                found.extend(too_long(path, path.relative_to(root)))
    return found


def main() -> int:
    found = check_tree(ROOT)
    for line in found:
        print(line)
    print(f"sizes: {len(found)} over" if found else "sizes: every file and function within its size")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
