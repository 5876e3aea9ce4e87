"""The size check finds what is too long, counts a function by its own lines, and does not count Lua headers."""

from __future__ import annotations

from pathlib import Path

from tests.house.sizes import FILE_LINES_MAX, FUNCTION_LINES_MAX, LUA_LINES_MAX, check_tree


def _tree(root: Path, name: str, text: str) -> list[str]:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return check_tree(root)


def test_a_file_at_its_limit_passes_and_one_line_more_is_named(tmp_path: Path) -> None:
    assert _tree(tmp_path, "proxy/a.py", "x = 1\n" * FILE_LINES_MAX) == []
    over = _tree(tmp_path, "proxy/a.py", "x = 1\n" * (FILE_LINES_MAX + 1))
    assert over == [f"proxy/a.py:1: {FILE_LINES_MAX + 1} lines in the file, at most {FILE_LINES_MAX}"]


def test_a_function_is_measured_from_its_def_to_its_last_line(tmp_path: Path) -> None:
    body = "    x = 1\n"
    fits = "def f() -> None:\n" + body * (FUNCTION_LINES_MAX - 1)
    assert _tree(tmp_path, "policies/deep/f.py", fits) == []
    over = _tree(tmp_path, "policies/deep/f.py", "\n" + fits + body)
    assert over == [
        f"policies/deep/f.py:2: {FUNCTION_LINES_MAX + 1} lines in f(), at most {FUNCTION_LINES_MAX}"
    ]


def test_an_async_method_is_a_function_too(tmp_path: Path) -> None:
    text = "class A:\n    async def g(self) -> None:\n" + "        x = 1\n" * FUNCTION_LINES_MAX
    (line,) = _tree(tmp_path, "load/g.py", text)
    assert line.startswith("load/g.py:2: ")


def test_a_lua_script_is_measured_without_its_header(tmp_path: Path) -> None:
    header = "-- purpose\n\n" * 20
    assert _tree(tmp_path, "policies/lua/a-1.lua", header + "local x\n" * LUA_LINES_MAX) == []
    (line,) = _tree(tmp_path, "policies/lua/a-1.lua", header + "local x\n" * (LUA_LINES_MAX + 1))
    assert line.startswith("policies/lua/a-1.lua:1: ")
