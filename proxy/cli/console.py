"""What the commands share: the configuration they are given, the running callgate they ask, how they end and print.

Exit codes: 0 done; 1 it could not be done; 2 a mistake in the configuration or on the command line.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from config.load import ConfigErrors, Loaded, load

F = TypeVar("F", bound=Callable[..., Any])

DONE, FAILED, MISTAKEN = 0, 1, 2


def config_option(command: F) -> F:
    """`-c FILE`."""
    return click.option(
        "-c",
        "--config",
        "path",
        type=click.Path(path_type=Path),
        default="config/callgate.yaml",
        envvar="CALLGATE_CONFIG",
        show_default=True,
        show_envvar=True,
        help="The configuration file; it names the files of plans and subscribers.",
    )(command)


def read(path: Path, *, to_stderr: bool) -> Loaded:
    """The configuration; with mistakes in it they are told, and that is the end."""
    try:
        return load(path)
    except ConfigErrors as errors:
        for problem in errors.problems:
            click.echo(str(problem), err=to_stderr)
        sys.exit(MISTAKEN)


def ask(
    path: Path, method: str, target: str, body: dict[str, Any] | None = None, timeout: float | None = None
) -> Any:
    """What the running callgate answers. When none does, that is told, and is the end."""
    from proxy.app.control import TIMEOUT, ControlError
    from proxy.app.control import ask as put

    loaded = read(path, to_stderr=True)
    try:
        return put(loaded.config.admin.socket, method, target, body, timeout or TIMEOUT)
    except ControlError as error:
        fail(str(error))


def fail(text: str) -> NoReturn:
    """It could not be done."""
    click.echo(f"callgate: {text}", err=True)
    sys.exit(FAILED)


def bare(text: str) -> str:
    """A peer chose it: nothing in it may command the terminal."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def many(things: Any, word: str) -> str:
    """`3 plans`."""
    return f"{len(things)} {word}{plural(len(things))}"


def plural(count: int) -> str:
    """The s of many."""
    return "" if count == 1 else "s"


def table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows in columns; the first is the heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
