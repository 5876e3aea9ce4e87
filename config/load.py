"""The one loader, for `serve` and `check` alike: three files in, one immutable Loaded out, or every mistake at once.

Three looks: each file as YAML (config.document), each by its schema (config.schema, config.tariffs), then what must
hold between them (config.references). A part with mistakes is left out and the rest looked at nevertheless.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from config.certificates import warn_of_certificates
from config.document import ConfigErrors, Document, Loc, Problem, path_text
from config.model import Model
from config.references import Known, check_config, check_members, check_subscribers
from config.schema import Config, ReasonName
from config.tariffs import Plan, PlansFile, Subscriber, SubscribersFile

__all__ = ["ConfigErrors", "Loaded", "Problem", "assemble", "load"]

M = TypeVar("M", bound=Model)

_COLLECTIONS: Final = ("plans", "subscribers", "trunks", "workers", "refusals")
"""Sections of which one bad entry does not spoil the others."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the three files say, made by `load` or `assemble`: the references between them hold."""

    config: Config
    plans: Mapping[str, Plan]
    subscribers: Mapping[str, Subscriber]
    warnings: tuple[Problem, ...] = ()
    """What is odd and no mistake: for `check` to print and `serve` to log."""


def load(path: Path | str) -> Loaded:
    """Load callgate.yaml and the plans and subscribers it names.

    Raises: ConfigErrors with every mistake in the three files.
    """
    problems: list[Problem] = []
    main = _document(Path(path), problems)
    if main.data is None:
        raise ConfigErrors(problems)
    config = _validate(Config, main, problems)
    tariffs = [_document(_tariff_path(config, main, key), problems) for key in ("plans", "subscribers")]
    plans = _validate(PlansFile, tariffs[0], problems)
    subscribers = _validate(SubscribersFile, tariffs[1], problems)
    known = Known(
        config,
        plans.plans if plans else {},
        subscribers.subscribers if subscribers else {},
        _names(tariffs[0], "plans"),
        _names(tariffs[1], "subscribers"),
        _names(main, "trunks", ""),
        _names(main, "workers", ""),
    )
    problems += [main.problem(*found) for found in check_config(known)]
    problems += [tariffs[1].problem(*found) for found in check_subscribers(known)]
    if problems or config is None:
        raise ConfigErrors(problems)
    return Loaded(
        config,
        types.MappingProxyType(known.plans),
        types.MappingProxyType(known.subscribers),
        (
            *(main.problem(*found) for found in warn_of_certificates(config)),
            *(tariffs[1].problem(*found) for found in check_members(known)),
        ),
    )


def assemble(config: Config, plans: Mapping[str, Plan], subscribers: Mapping[str, Subscriber]) -> Loaded:
    """Loaded of parts made in Python.

    Raises: ConfigErrors that name the field, with no file and line 0.
    """
    known = Known(
        config,
        plans,
        subscribers,
        plans.keys(),
        subscribers.keys(),
        config.trunks.keys(),
        config.workers.keys(),
    )
    found = [*check_config(known), *check_subscribers(known)]
    if found:
        raise ConfigErrors(Problem("", 0, path_text(loc), text) for loc, text in found)
    return Loaded(config, types.MappingProxyType({**plans}), types.MappingProxyType({**subscribers}))


def _document(path: Path, problems: list[Problem]) -> Document:
    document = Document(path)
    document.read()
    problems += document.problems
    return document


def _tariff_path(config: Config | None, main: Document, key: str) -> Path:
    """Of the plans or subscribers, also when the file that names them has mistakes."""
    if config is not None:
        return Path(getattr(config, key))
    written = main.data.get(key) if isinstance(main.data, dict) else None
    return main.file.parent / (written if isinstance(written, str) and written else f"{key}.yaml")


def _names(document: Document, section: str, absent: str | None = None) -> frozenset[str] | None:
    """What the section names, valid or not; None when it cannot be read. `absent` = "" for one that may be absent."""
    entries = document.data.get(section, absent) if isinstance(document.data, dict) else None
    return frozenset(entries) if isinstance(entries, dict) else frozenset() if entries == "" else None


def _validate(model: type[M], document: Document, problems: list[Problem]) -> M | None:
    """The file by its schema; after mistakes, what is left of it without the parts that have them."""
    if document.data is None:
        return None
    context = {"folder": document.file.parent}
    data = document.data
    try:
        return model.model_validate(data, context=context)
    except ValidationError as error:
        details = error.errors(include_url=False)
    told = {problem.path for problem in document.problems}
    found = [_problem(model, document, detail) for detail in details]
    problems += [problem for problem in found if problem.path not in told]
    if not isinstance(data, dict):
        return None
    try:
        return model.model_validate(_without(data, [detail["loc"] for detail in details]), context=context)
    except ValidationError:
        return None


def _without(data: dict[str, Any], locs: list[Loc]) -> dict[str, Any]:
    """A copy without the entries, or else the sections, that these mistakes are in."""
    rest = dict(data)
    for loc in locs:
        section = loc[0] if loc else None
        if section in _COLLECTIONS and isinstance(rest.get(section), dict) and len(loc) > 1:
            rest[section] = {key: value for key, value in rest[section].items() if key != loc[1]}
        elif isinstance(section, str):
            rest.pop(section, None)
    return rest


def _problem(model: type[Model], document: Document, detail: ErrorDetails) -> Problem:
    loc = detail["loc"]
    kind, context = detail["type"], detail.get("ctx", {})
    if loc and loc[-1] == "[key]":
        loc = loc[:-1]
    elif kind not in ("missing", "extra_forbidden"):
        while loc and not document.has(loc):  # `lines: 0` is told as lines, not as lines.value
            loc = loc[:-1]
    if kind == "value_error":
        text = str(context["error"])
    elif kind == "missing":
        text = "is missing"
    elif kind == "extra_forbidden":
        text = _unknown_key(model, loc)
    elif loc[:-1] == ("refusals",) and kind == "literal_error":
        close = difflib.get_close_matches(str(loc[-1]), get_args(ReasonName), 1, 0.3)
        text = "is no reason of a refusal" + (f"; did you mean {close[0]}?" if close else "")
    elif kind == "literal_error":
        expected = str(context["expected"]).replace("'", "")
        text = f"must be {expected}, not {detail['input'] or 'empty'}"
    else:
        text = _WORDS.get(kind, detail["msg"])
    return document.problem(loc, text)


_WORDS: Final[Mapping[str, str]] = {
    "model_type": "must be a mapping, such as {key: value}",
    "model_attributes_type": "must be a mapping, such as {key: value}",
    "dict_type": "must be a mapping, such as {key: value}",
    "tuple_type": "must be a list, such as [one, two]",
    "string_type": "must be text",
    "too_short": "must not be empty",
}


def _unknown_key(model: type[Model], loc: Loc) -> str:
    key = str(loc[-1])
    known = sorted({name for found in _models_at(model, loc[:-1]) for name in _keys(found)})
    close = difflib.get_close_matches(key, known, 1)
    if close:
        return f"unknown key; did you mean {close[0]}?"
    return f"unknown key; known here: {', '.join(known)}" if known else "unknown key; nothing is known here"


def _keys(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield field.alias or name


def _models_at(model: type[BaseModel], loc: Loc) -> list[type[BaseModel]]:
    """The schema of what stands at `loc`, found by walking the annotations."""
    here: list[Any] = [model]
    for step in loc:
        inner: list[Any] = []
        for one in here:
            if isinstance(one, type) and issubclass(one, BaseModel):
                fields = {field.alias or name: field.annotation for name, field in one.model_fields.items()}
                inner += _alternatives(fields.get(str(step)))
            elif get_origin(one) in (dict, tuple):
                args = get_args(one)
                inner += _alternatives(args[0] if get_origin(one) is tuple else args[1])
        here = inner
    return [one for one in here if isinstance(one, type) and issubclass(one, BaseModel)]


def _alternatives(annotation: Any) -> list[Any]:
    """X | None → [X]; Annotated[X, …] → [X]."""
    if get_origin(annotation) in (Union, types.UnionType):
        return [inner for arg in get_args(annotation) for inner in _alternatives(arg)]
    metadata = getattr(annotation, "__metadata__", None)
    return _alternatives(annotation.__origin__) if metadata else [annotation]
