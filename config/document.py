"""A YAML file as plain data that remembers its lines, and the errors that point at them.

Only the composer of PyYAML is used, not its constructor: scalars stay the text that was written (see config.units), and
each value keeps its line. A value left empty, `~` or `null` is the empty text.
Not handled: merge keys (`<<`) and tags of the file's own; both are errors.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

Loc = tuple[str | int, ...]
"""Where a value stands: keys and list indices from the top."""

NODES_MAX: Final = 10_000_000
"""Values in one file, aliases written out: a bound on what a handful of nested aliases can grow to."""

_NULLS: Final = ("", "~", "null", "Null", "NULL")
_LOADER: Final[Any] = getattr(
    yaml, "CSafeLoader", yaml.SafeLoader
)  # libyaml composes some eight times as fast


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake: `file:line: path: what is wrong`."""

    file: str
    line: int
    """From 1; a mistake of the file as a whole is told in line 1. 0 = made in Python."""
    path: str
    """`plans.office.categories.gateway.lines`; "" when the mistake is not in one value."""
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.file else ""
        return ": ".join(part for part in (place, self.path, self.text) if part)


class ConfigErrors(Exception):
    """Every mistake that was found, in the order of files and lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: list[Problem] = sorted(set(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def path_text(loc: Loc) -> str:
    """("listen", 0, "address") → `listen[0].address`."""
    text = ""
    for step in loc:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


class Document:
    """One file: its data, and the line of everything in it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.data: Any = None
        """dicts, lists and texts; None when the file cannot be read as YAML."""
        self.problems: list[Problem] = []
        self._lines: dict[Loc, int] = {}
        self._open: set[int] = set()

    def problem(self, loc: Loc, text: str) -> Problem:
        """A mistake at `loc`, or in the nearest thing around it that the file has."""
        known = loc
        while known and known not in self._lines:
            known = known[:-1]
        return Problem(str(self.file), self._lines.get(known, 1), path_text(loc), text)

    def has(self, loc: Loc) -> bool:
        """Whether the file has something there."""
        return loc in self._lines

    def read(self) -> None:
        """Fill in data, lines and problems. Never raises for anything that is in the file, or for a missing one."""
        try:
            with self.file.open("rb") as stream:
                root = yaml.compose(stream, Loader=_LOADER)
            self.data = {} if root is None else self._plain(root, ())
        except OSError as error:
            self.problems.append(Problem(str(self.file), 1, "", f"cannot be read: {error.strerror}"))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            why = ", ".join(str(part) for part in (error.context, error.problem) if part)
            self.problems.append(
                Problem(str(self.file), mark.line + 1 if mark else 1, "", f"not YAML: {why}")
            )
        except (yaml.YAMLError, RecursionError) as error:
            why = "nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0]
            self.problems.append(Problem(str(self.file), 1, "", f"not YAML: {why}"))

    def _plain(self, node: yaml.Node, loc: Loc) -> Any:
        self._lines[loc] = self._lines.get(loc) or node.start_mark.line + 1
        if len(self._lines) > NODES_MAX:
            raise yaml.YAMLError(f"more than {NODES_MAX} values")
        if not node.tag.startswith("tag:yaml.org,2002:"):
            self.problems.append(self.problem(loc, f"the tag {node.tag} has no meaning here"))
            return ""
        if isinstance(node, yaml.ScalarNode):
            self._lines[loc] = node.start_mark.line + 1
            return "" if not node.style and node.value in _NULLS else node.value
        if id(node) in self._open:
            self.problems.append(self.problem(loc, "contains itself"))
            return ""
        self._open.add(id(node))
        value = self._mapping(node, loc) if isinstance(node, yaml.MappingNode) else self._list(node, loc)
        self._open.discard(id(node))
        return value

    def _list(self, node: Any, loc: Loc) -> list[Any]:
        return [self._plain(item, (*loc, index)) for index, item in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(Problem(str(self.file), line, path_text(loc), "a key must be a word"))
                continue
            key = key_node.value
            inner = (*loc, key)
            if key in data:
                first = self._lines[inner]
                text = f"written twice, first in line {first}"
                self.problems.append(Problem(str(self.file), line, path_text(inner), text))
                continue
            self._lines[inner] = line
            data[key] = self._plain(value_node, inner)
        return data
