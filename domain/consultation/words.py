"""The words of a consultation: what it can be, and how far it is."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from domain.hospital import ConsultationPolicy
from domain.order import Move


class ConsultationType(StrEnum):
    TEXT = "text"  # 图文
    VIDEO = "video"  # 视频
    PHONE = "phone"  # 电话


class Urgency(StrEnum):
    NORMAL = "normal"
    EMERGENCY = "emergency"  # 急诊: whoever is on duty, within minutes


class Way(StrEnum):
    """How the order finds its doctor."""

    NAMED = "named"  # the patient chose one
    QUICK = "quick"  # 快速问诊: a department's pool, the first to accept
    EMERGENCY = "emergency"  # the department's doctors on duty are rung


class VisitKind(StrEnum):
    ADVICE = "advice"  # 咨询: advice alone
    FOLLOW_UP = "follow_up"  # 复诊: of a disease that a physical hospital diagnosed


class ConsultationStatus(StrEnum):
    PENDING = "pending"  # 待接诊: unpaid, or paid and waiting for a doctor
    CONSULTING = "consulting"  # 问诊中
    COMPLETED = "completed"  # 已完成
    CANCELLED = "cancelled"  # 已取消: nothing was paid for it
    REFUNDED = "refunded"  # 已退款: all that was paid is owed back, irrevocably

    @property
    def open(self) -> bool:
        return self in (S.PENDING, S.CONSULTING)


S = ConsultationStatus


class Reason(StrEnum):
    """Why a move was made. Codes: what people write stays in the rows."""

    NONE = ""
    UNPAID = "unpaid"
    PATIENT = "patient"
    CLINIC = "clinic"
    DECLINED = "declined"
    NOT_ACCEPTED = "not_accepted"  # nobody accepted in time
    NO_EVIDENCE = "no_evidence"  # what the doctor asked for did not come (R03)
    NO_ANSWER = "no_answer"  # the window ended without a word of the doctor's
    DOCTOR_ABSENT = "doctor_absent"  # never joined the video call
    UNSUITABLE = "unsuitable"  # 转线下: to be seen at a physical hospital (R04)
    WINDOW = "window"  # its time was over
    TERMINATED = "terminated"  # cancelled in Temporal's web UI


@dataclass(frozen=True)
class Terms:
    """What was promised when it was ordered, pinned: a new policy changes new orders only."""

    payment_window: timedelta
    accept_within: timedelta  # after payment; a scheduled one is accepted before its time
    escalate_after: tuple[timedelta, ...]  # the doctor is reminded, after payment
    window: timedelta  # text: from acceptance; phone and video: of talk
    extension: timedelta
    extensions: int  # at most
    join_within: timedelta  # video: the doctor is there by then, or the money goes back
    leave_grace: timedelta  # video: both left; then the doctor is asked to conclude
    redial_after: timedelta
    redials: int  # phone: after the first call
    ring_for: timedelta  # emergency: one doctor, before the next is rung too
    evidence_within: timedelta
    rate_within: timedelta  # after the end

    @classmethod
    def of(cls, policy: ConsultationPolicy, type: ConsultationType, urgency: Urgency) -> "Terms":
        text, emergency = type is ConsultationType.TEXT, urgency is Urgency.EMERGENCY
        accept_within = policy.accept_text if text else policy.accept_live
        return cls(
            payment_window=policy.payment_window,
            accept_within=policy.dispatch_for if emergency else accept_within,
            escalate_after=() if emergency else policy.escalate_after,
            window=policy.text_window if text else policy.live_window,
            extension=policy.text_extension if text else policy.live_extension,
            extensions=policy.extensions,
            join_within=policy.join_within,
            leave_grace=policy.leave_grace,
            redial_after=policy.redial_after,
            redials=policy.redials,
            ring_for=policy.ring_for,
            evidence_within=policy.evidence_within,
            rate_within=policy.rate_within,
        )


@dataclass(frozen=True)
class Case:
    """An order as its workflow knows it: ids, and what never changes."""

    order_no: str
    type: ConsultationType
    way: Way
    department_id: int
    patient_id: int
    terms: Terms
    scheduled_at: datetime | None = None  # phone, video: when they want to talk
    judged: bool = False  # R03: accepting needs the doctor's recorded judgement


@dataclass(frozen=True)
class Progress:
    """How far it is. The row keeps the whole of it, so that a lost workflow goes on from there."""

    pay_by: datetime
    status: ConsultationStatus = S.PENDING
    version: int = 0
    reason: Reason = Reason.NONE
    doctor_id: int | None = None  # who is asked, then who accepted
    doctor_account_id: int | None = None  # whose phone rings
    payment_no: str | None = None
    paid_at: datetime | None = None
    accept_by: datetime | None = None
    reminded: int = 0  # so many of `escalate_after` are behind
    asked_for_evidence: bool = False  # once
    evidence_by: datetime | None = None  # the patient is asked for more; else None
    time_to_accept: timedelta = timedelta(0)  # left when the patient was asked
    begins_at: datetime | None = None  # accepted; a scheduled one: its time
    join_by: datetime | None = None  # video: the doctor is there by then
    window_ends: datetime | None = None
    extended: int = 0
    switched_to: ConsultationType | None = None  # video that would not work
    answered: bool = False  # the doctor wrote, came, or was on the phone
    came: bool = False  # the doctor was there in the time of the talk; words do not count
    talking: bool = False  # video: both were there; phone: they talked
    doctor_here: bool = False
    patient_here: bool = False
    left_at: datetime | None = None  # video: since then nobody is there
    calls: int = 0
    call_no: str | None = None  # of the last one, once the provider has it
    calling_until: datetime | None = None  # a call is under way, until then at the latest
    redial_at: datetime | None = None
    ring_at: datetime | None = None  # emergency: when the next doctor is rung
    rung: tuple[int, ...] = ()
    declined: tuple[int, ...] = ()  # of these, not to be rung again


def form_of(case: Case, progress: Progress) -> ConsultationType:
    """How they talk now: a video call that would not work goes on by phone or text."""
    return progress.switched_to or case.type


def did_their_part(case: Case, p: Progress) -> bool:
    """Whether the doctor gave what this is paid for: of a text a word, of a talk their presence,
    in the video room or on the line, whether or not the patient was there."""
    form = form_of(case, p)
    if form is ConsultationType.TEXT:
        return p.answered
    return p.came or (form is ConsultationType.VIDEO and p.doctor_here)


def expected_by(p: Progress) -> datetime | None:
    """When a doctor who has not come yet is to be in the video room; None: nobody is expected."""
    if p.came or p.doctor_here or p.switched_to is not None:
        return None
    return p.join_by


@dataclass(frozen=True)
class ConsultationStart:
    """A case and how far it is."""

    case: Case
    progress: Progress


@dataclass(frozen=True)
class ConsultationMove(Move):
    """A move, and how far the order then is. `note_id` is what a person wrote with it."""

    progress: Progress = field(kw_only=True)
    note_id: int | None = None
