"""What all sections of the configuration have in common: strict, closed, frozen."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator


class Model(BaseModel):
    """A section. Unknown keys are errors, nothing is converted silently, nothing changes after it was made.

    Attributes have the names of the files' keys. A section left empty (`store:` with all its lines commented out)
    is the section with its defaults.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        validate_by_name=True,
        validate_by_alias=True,
        hide_input_in_errors=True,
        validate_default=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_is_default(cls, raw: Any) -> Any:
        if raw == "":
            raw = {}
        if isinstance(raw, dict) and cls._sections():
            # Given as {} instead of left to its default, so that its paths learn their folder too.
            return {**{name: {} for name in cls._sections()}, **raw}
        return raw

    @classmethod
    @cache
    def _sections(cls) -> tuple[str, ...]:
        """Fields that are sections themselves and may be absent."""
        fields = cls.model_fields.items()
        return tuple(name for name, field in fields if isinstance(field.default, Model))


def _as_tuple(raw: Any) -> Any:
    if raw == "":
        return ()
    return tuple(raw) if isinstance(raw, list) else raw


listed = BeforeValidator(_as_tuple)
"""A list of the file becomes a tuple; an empty value is an empty list."""

mapped = BeforeValidator(lambda raw: {} if raw == "" else raw)
"""An empty value is an empty mapping."""
