"""A YAML file as plain data that remembers its lines, and the errors that point at them.

Only the parser of PyYAML is used, not its constructor: scalars stay the text that was written (see config.units), and
each value keeps its line. A value left empty, `~` or `null` is the empty text. Anchors and aliases work.
Not handled: merge keys (`<<`) and tags of the file's own; both are errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

Loc = tuple[str | int, ...]
"""Where a value stands: keys and list indices from the top."""

DEPTH_MAX: Final = 32
"""Levels of nesting; the schema needs nine. PyYAML's own composer recurses in C and ends the process at some 10,000."""

_NULLS: Final = ("", "~", "null", "Null", "NULL")
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is some eight times as fast


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
        self._anchors: dict[str, tuple[Loc, Any]] = {}
        self._aliases: dict[Loc, Loc] = {}
        self._events: Iterator[Any] = iter(())

    def problem(self, loc: Loc, text: str) -> Problem:
        """A mistake at `loc`, or in the nearest thing around it that the file has."""
        known = loc
        while known and not self.has(known):
            known = known[:-1]
        return Problem(str(self.file), self._lines.get(self._origin(known), 1), path_text(loc), text)

    def has(self, loc: Loc) -> bool:
        """Whether the file has something there."""
        return self._origin(loc) in self._lines

    def read(self) -> None:
        """Fill in data, lines and problems. Never raises for anything that is in the file, or for a missing one."""
        try:
            with self.file.open("rb") as stream:
                self._events = yaml.parse(stream, Loader=_LOADER)
                self.data = self._documents()
        except OSError as error:
            self.problems.append(Problem(str(self.file), 1, "", f"cannot be read: {error.strerror}"))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            why = ", ".join(str(part) for part in (error.context, error.problem) if part)
            self.problems.append(
                Problem(str(self.file), mark.line + 1 if mark else 1, "", f"not YAML: {why}")
            )
        except yaml.YAMLError as error:
            self.problems.append(Problem(str(self.file), 1, "", f"not YAML: {str(error).splitlines()[0]}"))

    def _documents(self) -> Any:
        """The one document of the file."""
        data: Any = {}
        seen = False
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if seen:
                    raise _broken(event, "a second document starts here")
                seen = True
                data = self._value(next(self._events), ())
        return data

    def _value(self, event: Any, loc: Loc) -> Any:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, loc)
        if loc not in self._lines or isinstance(event, yaml.ScalarEvent):
            self._lines[loc] = line  # of a mapping or a list: the line of its key
        if event.tag is not None and event.tag != "!" and not event.tag.startswith("tag:yaml.org,2002:"):
            self.problems.append(self.problem(loc, f"the tag {event.tag} has no meaning here"))
        if isinstance(event, yaml.ScalarEvent):
            value: Any = "" if not event.style and event.value in _NULLS else event.value
        elif len(loc) >= DEPTH_MAX:
            raise _broken(event, f"more than {DEPTH_MAX} levels deep")
        elif isinstance(event, yaml.MappingStartEvent):
            value = self._mapping(loc)
        else:
            value = self._list(loc)
        if event.anchor is not None:
            self._anchors[event.anchor] = (loc, value)
        return value

    def _alias(self, event: Any, loc: Loc) -> Any:
        """What the anchor stands for: the very same object, so nested aliases cannot grow."""
        if event.anchor not in self._anchors:
            raise _broken(
                event, f"*{event.anchor} stands before the end of &{event.anchor}, or there is none"
            )
        origin, value = self._anchors[event.anchor]
        self._lines[loc] = event.start_mark.line + 1
        self._aliases[loc] = origin
        return value

    def _origin(self, loc: Loc) -> Loc:
        """Where the text of `loc` stands, when it is inside an alias."""
        for end in range(len(loc) - 1, 0, -1) if self._aliases else ():
            if loc[:end] in self._aliases:
                return self._origin(self._aliases[loc[:end]] + loc[end:])
        return loc

    def _list(self, loc: Loc) -> list[Any]:
        data: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            data.append(self._value(event, (*loc, len(data))))
        return data

    def _mapping(self, loc: Loc) -> dict[str, Any]:
        data: dict[str, Any] = {}
        while not isinstance(key := next(self._events), yaml.MappingEndEvent):
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarEvent):
                raise _broken(key, "a key must be a word")
            inner = (*loc, key.value)
            if key.value in data:
                text = f"written twice, first in line {self._lines[inner]}"
                self.problems.append(Problem(str(self.file), line, path_text(inner), text))
                self._skip()
                continue
            self._lines[inner] = line
            data[key.value] = self._value(next(self._events), inner)
        return data

    def _skip(self) -> None:
        """Pass over one value."""
        depth = 0
        for event in self._events:
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth == 0:
                return


def _broken(event: Any, text: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(None, None, text, event.start_mark)
