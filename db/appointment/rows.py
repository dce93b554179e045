"""The rows of appointments and of those who may not book."""

from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, Fields, Numbered

OPEN = "status in ('pending', 'confirmed', 'checked_in')"


class AppointmentRow(Numbered, Base):
    """What people look at. The workflow decides; this row reports, a version at a time."""

    __tablename__ = "appointment"
    __table_args__ = (
        Index(
            "uq_appointment_person_doctor_date",
            "hospital_id",
            "person_index",
            "doctor_id",
            "date",
            unique=True,
            postgresql_where=text(OPEN),
        ),
        Index("ix_appointment_person_date", "hospital_id", "person_index", "date"),
        Index("ix_appointment_account", "account_id", "id"),
        Index("ix_appointment_doctor_date", "doctor_id", "date"),
        Index("ix_appointment_schedule", "schedule_id"),
    )

    hospital_id: Mapped[int]
    order_no: Mapped[str] = mapped_column(unique=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"))
    patient_id: Mapped[int] = mapped_column(ForeignKey("patient.id"))
    person_index: Mapped[bytes]
    schedule_id: Mapped[int] = mapped_column(ForeignKey("schedule.id"))
    source_id: Mapped[int] = mapped_column(ForeignKey("source.id"))
    doctor_id: Mapped[int]
    department_id: Mapped[int]
    date: Mapped[date]
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    status: Mapped[str]
    version: Mapped[int] = mapped_column(server_default="0")
    reason: Mapped[str] = mapped_column(server_default="")
    price: Mapped[Decimal]
    terms: Mapped[Fields]  # domain.appointment.Terms, pinned at birth
    pay_by: Mapped[datetime]
    payment_no: Mapped[str | None]  # the payment that confirmed it
    queue_number: Mapped[int]
    check_in_time: Mapped[datetime | None]
    symptoms: Mapped[bytes | None]  # sealed under the patient's data key
    created_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]


class SuspensionRow(Numbered, Base):
    """A person who did not come too often may not book for a while."""

    __tablename__ = "booking_suspension"
    __table_args__ = (Index("ix_booking_suspension_person", "hospital_id", "person_index"),)

    hospital_id: Mapped[int]
    person_index: Mapped[bytes]
    order_no: Mapped[str] = mapped_column(unique=True)  # the no-show that was one too many
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    lifted_by: Mapped[int | None]
    lifted_at: Mapped[datetime | None]
