"""How values look on the wire: camelCase, money as numbers, instants with their offset."""

from datetime import time
from decimal import Decimal
from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

Money = Annotated[Decimal, PlainSerializer(float, return_type=float, when_used="json")]
"""Yuan with two places; a JSON number."""

TimeOfDay = Annotated[
    time,
    PlainSerializer(lambda at: f"{at:%H:%M}", return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^\d\d:\d\d$", "examples": ["23:59"]}),
]
"""A local time such as 23:59, in the hospital's zone. OpenAPI's `time` would want an offset."""


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
