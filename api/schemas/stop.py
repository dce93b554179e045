"""A session that is called off, on the wire."""

import datetime as dt
from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field, model_validator

from api.schemas.base import NO_NUL, Schema
from api.schemas.paging import Id
from domain.stop_clinic import StopScope, StopStatus


class StopSession(Schema):
    """`scope`: this slot alone, or all slots of its doctor on that day that have not ended."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"reason": "医生临时停诊", "scope": "day"}]}
    )

    reason: Annotated[str, Field(min_length=1, max_length=500), NO_NUL] | None = None
    scope: StopScope = StopScope.SLOT


class StopProgress(Schema):
    """How far a stop-clinic is: the figures from `toTell` on add up to `total`."""

    stop_no: str
    doctor_id: int
    date: dt.date
    schedule_ids: list[int]
    status: StopStatus
    choose_by: dt.datetime = Field(description="at the latest; or when the slot begins")
    created_at: dt.datetime
    ended_at: dt.datetime | None
    total: int
    failing: list[str] = Field(
        description="orders that could not be told so far, counted in their figures all the same; "
        "they are tried again and again, and an operator should look at each"
    )
    to_tell: int
    choosing: int
    moved: int
    refunded: int = Field(description="or cancelled unpaid")
    at_desk: int = Field(description="were checked in: told at the desk")
    seen: int = Field(description="completed, or did not come")


class AtDesk(Schema):
    order_no: str
    queue_number: int


class StopDetails(StopProgress):
    desk: list[AtDesk] = Field(description="who is here and must be told in person")


class StopChoice(StrEnum):
    REFUND = "refund"
    RESCHEDULE = "reschedule"


class ChooseAfterStop(Schema):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"choice": "reschedule", "scheduleId": 2}, {"choice": "refund"}]
        }
    )

    choice: StopChoice
    schedule_id: Id | None = None

    @model_validator(mode="after")
    def _a_slot_to_go_to(self) -> "ChooseAfterStop":
        if (self.choice is StopChoice.RESCHEDULE) != (self.schedule_id is not None):
            raise ValueError("scheduleId is given with reschedule, and only then")
        return self


class Reschedule(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [{"scheduleId": 2}]})

    schedule_id: Annotated[Id, Field(description="the slot to move to, at the same price")]
