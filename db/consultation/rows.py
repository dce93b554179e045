"""The rows of online consultations, of what people wrote about them, and of what entered the health
record."""

from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, Fields, Numbered

OPEN = "status in ('pending', 'consulting')"


class ConsultationRow(Numbered, Base):
    """What people look at. The workflow decides; this row reports, a version at a time."""

    __tablename__ = "consultation"
    __table_args__ = (
        CheckConstraint("rating between 1 and 5", name="rating_in_range"),
        Index("ix_consultation_account", "account_id", "id"),
        Index("ix_consultation_doctor", "doctor_id", "id"),
        Index("ix_consultation_patient", "patient_id", "id"),
        Index(
            "ix_consultation_waiting",
            "hospital_id",
            "department_id",
            "paid_at",
            postgresql_where=text("status = 'pending' and paid_at is not null"),
        ),
    )

    hospital_id: Mapped[int]
    order_no: Mapped[str] = mapped_column(unique=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"))
    patient_id: Mapped[int] = mapped_column(ForeignKey("patient.id"))
    doctor_id: Mapped[int | None] = mapped_column(ForeignKey("doctor.id"))  # asked, then accepted
    department_id: Mapped[int]
    type: Mapped[str]
    urgency: Mapped[str]
    way: Mapped[str]
    visit_kind: Mapped[str]
    judged: Mapped[bool]  # accepting needs the doctor's recorded judgement (R03)
    scheduled_at: Mapped[datetime | None]
    price: Mapped[Decimal]
    terms: Mapped[Fields]  # domain.consultation.Terms, pinned at birth
    sealed: Mapped[bytes]  # {complaint, description, symptoms, duration, red_flags}
    attachments: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))  # files
    # What the workflow reports.
    status: Mapped[str]
    version: Mapped[int] = mapped_column(server_default="0")
    reason: Mapped[str] = mapped_column(server_default="")
    progress: Mapped[Fields]  # domain.consultation.Progress, from which a lost workflow goes on
    payment_no: Mapped[str | None]  # the payment that counts
    pay_by: Mapped[datetime]
    paid_at: Mapped[datetime | None]
    due_at: Mapped[datetime | None]  # when something happens by itself next; None: never again
    next_step: Mapped[str | None]  # and what: domain.consultation.Step
    waiting_for: Mapped[str | None]
    rung: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), server_default="{}")
    started_at: Mapped[datetime | None]  # accepted
    window_ends: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    # Notes whose command was carried out; those of refused ones are nobody's to read.
    note_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), server_default="{}")
    conclusion_id: Mapped[int | None] = mapped_column(ForeignKey("consultation_note.id"))
    # Facts beside the lifecycle.
    answered_at: Mapped[datetime | None]  # the doctor's first message
    rating: Mapped[int | None]
    comment: Mapped[bytes | None]  # sealed
    rated_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class ConsultationNoteRow(Numbered, Base):
    """What a person wrote with a command: the workflow knows its id alone. Append-only."""

    __tablename__ = "consultation_note"
    __table_args__ = (Index("ix_consultation_note_order", "order_no", "id"),)

    hospital_id: Mapped[int]
    order_no: Mapped[str]
    kind: Mapped[str]  # judgement | evidence_wanted | evidence | conclusion | unsuitable | …
    account_id: Mapped[int]
    sealed: Mapped[bytes]
    files: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), server_default="{}")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class HealthRecordRow(Numbered, Base):
    """One entry of a person's health record (健康记录). Append-only."""

    __tablename__ = "health_record"
    __table_args__ = (
        Index(
            "uq_health_record_order", "order_no", "type", unique=True,
            postgresql_where=text("order_no is not null"),
        ),
        Index("ix_health_record_patient", "patient_id", "record_date", "id"),
    )  # fmt: skip

    hospital_id: Mapped[int]
    patient_id: Mapped[int] = mapped_column(ForeignKey("patient.id"))
    type: Mapped[str]  # visit | …
    record_date: Mapped[date]
    department_id: Mapped[int | None]
    doctor_id: Mapped[int | None] = mapped_column(ForeignKey("doctor.id"))
    order_no: Mapped[str | None]  # what it came from
    sealed: Mapped[bytes]  # {diagnosis, content}
    attachments: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), server_default="{}")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
