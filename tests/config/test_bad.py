"""One bad file for each mistake, with the errors it must give: exactly those, with file, line and field.

A file in bad/ starts with `# as: FILE` (which of the three files it takes the place of; the two others come from
good/) and one `# expect: LINE: path: text` for each error. A text that ends in … is only a beginning.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from config.load import ConfigErrors, load

HERE = Path(__file__).parent
BAD = sorted((HERE / "bad").glob("*.yaml"))


def expectations(path: Path) -> tuple[str, list[str]]:
    """(the file it stands for, the errors it must give)."""
    lines = path.read_text(encoding="utf-8").splitlines()
    found = [line.removeprefix("# expect: ") for line in lines if line.startswith("# expect: ")]
    name = lines[0].removeprefix("# as: ")
    return name, [text if not text[0].isdigit() else f"{name}:{text}" for text in found]


def errors_of(folder: Path) -> list[str]:
    with pytest.raises(ConfigErrors) as raised:
        load(folder / "callgate.yaml")
    return [str(problem).removeprefix(f"{folder}/") for problem in raised.value.problems]


@pytest.mark.parametrize("bad", BAD, ids=lambda path: path.stem)
def test_a_mistake_is_told_with_file_line_and_field(bad: Path, tmp_path: Path) -> None:
    name, expected = expectations(bad)
    for good in (HERE / "good").iterdir():
        shutil.copy(good, tmp_path)
    shutil.copy(bad, tmp_path / name)
    seen = errors_of(tmp_path)
    shown = [
        want if want.endswith("…") and got.startswith(want[:-1]) else got
        for want, got in zip(expected, seen, strict=False)
    ]
    assert [*shown, *seen[len(expected) :]] == expected


def test_every_bad_file_says_what_it_expects() -> None:
    assert len(BAD) > 100
    assert [path.name for path in BAD if not expectations(path)[1]] == []


def test_mistakes_of_all_three_files_come_at_once(tmp_path: Path) -> None:
    for name in ("listen-tls", "count-zero", "override-wrong-unit"):
        path = HERE / "bad" / f"{name}.yaml"
        shutil.copy(path, tmp_path / expectations(path)[0])
    files = [error.split(":")[0] for error in errors_of(tmp_path)]
    assert files == ["callgate.yaml", "callgate.yaml", "plans.yaml", "subscribers.yaml"]


def test_a_secret_is_never_repeated_in_an_error(tmp_path: Path) -> None:
    secret = "hunter2hunter2"
    (tmp_path / "callgate.yaml").write_text(
        f"domains: [example.com]\nlisten: [udp://127.0.0.1:0]\n"
        f"store: {{url: 'http://:{secret}@localhost'}}\nauth: {{nonce_secret: [{secret}]}}\n"
    )
    (tmp_path / "plans.yaml").write_text("plans: {}")
    (tmp_path / "subscribers.yaml").write_text(
        f"subscribers:\n  alice:\n    accounts:\n"
        f"      - {{user: a, password: {secret}, ha1: {{MD5: {secret}}}, mode: softphone}}\n"
        f"      - {{user: b, password: [{secret}], mode: softphone}}\n"
        f"      - {{user: c, ha1: {secret}, mode: softphone}}\n"
    )
    errors = errors_of(tmp_path)
    assert len(errors) == 5
    assert secret not in "\n".join(errors)
