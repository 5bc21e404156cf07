"""``Part``, of which all records of a report are made, and the numbers that these may hold."""

import math
from collections.abc import Callable
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator

MAX_NUMBER = 2.0**63  # no count and no measurement comes near it

Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
Number = Annotated[float, Field(ge=-MAX_NUMBER, le=MAX_NUMBER, allow_inf_nan=False)]
Interval = Annotated[tuple[Number, Number], Strict(False)]  # JSON has lists only


class Part(BaseModel):
    """A part of a report: frozen, exact about types, open to fields that a later version adds."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow", populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _is_text(cls, value: object, /) -> object:
        # Lone surrogates, which no string of a report can hold, become visible escapes like \udc80.
        return map_json(
            value, lambda item: item.encode(errors="backslashreplace").decode() if isinstance(item, str) else item
        )

    @classmethod
    def of(cls, source: object, /, **more: object) -> Self:
        """The record of a value: its attributes by the names of the fields, and ``more`` for what it calls otherwise.

        What has a record of its own becomes that, and a number that is none becomes null.
        """
        values = {name: getattr(source, name) for name in cls.model_fields if hasattr(source, name)}
        values |= more
        values |= {name: value.record() for name, value in values.items() if hasattr(value, "record")}
        return cls.model_validate(
            {key: finite(value) if isinstance(value, float) else value for key, value in values.items()}
        )

    def as_json(self) -> dict[str, object]:
        """The same as a JSON object, with the keys that were set; a number that is none becomes null."""
        return {key: plain(inner) for key, inner in self.model_dump(by_alias=True, exclude_unset=True).items()}


def map_json(value: object, change: Callable[[object], object], /) -> object:
    """The same JSON value with every text, number and key changed, and lists in the place of tuples."""
    if isinstance(value, dict):
        return {change(key): map_json(inner, change) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [map_json(inner, change) for inner in value]
    return change(value)


def plain(value: object, /) -> object:
    """A JSON value with null in the place of every number that is none, and lists in the place of tuples."""
    return map_json(value, lambda item: finite(item) if isinstance(item, float) else item)


def finite(value: float | None, /) -> float | None:
    """A number, or None for what could not be measured (nan) and for infinities: JSON has neither."""
    return value if value is not None and math.isfinite(value) else None
