"""How values look on the wire: camelCase, money as numbers, instants with their offset."""

from datetime import time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Generic, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

Money = Annotated[Decimal, PlainSerializer(float, return_type=float, when_used="json")]
"""Yuan with two places; a JSON number."""

TimeOfDay = Annotated[
    time,
    PlainSerializer(lambda at: f"{at:%H:%M}", return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^\d\d:\d\d$", "examples": ["23:59"]}),
]
"""A local time such as 23:59, in the hospital's zone. OpenAPI's `time` would want an offset."""


def _is_no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "should be an integer")
    return value


NO_TRUTH = BeforeValidator(_is_no_truth_value)
"""For whole numbers: JSON's `true` would be 1, also as the number of an order or a doctor."""


def _has_no_nul(value: str) -> str:
    if "\0" in value:
        raise PydanticCustomError("nul", "must not contain a NUL character")
    return value


NO_NUL = AfterValidator(_has_no_nul)
"""For texts: PostgreSQL keeps no NUL, and would not say which field it came in."""


def iso_duration(length: timedelta) -> str:
    """Whole seconds as RFC 3339 spells a duration (appendix A): no fractions, no gap between the
    hours and the seconds, days and no years. `P1DT2H0M5S`; nothing is `PT0S`."""
    minutes, seconds = divmod(max(int(length.total_seconds()), 0), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(hours, "H"), (minutes, "M"), (seconds, "S")]
    while parts and parts[0][0] == 0:
        parts.pop(0)
    while parts and parts[-1][0] == 0:
        parts.pop()
    of_day = "".join(f"{count}{unit}" for count, unit in parts)
    of_days = f"{days}D" if days else ""
    if not of_day:
        return f"P{of_days}" if days else "PT0S"
    return f"P{of_days}T{of_day}"


Duration = Annotated[
    timedelta,
    PlainSerializer(iso_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "duration", "examples": ["PT15M"]}),
]
"""A length of time in ISO 8601. Pydantic's own spelling has fractions and years."""


class Schema(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        from_attributes=True,
        str_strip_whitespace=True,
    )


Item = TypeVar("Item")


class Page(Schema, Generic[Item]):
    items: list[Item]
    total: int
    page: int
    size: int
