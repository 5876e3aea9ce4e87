"""Whatever is in a file, reading it ends in data or in words; never in a traceback, never in the end of the process."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.document import DEPTH_MAX, Document, Problem, path_text
from config.load import ConfigErrors, load


def read(tmp_path: Path, content: bytes) -> Document:
    path = tmp_path / "file.yaml"
    path.write_bytes(content)
    document = Document(path)
    document.read()
    return document


RUBBISH = {
    # PyYAML's composer ends the process on these two.
    "lists in lists": b"[" * 100_000,
    "mappings in mappings": b"{a: " * 100_000,
    "not UTF-8": b"domains: [\xff\xfe]",
    "a control character": b"a: \x00",
    "a bare alias": b"*nothing",
    "a bare tag": b"!",
    "only a comment and a marker": b"# nothing\n---\n",
}


@pytest.mark.parametrize("name", RUBBISH)
def test_rubbish_is_told_and_not_raised(name: str, tmp_path: Path) -> None:
    document = read(tmp_path, RUBBISH[name])
    assert document.problems or document.data in ({}, "")
    (tmp_path / "callgate.yaml").write_bytes(RUBBISH[name])
    with pytest.raises(ConfigErrors):
        load(tmp_path / "callgate.yaml")


@given(st.binary(max_size=60))
def test_no_bytes_raise(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    read(tmp_path_factory.getbasetemp(), content)


def test_a_second_value_for_a_key_is_skipped_though_it_is_too_deep(tmp_path: Path) -> None:
    document = read(tmp_path, b"a: 1\na: " + b"[" * 500 + b"]" * 500 + b"\nb: 2\n")
    assert document.data == {"a": "1", "b": "2"}
    assert [problem.line for problem in document.problems] == [2]


def test_beyond_what_the_parser_itself_takes_there_are_words(tmp_path: Path) -> None:
    """libyaml has a bound of its own from some version on (1,000 levels): the mistake is told all the same."""
    document = read(tmp_path, b"a: 1\na: " + b"[" * 50_000 + b"]" * 50_000 + b"\nb: 2\n")
    assert {problem.line for problem in document.problems} == {2}


def test_depth_is_bounded_and_what_the_schema_needs_is_far_below(tmp_path: Path) -> None:
    assert read(tmp_path, b"[" * DEPTH_MAX + b"]" * DEPTH_MAX).problems == []
    assert read(tmp_path, b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1)).problems != []


def test_nested_aliases_do_not_grow(tmp_path: Path) -> None:
    """The billion laughs: ten levels of ten aliases are ten lists, not ten thousand million values."""
    lines = [b"a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [b"a%d: &a%d [%s]" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 10)) for i in range(1, 10)]
    document = read(tmp_path, b"\n".join(lines))
    assert document.problems == []
    assert document.data["a9"][0] is document.data["a9"][9] is document.data["a8"]


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    text = b"# first\r\na:\r\n  b: 1\r\n  c:\r\n    - x\r\n    - y: |\r\n        two\r\n        lines\r\n"
    document = read(tmp_path, text)
    assert document.data == {"a": {"b": "1", "c": ["x", {"y": "two\nlines\n"}]}}
    lines = {
        loc: document.problem(loc, "").line
        for loc in [
            ("a",),
            ("a", "b"),
            ("a", "c"),
            ("a", "c", 0),
            ("a", "c", 1, "y"),
            ("a", "nowhere"),
            ("z",),
        ]
    }
    assert list(lines.values()) == [2, 3, 4, 5, 6, 2, 2]


def test_inside_an_alias_the_line_is_that_of_the_text(tmp_path: Path) -> None:
    document = read(tmp_path, b"a: &x\n  b: {c: 1}\nd: *x\ne: {f: *x}\n")
    assert document.problem(("d",), "").line == 3
    assert document.problem(("d", "b", "c"), "").line == 2
    assert document.problem(("e", "f", "b", "nothing"), "").line == 2
    assert document.has(("e", "f", "b", "c"))
    assert not document.has(("e", "b"))


def test_empty_values_are_empty_texts_and_quoted_ones_stay(tmp_path: Path) -> None:
    document = read(tmp_path, b"a:\nb: ~\nc: null\nd: 'null'\ne: ''\nf: 'yes'\ng: !!int 5\n")
    assert list(document.data.values()) == ["", "", "", "null", "", "yes", "5"]


def test_a_file_that_is_not_there_or_a_folder(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "nowhere.yaml", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigErrors) as raised:
            load(path)
        assert [str(problem) for problem in raised.value.problems] == [f"{path}:1: cannot be read: {why}"]


def test_problems_stand_in_the_order_of_lines_and_once() -> None:
    problems = [
        Problem("f", 10, "b", "x"),
        Problem("f", 9, "c", "x"),
        Problem("f", 10, "a", "x"),
        Problem("f", 9, "c", "x"),
    ]
    assert str(ConfigErrors(problems)) == "f:9: c: x\nf:10: a: x\nf:10: b: x"


def test_paths_are_written_as_people_do() -> None:
    assert path_text(("listen", 0, "address")) == "listen[0].address"
    assert path_text(()) == ""
