"""The line for a full slot, on the wire."""

import datetime as dt

from pydantic import ConfigDict, Field

from api.schemas.base import Schema
from api.schemas.paging import Id
from domain.waitlist import WaitlistStatus


class JoinWaitlist(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [{"patientId": 1}]})

    patient_id: Id | None = Field(None, description="default: the account's own person")


class WaitlistEntry(Schema):
    id: int
    schedule_id: int
    patient_id: int
    doctor_id: int
    doctor_name: str
    schedule_date: dt.date
    time_slot: str
    status: WaitlistStatus
    place: int | None = Field(description="1 is the next; null when not waiting")
    joined_at: dt.datetime
    appointment_id: int | None = Field(description="the order of the offer, to be paid")
    order_no: str | None
    pay_by: dt.datetime | None = Field(description="while it is offered")
