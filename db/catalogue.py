"""Departments, doctors, and when they see patients."""

from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import CheckConstraint, ForeignKey, Index, Numeric, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, Numbered


class HospitalRow(Base):
    __tablename__ = "hospital"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str]


class DepartmentRow(Base):
    __tablename__ = "department"

    hospital_id: Mapped[int] = mapped_column(ForeignKey("hospital.id"), primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str]
    parent_id: Mapped[int | None]
    level: Mapped[int]  # 1 = top
    position: Mapped[int]
    active: Mapped[bool] = mapped_column(server_default="true")


class DoctorRow(Numbered, Base):
    __tablename__ = "doctor"
    __table_args__ = (Index("ix_doctor_department", "hospital_id", "department_id"),)

    hospital_id: Mapped[int]
    department_id: Mapped[int]
    account_id: Mapped[int | None] = mapped_column(ForeignKey("account.id"), unique=True)
    name: Mapped[str]
    pinyin: Mapped[str]  # "zhangsan zs": whole syllables, then initials
    level: Mapped[str]
    title: Mapped[str]
    speciality: Mapped[str]
    introduction: Mapped[str]
    rating: Mapped[Decimal | None] = mapped_column(Numeric(2, 1))
    active: Mapped[bool] = mapped_column(server_default="true")


class ScheduleRow(Numbered, Base):
    """A slot (时段) of a doctor. `used_sources` counts what orders hold; the rows are `source`."""

    __tablename__ = "schedule"
    __table_args__ = (
        CheckConstraint("used_sources between 0 and total_sources", name="sources_add_up"),
        CheckConstraint("starts_at < ends_at", name="starts_before_it_ends"),
        # A doctor is in one place at a time.
        ExcludeConstraint(
            ("doctor_id", "="),
            (text("tstzrange(starts_at, ends_at)"), "&&"),
            name="ex_schedule_doctor_time",
            using="gist",
        ),
        Index("ix_schedule_doctor_date", "hospital_id", "doctor_id", "date"),
        Index("ix_schedule_department_date", "hospital_id", "department_id", "date"),
    )

    hospital_id: Mapped[int]
    doctor_id: Mapped[int] = mapped_column(ForeignKey("doctor.id"))
    department_id: Mapped[int]
    date: Mapped[date]
    time_slot: Mapped[str]  # 09:00-10:00
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    location: Mapped[str]
    total_sources: Mapped[int]
    used_sources: Mapped[int] = mapped_column(server_default="0")
    withdrawn: Mapped[bool] = mapped_column(server_default="false")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class SourceRow(Numbered, Base):
    """One place in a slot (号源). Held by at most one open order."""

    __tablename__ = "source"
    __table_args__ = (
        UniqueConstraint("schedule_id", "number"),
        Index("ix_source_free", "schedule_id", "number", postgresql_where=text("order_no is null")),
    )

    schedule_id: Mapped[int] = mapped_column(ForeignKey("schedule.id"))
    number: Mapped[int]  # 就诊序号 within the slot
    order_no: Mapped[str | None] = mapped_column(unique=True)
    withdrawn: Mapped[bool] = mapped_column(server_default="false")
