"""Sessions (出诊) and queues (就诊队列) on the wire."""

import datetime as dt
from typing import Annotated

from pydantic import ConfigDict, Field

from api.schemas.base import NO_NUL, Schema
from api.schemas.paging import Id
from domain.account import Gender
from domain.appointment import AppointmentStatus


class DoctorSession(Schema):
    """A slot with its figures: how many orders stand where."""

    id: int
    doctor_id: int
    department_id: int
    date: dt.date
    time_slot: str
    starts_at: dt.datetime
    ends_at: dt.datetime
    location: str
    withdrawn: bool = Field(description="taken out of booking by the clinic")
    total_sources: int
    used_sources: int
    available_sources: int
    confirmed: int
    checked_in: int
    waiting: int = Field(description="of those checked in: not called yet")
    completed: int
    no_show: int


class QueuedPatient(Schema):
    """Somebody who is here (`checked_in`) or expected (`confirmed`)."""

    id: int = Field(description="the appointment's")
    order_no: str
    patient_id: int
    name: str
    gender: Gender | None = Field(description="null, as `age`, once the person was deleted")
    age: int | None
    queue_number: int = Field(description="就诊序号: the lowest one that waits is called next")
    status: AppointmentStatus
    check_in_time: dt.datetime | None
    late: bool = Field(description="checked in after the slot began")
    calls: int = Field(description="how often called so far")
    called_at: dt.datetime | None = Field(description="the call that stands; null: waits")
    passed_at: dt.datetime | None = Field(description="过号: called and did not come")


class DoctorsPatient(QueuedPatient):
    """As the doctor sees them."""

    symptoms: str | None


class SessionQueue(DoctorSession):
    """As the desk sees it: who is here in the order of their turn, then who is expected."""

    patients: list[QueuedPatient]


class DoctorsSessionQueue(DoctorSession):
    patients: list[DoctorsPatient]


class DoctorsDay(Schema):
    date: dt.date
    sessions: list[DoctorsSessionQueue]


class PlaceInQueue(Schema):
    """Where a patient stands. `ahead` is null until checked in and 0 once called."""

    status: AppointmentStatus
    queue_number: int | None
    ahead: int | None = Field(description="how many of those who are here are called before")
    calls: int
    called_at: dt.datetime | None
    passed_at: dt.datetime | None


class CallNext(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [{"scheduleId": 1}]})

    schedule_id: Id


class CalledOrder(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [{"orderNo": "A2611220123456789AB"}]})

    order_no: Annotated[str, Field(min_length=1, max_length=64), NO_NUL]
