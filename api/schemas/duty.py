"""Duty (值班) on the wire."""

import datetime as dt
from typing import Annotated

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from api.schemas.base import Duration, Schema
from domain.duty import DutyType


class DutyWanted(Schema):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"online": True, "types": ["text", "emergency"]}]}
    )

    online: bool
    types: Annotated[
        list[DutyType], Field(max_length=len(DutyType), description="None only when off duty.")
    ]

    @model_validator(mode="after")
    def _of_some_type(self) -> "DutyWanted":
        if len(set(self.types)) < len(self.types):
            raise PydanticCustomError("types", "types: must not name one twice")
        if self.online and not self.types:
            raise PydanticCustomError("types", "types: on duty for at least one")
        return self


class Duty(Schema):
    online: bool = Field(description="what was said last")
    types: list[DutyType]
    since: dt.datetime | None = Field(description="on duty, or off, without a break; null: never")
    last_seen_at: dt.datetime | None
    counted: bool = Field(description="on duty and heard of lately: patients see it, and it rings")
    repeat_every: Duration = Field(description="how often to send the same PUT again")
