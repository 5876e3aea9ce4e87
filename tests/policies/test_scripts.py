"""The loader holds each script's name and header to each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis import Redis

from policies.scripts import FOLDER, ScriptError, load_scripts, read_script

HEADER = "-- Does a thing.\n--\n-- KEYS  1 one  2 two\n-- ARGV  none\n-- Output: nothing\n"


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_redis_knows_every_script_by_the_name_we_have_for_it(redis_client: Redis) -> None:
    for script in load_scripts().all():
        assert redis_client.script_load(script.text.decode()) == script.sha


def test_no_script_looks_for_keys_or_takes_a_clients_clock() -> None:
    for path in FOLDER.rglob("*.lua"):
        assert "'KEYS'" not in path.read_text()
    for script in load_scripts().all():
        assert script.text.count(b"redis.call('TIME')") == 1


def test_includes_are_put_in_and_comments_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    written(tmp_path / "lib", "outer.lua", "-- why\nlocal a = 1\n-- @include inner\n")
    written(tmp_path / "lib", "inner.lua", "local b = 2\n")
    script = read_script(written(tmp_path, "do-2.lua", HEADER + "-- @include outer\nreturn a + b\n"))
    assert (script.name, script.keys) == ("do", 2)
    assert script.text == b"local a = 1\nlocal b = 2\nreturn a + b\n"


def test_a_fragment_can_be_replaced(tmp_path: Path) -> None:
    path = written(tmp_path, "do-2.lua", HEADER + "-- @include clock\nreturn now\n")
    assert read_script(path, {"clock": "local now = 7"}).text == b"local now = 7\nreturn now\n"


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("do.lua", HEADER, "name"),
        ("do-3.lua", HEADER, "3 keys, the header lists 2"),
        ("do-2.lua", HEADER.replace("2 two", "3 two"), "not numbered"),
        ("do-2.lua", "return 1\n", "header"),
        ("do-2.lua", HEADER.replace("-- ARGV  none\n", ""), "header"),
        ("do-2.lua", HEADER + "-- @include nowhere\n", "no lib/nowhere.lua"),
    ],
)
def test_a_script_that_contradicts_itself_is_refused(tmp_path: Path, name: str, text: str, told: str) -> None:
    with pytest.raises(ScriptError, match=told):
        read_script(written(tmp_path, name, text))


def test_a_script_nobody_calls_is_a_mistake(tmp_path: Path) -> None:
    written(tmp_path, "do-2.lua", HEADER)
    with pytest.raises(ScriptError, match="do"):
        load_scripts(tmp_path)
