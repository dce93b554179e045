"""Schedules (排班) on the wire."""

from datetime import date
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from api.schemas.base import NO_NUL, NO_TRUTH, Money, Schema
from api.schemas.paging import Day, Id
from domain.schedule import (
    MAX_BATCH_DAYS,
    MAX_BATCH_SLOTS,
    MAX_SOURCES_PER_SLOT,
    BadTimeSlot,
    ScheduleStatus,
    SkipReason,
    TimeSlot,
    first_overlap,
    parse_time_slot,
)

SCHEDULE: JsonDict = {
    "id": 1,
    "doctorId": 1,
    "date": "2026-12-01",
    "timeSlot": "09:00-10:00",
    "totalSources": 10,
    "usedSources": 3,
    "availableSources": 7,
    "status": "available",
    "location": "门诊楼 1 层 101 诊室",
    "departmentId": 11,
    "doctorName": "示例医生甲",
    "price": 50,
}
BATCH: JsonDict = {
    "doctorId": 1,
    "departmentId": 11,
    "startDate": "2026-12-01",
    "endDate": "2026-12-31",
    "weekdays": [1, 3, 5],
    "timeSlots": ["09:00-10:00", "10:00-11:00"],
    "sourcePerSlot": 10,
    "location": "门诊楼 1 层 101 诊室",
    "skipHolidays": True,
}


class DoctorSchedule(Schema):
    """A slot of a doctor and its sources (号源). `price` null: not open for booking."""

    model_config = ConfigDict(json_schema_extra={"examples": [SCHEDULE]})

    id: int
    doctor_id: int
    date: date
    time_slot: str
    total_sources: int
    used_sources: int
    available_sources: int
    status: ScheduleStatus
    location: str
    department_id: int
    doctor_name: str
    price: Money | None


def _time_slot(text: str) -> str:
    try:
        parse_time_slot(text)
    except BadTimeSlot as error:
        raise PydanticCustomError("time_slot", str(error)) from None
    return text


def _apart(slots: list[str]) -> list[str]:
    overlap = first_overlap(parse_time_slot(slot) for slot in slots)
    if overlap:
        first, second = (str(slot) for slot in overlap)
        raise PydanticCustomError(
            "time_slots", "{first} and {second} overlap", {"first": first, "second": second}
        )
    return slots


def _after_start(last: date, info: ValidationInfo) -> date:
    first = info.data.get("start_date")
    if first is None:
        return last
    if last < first:
        raise PydanticCustomError("end_date", "not before startDate")
    if (last - first).days >= MAX_BATCH_DAYS:
        raise PydanticCustomError("end_date", "at most {days} days", {"days": MAX_BATCH_DAYS})
    return last


Weekday = Annotated[int, Field(ge=0, le=6), NO_TRUTH]
Location = Annotated[str, Field(min_length=1, max_length=100), NO_NUL]
HOUR = "([01][0-9]|2[0-3]):[0-5][0-9]"
WrittenSlot = Annotated[
    str,
    AfterValidator(_time_slot),
    Field(json_schema_extra={"pattern": f"^{HOUR}-{HOUR}$"}),
]


class BatchSchedule(Schema):
    """One slot for each day on these weekdays (0 = Sunday … 6 = Saturday) and each time slot."""

    model_config = ConfigDict(json_schema_extra={"examples": [BATCH]})

    doctor_id: Id
    department_id: Id
    start_date: Day
    end_date: Annotated[Day, AfterValidator(_after_start)]
    weekdays: Annotated[list[Weekday], Field(min_length=1, max_length=7)]
    time_slots: Annotated[
        list[WrittenSlot], Field(min_length=1, max_length=MAX_BATCH_SLOTS), AfterValidator(_apart)
    ]
    source_per_slot: Annotated[int, Field(ge=1, le=MAX_SOURCES_PER_SLOT), NO_TRUTH]
    location: Location
    skip_holidays: bool = False

    @property
    def slots(self) -> list[TimeSlot]:
        return [parse_time_slot(slot) for slot in self.time_slots]


class SkippedSlot(Schema):
    date: date
    time_slot: str
    reason: SkipReason


class BatchOutcome(Schema):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "created": 26,
                    "skipped": [
                        {"date": "2026-12-02", "timeSlot": "09:00-10:00", "reason": "exists"}
                    ],
                }
            ]
        }
    )

    created: int
    skipped: list[SkippedSlot]


class ScheduleChange(Schema):
    """What is left out or null stays as it is."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"totalSources": 12, "location": "门诊楼 2 层 201 诊室"}]}
    )

    total_sources: Annotated[int, Field(ge=0, le=MAX_SOURCES_PER_SLOT), NO_TRUTH] | None = None
    location: Location | None = None
