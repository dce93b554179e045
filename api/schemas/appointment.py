"""AppointmentOrder (预约订单) on the wire: the specification's fields, then ours."""

import datetime as dt
from typing import Annotated

from pydantic import ConfigDict, Field, model_validator

from api.schemas.account import PatientInfo
from api.schemas.base import NO_NUL, NO_TRUTH, Duration, Money, Schema, TimeOfDay
from api.schemas.paging import Id
from domain.account import Gender
from domain.appointment import AppointmentStatus


class NewAppointment(Schema):
    """Whom to book for: a person written out, or one of the account's own by `patientId`."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"scheduleId": 1, "patientId": 1, "symptoms": "头痛两天"}]}
    )

    schedule_id: Id
    patient_info: PatientInfo | None = None
    patient_id: Id | None = None
    symptoms: Annotated[str, Field(max_length=500), NO_NUL] | None = None

    @model_validator(mode="after")
    def _one_person(self) -> "NewAppointment":
        if (self.patient_info is None) == (self.patient_id is None):
            raise ValueError("give either patientInfo or patientId")
        return self


class PatientOfOrder(Schema):
    """Of somebody who was deleted since, only that."""

    name: str
    gender: Gender | None
    age: int | None
    id_card: str
    phone: str


class Terms(Schema):
    """What was promised when this was booked. Durations are ISO 8601; times of day
    are the hospital's."""

    payment_window: Duration
    reminders: list[Duration]
    quiet_from: TimeOfDay
    quiet_until: TimeOfDay
    check_in_opens: Duration
    no_show_after: Duration
    cancel_days_before: int
    cancel_until: TimeOfDay
    late_refund_share: Money


class AppointmentOrder(Schema):
    id: int
    order_no: str
    user_id: int
    user_name: str
    phone: str
    id_card: str
    hospital_id: int
    hospital_name: str
    department_id: int
    department_name: str
    doctor_id: int
    doctor_name: str
    doctor_title: str
    schedule_date: dt.date
    time_slot: str
    source_id: int
    status: AppointmentStatus
    price: Money
    paid: bool
    patient_info: PatientOfOrder
    check_in: bool
    check_in_time: dt.datetime | None
    created_at: dt.datetime
    # Ours
    patient_id: int
    schedule_id: int
    location: str
    starts_at: dt.datetime
    symptoms: str | None
    pay_by: dt.datetime
    queue_number: int | None = Field(description="就诊序号, once it is paid")
    reason: str = Field(description="why it is in this status: a code")
    refund_status: str | None
    refunded_amount: Money
    choose_by: dt.datetime | None = Field(
        description="the clinic was called off: another slot or the money, until then"
    )
    terms: Terms
    version: int


class TimelineActor(Schema):
    role: str
    id: int | None


class TimelineEntry(Schema):
    """One move: when, what, from where to where, who, why."""

    at: dt.datetime
    event: str
    from_: str | None = Field(alias="from", serialization_alias="from")
    to: str
    actor: TimelineActor
    reason: str
    version: int


class Note(Schema):
    """Words of the person who acts. They are kept sealed and go into no history."""

    note: Annotated[str, Field(max_length=500), NO_NUL] | None = None


class OperatorReason(Schema):
    reason: Annotated[str, Field(min_length=1, max_length=500), NO_NUL]


class ExtendOrder(OperatorReason):
    """`minutes` more to pay, from the present deadline."""

    minutes: Annotated[int, Field(ge=1, le=24 * 60), NO_TRUTH] = 15
