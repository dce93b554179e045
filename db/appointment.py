"""The appointment's row, and the transactions that need care."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter
from sqlalchemy import ForeignKey, Index, Row, select, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, Fields, Numbered
from db.journal import append_timeline
from domain.appointment import AppointmentMove, AppointmentStart, AppointmentStatus, Terms, plan
from domain.hospital import AppointmentPolicy

TERMS = TypeAdapter(Terms)

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


# Birth


@dataclass(frozen=True)
class BookingRules:
    """The hospital's rules as the SQL function takes them: made once, not per booking."""

    fees: str  # yuan by doctor level, JSON
    terms: str
    rules: str


@dataclass(frozen=True)
class NewAppointment:
    hospital_id: int
    account_id: int
    schedule_id: int
    patient_id: int
    held: bool  # the account held this person before this request
    order_no: str
    symptoms: bytes | None  # sealed
    key: str | None  # Idempotency-Key
    body_hash: bytes | None


BOOK = text(
    """select code, order_no from book_appointment(
        :hospital_id, :account_id, :schedule_id, :patient_id, :held, :order_no,
        cast(:fees as jsonb), cast(:terms as jsonb), cast(:rules as jsonb),
        :symptoms, :key, :body_hash)"""
)


async def book(
    connection: AsyncConnection, new: NewAppointment, rules: BookingRules
) -> tuple[str, str]:
    """Take one source and write the order with the promise of its workflow: all or nothing.

    Answers (code, order number). `booked` and `repeated` name an order; any other code is a
    refusal and nothing was written.
    """
    row = (await connection.execute(BOOK, {**vars(new), **vars(rules)})).one()
    return row.code, row.order_no


# The workflow's writes


@dataclass(frozen=True)
class NoShowRule:
    suspend_after: int
    period_days: int
    suspension_days: int

    @classmethod
    def of(cls, policy: AppointmentPolicy) -> "NoShowRule":
        return cls(
            policy.suspend_after_no_shows, policy.no_show_period.days, policy.suspension.days
        )


MOVE = text(
    """update appointment set
           status = :to_status, version = :version, reason = :reason,
           payment_no = coalesce(:payment_no, payment_no),
           check_in_time = case when :to_status = 'checked_in' then :at else check_in_time end,
           closed_at = case when :closed then cast(:at as timestamptz) end
     where order_no = :order_no and version < :version
    returning id, hospital_id, schedule_id, person_index, starts_at"""
)
LOCK_SLOT = text("select 1 from schedule where id = :schedule_id for update")
LOCK_PERSON = text("select lock_person(:hospital_id, :person_index)")
# Whoever comes after the slot began goes behind everyone who has a number.
LATE = text(
    """update appointment set queue_number =
           (select greatest(max(a.queue_number), max(s.total_sources)) + 1
              from appointment a join schedule s on s.id = a.schedule_id
             where a.schedule_id = :schedule_id)
     where order_no = :order_no and queue_number <= (
           select total_sources from schedule where id = :schedule_id)"""
)
SUSPEND = text(
    """insert into booking_suspension (hospital_id, person_index, order_no, starts_at, ends_at)
    select :hospital_id, :person_index, :order_no, :at,
           cast(:at as timestamptz) + make_interval(days => :suspension_days)
     where (select count(*) from appointment
             where hospital_id = :hospital_id and person_index = :person_index
               and status = 'no_show'
               and starts_at > cast(:at as timestamptz) - make_interval(days => :period_days)
               -- those that a lifted or served suspension was already given for do not count twice
               and starts_at > coalesce((select max(starts_at) from booking_suspension
                     where hospital_id = :hospital_id and person_index = :person_index
                       and order_no <> :order_no), '-infinity'))
           >= :suspend_after
    on conflict (order_no) do nothing"""
)


async def record_move(
    connection: AsyncConnection, move: AppointmentMove, no_shows: NoShowRule
) -> None:
    """Write a move, give back what it frees, and append it to the timeline. Safe to repeat:
    an older version than the row's changes nothing but its own timeline entry."""
    values = {**vars(move), "closed": not AppointmentStatus(move.to_status).open}
    moved = (await connection.execute(MOVE, values)).one_or_none()
    if moved is not None:
        await _side_effects(connection, move, moved, no_shows)
    await append_timeline(connection, move)


async def _side_effects(
    connection: AsyncConnection,
    move: AppointmentMove,
    row: Row[Any],
    no_shows: NoShowRule,
) -> None:
    order = {"order_no": move.order_no}
    match move.to_status:
        case AppointmentStatus.CANCELLED:
            await connection.execute(text("select release_source(:order_no)"), order)
        case AppointmentStatus.CHECKED_IN if move.at > row.starts_at:
            slot = {"schedule_id": row.schedule_id}
            await connection.execute(LOCK_SLOT, slot)
            await connection.execute(LATE, order | slot)
        case AppointmentStatus.NO_SHOW:
            person = {"hospital_id": row.hospital_id, "person_index": row.person_index}
            await connection.execute(
                text("select lock_person(:hospital_id, :person_index)"), person
            )
            await connection.execute(SUSPEND, order | person | vars(no_shows) | {"at": move.at})


async def suspended_until(connection: AsyncConnection, order_no: str) -> datetime | None:
    """Until when booking is suspended because of this no-show, if it is."""
    found: datetime | None = await connection.scalar(
        select(SuspensionRow.ends_at).where(SuspensionRow.order_no == order_no)
    )
    return found


async def extend_payment(connection: AsyncConnection, order_no: str, pay_by: datetime) -> None:
    await connection.execute(
        text(
            """update appointment set pay_by = :pay_by
                where order_no = :order_no and status = 'pending' and pay_by < :pay_by"""
        ),
        {"order_no": order_no, "pay_by": pay_by},
    )


async def payment_that_counts(connection: AsyncConnection, order_no: str) -> str | None:
    """The payment that this order took, if any."""
    found: str | None = await connection.scalar(
        select(AppointmentRow.payment_no).where(AppointmentRow.order_no == order_no)
    )
    return found


# The workflow's start


async def load_starts(
    connection: AsyncConnection, order_nos: list[str], zone: ZoneInfo
) -> dict[str, AppointmentStart]:
    """What each workflow is told when it begins, from the rows as they stand."""
    a = AppointmentRow
    rows = await connection.execute(
        select(
            a.order_no, a.doctor_id, a.department_id, a.starts_at, a.created_at, a.pay_by,
            a.terms, a.status, a.version, a.payment_no,
        ).where(a.order_no.in_(order_nos))
    )  # fmt: skip
    return {
        row.order_no: AppointmentStart(
            booking=plan(
                row.order_no,
                row.doctor_id,
                row.department_id,
                starts_at=row.starts_at,
                booked_at=row.created_at,
                pay_by=row.pay_by,
                terms=TERMS.validate_python(row.terms),
                zone=zone,
            ),
            status=AppointmentStatus(row.status),
            version=row.version,
            payment_no=row.payment_no,
        )
        for row in rows
    }
