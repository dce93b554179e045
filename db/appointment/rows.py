"""The rows of appointments and of those who may not book."""

from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import ARRAY, BigInteger, ForeignKey, Index, Text, func, text
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
        Index("ix_appointment_stop", "stop_id", "id", postgresql_where=text("stop_id is not null")),
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
    # The doctor's calls (叫号) are facts beside the lifecycle: they move no status.
    calls: Mapped[int] = mapped_column(server_default="0")
    called_at: Mapped[datetime | None]  # None: waits, also again after having been passed over
    passed_at: Mapped[datetime | None]  # 过号: called and did not come, the last time
    symptoms: Mapped[bytes | None]  # sealed under the patient's data key
    created_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    # Called off by it, at last: `stop_clinic_order` knows all. Goes one release later.
    stop_id: Mapped[int | None] = mapped_column(ForeignKey("stop_clinic.id"))
    choose_by: Mapped[datetime | None]  # called off: another slot or the money, until then


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


class WaitlistRow(Numbered, Base):
    """Somebody in line (候补) for a full slot. The line is in order of `id`."""

    __tablename__ = "waitlist_entry"
    __table_args__ = (
        Index(
            "uq_waitlist_entry_person",
            "schedule_id",
            "person_index",
            unique=True,
            postgresql_where=text("status in ('waiting', 'offered')"),
        ),
        Index(
            "ix_waitlist_entry_line",
            "schedule_id",
            "id",
            postgresql_where=text("status = 'waiting'"),
        ),
        Index("ix_waitlist_entry_account", "account_id", "id"),
    )

    hospital_id: Mapped[int]
    schedule_id: Mapped[int] = mapped_column(ForeignKey("schedule.id"))
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"))
    patient_id: Mapped[int] = mapped_column(ForeignKey("patient.id"))
    person_index: Mapped[bytes]
    status: Mapped[str] = mapped_column(server_default="waiting")  # domain.waitlist
    order_no: Mapped[str | None] = mapped_column(unique=True)  # of the offer
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]


class StopRow(Numbered, Base):
    """A doctor's session that was called off (停诊)."""

    __tablename__ = "stop_clinic"

    hospital_id: Mapped[int]
    stop_no: Mapped[str] = mapped_column(unique=True)
    doctor_id: Mapped[int] = mapped_column(ForeignKey("doctor.id"))
    date: Mapped[date]
    schedule_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    status: Mapped[str] = mapped_column(server_default="running")  # domain.stop_clinic
    version: Mapped[int] = mapped_column(server_default="0")
    choose_by: Mapped[datetime]  # at the latest: each until its own slot begins
    created_by: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]
    # Orders that could not be told so far, by number.
    failing: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")


class StopOrderRow(Base):
    """An order that a stop concerns, wherever it goes; into a session that another stop calls off,
    too."""

    __tablename__ = "stop_clinic_order"
    __table_args__ = (Index("ix_stop_clinic_order_appointment", "appointment_id"),)

    stop_id: Mapped[int] = mapped_column(ForeignKey("stop_clinic.id"), primary_key=True)
    appointment_id: Mapped[int] = mapped_column(ForeignKey("appointment.id"), primary_key=True)
