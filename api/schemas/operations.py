"""What operators see of every order, on the wire."""

import datetime as dt
from enum import StrEnum

from pydantic import ConfigDict, Field

from api.schemas.appointment import OperatorReason
from api.schemas.base import Schema
from api.schemas.paging import Id


class OpenKind(StrEnum):
    APPOINTMENT = "appointment"
    CONSULTATION = "consultation"
    PAYMENT = "payment"
    REFUND = "refund"
    STOP_CLINIC = "stop_clinic"


class OpenOrder(Schema):
    kind: OpenKind
    order_no: str
    id: int
    status: str
    doctor_id: int | None
    department_id: int | None
    waiting_for: str = Field(
        description="payment, patient, doctor, choice, desk, gateway, operator, …"
    )
    since: dt.datetime = Field(description="its last move")
    due: dt.datetime | None
    next_step: str | None = Field(
        description="what then happens by itself: a code; null when nothing does"
    )
    next_step_text: str = Field(description="the same as a sentence, by Accept-Language")
    workflow_id: str | None = Field(description="in the Temporal web UI")


class RetriedOrder(Schema):
    """A payment, a refund or a stop that was looked at."""

    kind: OpenKind
    order_no: str
    status: str
    workflow_id: str = Field(description="which began again, unless it runs or has nothing to do")


class ReassignOrder(OperatorReason):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"scheduleId": 2, "reason": "医生临时调班"}]}
    )

    schedule_id: Id | None = Field(None, description="an appointment's other slot")
    doctor_id: Id | None = Field(None, description="a consultation's other doctor")
