"""ConsultationOrder (问诊订单) on the wire: the specification's fields, then ours."""

import datetime as dt
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from api.schemas.allergy import Allergy
from api.schemas.base import NO_NUL, NO_TRUTH, Duration, Money, Schema
from api.schemas.paging import Id
from api.schemas.phone_call import PhoneCall
from domain.account import Gender
from domain.consultation import ConsultationStatus, ConsultationType, Urgency, VisitKind, Way

Words = Annotated[str, Field(max_length=2000), NO_NUL]
FileRefs = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=500), NO_NUL]],
    Field(max_length=9, description="`url` or id of files from `POST /files`"),
]
KINDS = {"咨询": VisitKind.ADVICE, "复诊": VisitKind.FOLLOW_UP}


class Evidence(Schema):
    """What shows that this is a follow-up: earlier records, a discharge note."""

    description: Words | None = None
    attachments: FileRefs = Field(default_factory=list)

    @property
    def given(self) -> bool:
        return bool(self.description or self.attachments)


def _evidence(value: Any) -> Any:
    """Words alone, or files alone, are evidence too."""
    if isinstance(value, str):
        return {"description": value}
    return {"attachments": value} if isinstance(value, list) else value


def _kind(value: Any) -> Any:
    return KINDS.get(value, value) if isinstance(value, str) else value


def _instant(value: Any) -> Any:
    """As text: a bare number would be taken for seconds since 1970."""
    if value is not None and not isinstance(value, str | dt.datetime):
        raise PydanticCustomError("scheduled", "must be an ISO 8601 instant")
    return value


class NewConsultation(Schema):
    """Whom to ask: a doctor by name, or a department (快速问诊: the first to accept; 急诊: who
    is on duty)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "text",
                    "doctorId": 1,
                    "complaint": "头痛两天",
                    "description": "左侧明显,休息后减轻",
                    "attachments": [],
                }
            ]
        }
    )

    type: ConsultationType
    doctor_id: Id | None = None
    department_id: Id | None = None
    patient_id: Id | None = Field(None, description="default: the account's own person")
    complaint: Annotated[str, Field(min_length=1, max_length=500, description="主诉"), NO_NUL]
    description: Annotated[str, Field(max_length=5000), NO_NUL] = ""
    attachments: FileRefs = Field(default_factory=list)
    symptoms: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=50), NO_NUL]], Field(max_length=20)
    ] = Field(default_factory=list)
    duration: Annotated[int, Field(ge=0, le=36500, description="病程, days"), NO_TRUTH] | None = (
        None
    )
    urgency: Urgency = Urgency.NORMAL
    scheduled_time: Annotated[dt.datetime | None, BeforeValidator(_instant)] = Field(
        None, description="phone and video: with its offset"
    )
    visit_kind: Annotated[VisitKind, BeforeValidator(_kind)] = VisitKind.ADVICE
    evidence: Annotated[Evidence | None, BeforeValidator(_evidence)] = None

    @property
    def way(self) -> Way:
        if self.urgency is Urgency.EMERGENCY:
            return Way.EMERGENCY
        return Way.QUICK if self.doctor_id is None else Way.NAMED

    @model_validator(mode="after")
    def _asks_somebody(self) -> "NewConsultation":
        if self.urgency is Urgency.EMERGENCY:
            if self.doctor_id is not None:
                raise PydanticCustomError("emergency", "an emergency names no doctor")
            if self.scheduled_time is not None:
                raise PydanticCustomError("emergency", "an emergency has no scheduledTime")
        if self.doctor_id is None and self.department_id is None:
            raise PydanticCustomError("whom", "give doctorId, or departmentId")
        if self.scheduled_time is not None and self.type is ConsultationType.TEXT:
            raise PydanticCustomError("scheduled", "scheduledTime is for phone and video")
        if self.scheduled_time is not None and self.scheduled_time.tzinfo is None:
            raise PydanticCustomError("scheduled", "scheduledTime needs its offset from UTC")
        return self


class ConsultationTerms(Schema):
    """What was promised when this was ordered."""

    payment_window: Duration
    accept_within: Duration
    window: Duration
    extension: Duration
    extensions: int
    join_within: Duration
    evidence_within: Duration
    rate_within: Duration


class RedFlagSeen(Schema):
    """A sign that wants a physical emergency department."""

    id: str
    advice: str


class ConsultationPatient(Schema):
    name: str
    gender: Gender | None = Field(description="null of a person whose data was erased")
    age: int | None


class ConsultationOrder(Schema):
    id: int
    order_no: str
    user_id: int
    user_name: str
    doctor_id: int | None = Field(description="null until somebody of the pool accepts")
    doctor_name: str | None
    department_id: int
    department_name: str
    type: ConsultationType
    status: ConsultationStatus
    complaint: str
    description: str
    attachments: list[str]
    symptoms: list[str]
    duration: int | None
    price: Money
    paid: bool
    start_time: dt.datetime | None
    end_time: dt.datetime | None
    diagnosis: str | None
    prescription: str | None
    advice: str | None
    rating: int | None
    comment: str | None
    created_at: dt.datetime
    # Ours
    patient_id: int
    patient: ConsultationPatient
    doctor_title: str | None
    urgency: Urgency
    way: Way
    visit_kind: VisitKind
    switched_to: ConsultationType | None = Field(description="video that would not work")
    scheduled_time: dt.datetime | None
    reason: str = Field(description="why it is in this status: a code")
    pay_by: dt.datetime
    waiting_since: dt.datetime | None = Field(description="paid: a doctor is waited for")
    accept_by: dt.datetime | None
    evidence_by: dt.datetime | None = Field(description="the doctor asks for records, until then")
    window_ends: dt.datetime | None
    extensions_left: int | None
    waiting_for: str | None = Field(
        description="payment, doctor, evidence, patient, call, conclusion"
    )
    next_step: str | None = Field(description="what happens by itself at `due`: a code")
    due: dt.datetime | None
    red_flags: list[RedFlagSeen]
    refund_status: str | None
    refunded_amount: Money
    terms: ConsultationTerms
    version: int


class ListedConsultation(ConsultationOrder):
    unread: int = Field(description="messages of the other side")


class ConsultationStory(ListedConsultation):
    """One consultation, with what only its own page shows."""

    calls: list[PhoneCall]
    ahead: int | None = Field(description="while it waits: how many are before it")
    usual_response: Duration | None = Field(
        description="measured over 90 days, from payment to acceptance; no promise"
    )


class ConsultationNote(Schema):
    """What somebody wrote with a command."""

    id: int
    kind: str
    by: int
    text: dict[str, str]
    attachments: list[str]
    at: dt.datetime


class Accepting(Schema):
    """`judgement`: why this is a follow-up (复诊), in the doctor's words; needed where the law asks
    for it (R03)."""

    judgement: Annotated[str, Field(min_length=1, max_length=1000), NO_NUL] | None = None


class Saying(Schema):
    """Words of the person who acts. They are kept sealed and go into no history."""

    reason: Annotated[str, Field(min_length=1, max_length=1000), NO_NUL] | None = None


class AskingForEvidence(Schema):
    wanted: Annotated[
        str, Field(min_length=1, max_length=1000, examples=["请上传上次的出院小结"]), NO_NUL
    ]


class GivingEvidence(Evidence):
    @model_validator(mode="after")
    def _something(self) -> "GivingEvidence":
        if not self.given:
            raise PydanticCustomError("evidence", "give a description or attachments")
        return self


class Conclusion(Schema):
    """诊断 and 医嘱. Where no diagnosis is allowed online (咨询 under cn-2022), advice alone."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"diagnosis": "紧张性头痛", "advice": "规律作息,一周后复诊"}]
        }
    )

    diagnosis: Annotated[str, Field(min_length=1, max_length=500), NO_NUL] | None = None
    advice: Annotated[str, Field(min_length=1, max_length=5000), NO_NUL]


class Unsuitable(Schema):
    """转线下: why it must be seen at a physical hospital."""

    reason: Annotated[str, Field(min_length=1, max_length=1000), NO_NUL]
    advice: Annotated[str, Field(min_length=1, max_length=5000), NO_NUL] | None = None


class Switch(Schema):
    to: Literal["phone", "text"]


class Rating(Schema):
    rating: Annotated[int, Field(strict=True, ge=1, le=5)]
    comment: Annotated[str, Field(min_length=1, max_length=1000), NO_NUL] | None = None


class EarlierVisit(Schema):
    """An entry of the health record, as the treating doctor sees it."""

    id: int
    date: dt.date
    department_name: str | None
    doctor_name: str | None
    diagnosis: str | None
    advice: str | None


class Background(Schema):
    """What a doctor wants to know before they answer."""

    allergies: list[Allergy]
    visits: list[EarlierVisit]
